"""Who runs the apps: systemd over D-Bus, or a supervisor inside the agent; both speak systemd's words."""
