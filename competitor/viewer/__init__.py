"""Rounds in the browser: the element <rink-viewer>, and the commands `watch` and `play` that serve pages with it."""
