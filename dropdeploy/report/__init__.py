"""What uploaders, scripts and administrators are told, and in which form."""
