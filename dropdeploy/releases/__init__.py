"""Releases on disk: from the bytes of an upload to a directory, to the live link, to its removal."""
