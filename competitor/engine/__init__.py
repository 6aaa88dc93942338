"""Answers the steps of many matches at once."""
