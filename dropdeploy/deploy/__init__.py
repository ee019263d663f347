"""Deciding what happens in a deploy, and making it happen."""
