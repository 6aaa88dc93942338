"""A comprl server that does as the test says: bytes by hand over a raw socket, so that no codec checks itself."""

from __future__ import annotations

import contextlib
import socket
import struct

from tests.competitor.daemon.shared import OBS, TOKEN
from tests.competitor.engine.fakes import WAIT_S as TIMEOUT_S
from tests.competitor.wire.boxes import Box, Value, first_box, read_floats, write_box

GAME = bytes(range(16))
GAME_ID = "00010203-0405-0607-0809-0a0b0c0d0e0f"


class Peer:
    """The server's end of one connection. Checks that every answer is owed and comes once."""

    def __init__(self, accepted: socket.socket) -> None:
        accepted.settimeout(TIMEOUT_S)
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = accepted
        self.owed: set[str] = set()
        self.answers: dict[str, Box] = {}
        self.raw: dict[str, bytes] = {}  # the answers' bytes
        self.probes, self.hangs = 0, False
        self._received = b""
        self._tags = 0

    def request(self, command: str | bytes, **fields: Value) -> tuple[str, bytes]:
        """The tag and the bytes of a request, numbered as the server does it."""
        self._tags += 1
        tag = f"{self._tags:x}"
        self.owed.add(tag)
        return tag, write_box({"_ask": tag, "_command": command, **fields})

    def send(self, *requests: tuple[str, bytes]) -> list[str]:
        """Send requests in one segment; return their tags."""
        self.socket.sendall(b"".join(data for _, data in requests))
        return [tag for tag, _ in requests]

    def ask(self, command: str | bytes, **fields: Value) -> str:
        """Send a request; return its tag."""
        return self.send(self.request(command, **fields))[0]

    def answer(self, tag: str) -> Box:
        """Wait for the answer with this tag."""
        while tag not in self.answers:
            assert self.read_answer() is not None, f"the connection ended without an answer to {tag}"
        return self.answers[tag]

    def action(self, tag: str) -> list[float]:
        """Wait for the answer to a Step."""
        box = self.answer(tag)
        assert box.keys() == {"_answer", "action"}
        return read_floats(box["action"])

    def read_answer(self) -> str | None:
        """Wait for the next answer and return its tag; None at the end of the stream."""
        while (found := first_box(self._received)) is None:
            try:
                data = self.socket.recv(65536)
            except ConnectionResetError:  # a client that leaves without reading the rest resets
                return None
            if not data:
                assert not self._received, "the connection ended within a box"
                return None
            self._received += data
        box, raw = found
        self._received = self._received[len(raw) :]
        if box.get("_command") == b"Probe":  # no command of the protocol: AMP answers that it knows none
            self.probes += 1
            refusal = {"_error": box["_ask"], "_error_code": "UNHANDLED", "_error_description": "Unhandled Command"}
            self.socket.sendall(b"" if self.hangs else write_box(refusal))
            return self.read_answer()
        tag = (box.get("_answer") or box["_error"]).decode()
        assert tag in self.owed, f"nothing was asked with the tag {tag}, or it is answered twice"
        self.owed.remove(tag)
        self.answers[tag], self.raw[tag] = box, raw
        return tag

    def expect_end(self) -> None:
        """The client closes; every answer that was owed has come."""
        while self.read_answer() is not None:
            pass
        assert not self.owed, f"never answered: {self.owed}"

    def log_in(self) -> None:
        """Ask who it is; the token has to be right."""
        assert self.answer(self.ask("Auth")) == {"_answer": b"1", "token": TOKEN.encode(), "version": b"1"}

    def queue(self) -> None:
        """Log in and ask whether it wants to play, which it does."""
        self.log_in()
        ready, said = self.send(self.request("Ready"), self.request("Message", msg="Authentication successful"))
        assert self.answer(ready)["ready"] == b"True"
        self.answer(said)

    def start(self, game: bytes = GAME) -> str:
        """Begin a match; return the tag of its first Step."""
        begun, step = self.send(self.request("StartGame", game_id=game), self.request("Step", obv=OBS))
        self.answer(begun)
        return step

    def end(self, *stats: float, result: bool = False) -> tuple[str, str]:
        """End a match; return the tags of Ready and EndGame."""
        ready, end = self.send(self.request("Ready"), self.request("EndGame", result=result, stats=stats))
        return ready, end

    def finish_match(self, *stats: float, result: bool = False) -> bool:
        """End a match; return whether the client wants another one."""
        ready, end = self.end(*stats, result=result)
        assert self.answer(end) == {"_answer": end.encode()}
        return self.answer(ready)["ready"] == b"True"

    def close(self) -> None:
        """FIN."""
        self.socket.close()

    def reset(self) -> None:
        """RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


class Server:
    """Listens on loopback; use it in a `with` block."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0, backlog: int = 16) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, port), family=family, backlog=backlog)
        self._listener.settimeout(TIMEOUT_S)
        self.port: int = self._listener.getsockname()[1]
        self._stack = contextlib.ExitStack()
        self._stack.callback(self._listener.close)

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def accept(self) -> Peer:
        """Wait for the next connection."""
        accepted, _ = self._listener.accept()
        self._stack.callback(accepted.close)
        return Peer(accepted)

    def stop_listening(self) -> None:
        """Refuse connections from now on."""
        self._listener.close()

    @property
    def is_called(self) -> bool:
        """Whether somebody waits to be accepted."""
        self._listener.settimeout(0)
        try:
            self.accept()
        except BlockingIOError:
            return False
        finally:
            self._listener.settimeout(TIMEOUT_S)
        return True
