"""The configuration: TOML to values, or every mistake in it."""
