"""Deploying the same builds by dropdeploy and by what a user would run instead: see tests/bench/run."""
