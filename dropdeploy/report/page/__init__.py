"""The status page: what the agent does and did, for a browser; and the same as JSON. It shows, and changes nothing."""
