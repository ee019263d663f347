"""The nouns of dropdeploy: apps, requests, releases, units, faults, outcomes.

Values only. Nothing here does I/O, reads a clock or knows a library; whoever needs the time passes it in.
"""
