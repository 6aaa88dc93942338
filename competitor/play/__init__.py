"""Rounds played locally, many at once, and rounds as files."""
