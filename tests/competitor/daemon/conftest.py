"""Servers that need nothing but a socket."""

import socket
from collections.abc import Iterator

import pytest

from tests.competitor.daemon.misbehaving_server import Server


@pytest.fixture
def deaf_port() -> Iterator[int]:
    """A port where nobody answers the call: its queue is full, and the system drops what comes."""
    with Server(backlog=0) as server:
        callers = [socket.socket() for _ in range(4)]
        for caller in callers:
            caller.setblocking(False)
            caller.connect_ex(("127.0.0.1", server.port))
        yield server.port
        for caller in callers:
            caller.close()
