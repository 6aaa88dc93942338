"""What goes over the wire, how to reach a server, and how to be one."""
