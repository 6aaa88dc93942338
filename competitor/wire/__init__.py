"""What goes over the wire, and how to reach a server."""
