"""dropdeploy: zero-downtime deploys for people who can only upload files."""

__version__ = "0.1.0"
