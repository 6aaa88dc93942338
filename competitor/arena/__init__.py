"""A local tournament server that speaks both wires: a practice hall for a class."""
