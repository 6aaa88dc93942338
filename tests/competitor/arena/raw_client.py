"""A client of the course's protocol that knows nothing but the bytes on the wire: an independent check of the arena."""

import contextlib
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from tests.competitor.wire.boxes import Box, Value, first_box, read_floats, write_box

TIMEOUT_S = 20.0
Act = Callable[[list[float]], Sequence[float]]


def towards_the_puck(obs: list[float]) -> Sequence[float]:
    """Run after the puck; decides a round now and then."""
    return [max(-1.0, min(1.0, 2 * (obs[12 + axis] - obs[axis]))) for axis in (0, 1)] + [0.1, 1.0]


@dataclass
class Played:
    """A match as the client saw it."""

    match_id: bytes
    observations: list[list[float]] = field(default_factory=list)
    result: bool | None = None
    stats: list[float] = field(default_factory=list)


class RawClient:
    """Plays as many matches as asked for over one connection, then says that it is not ready and closes."""

    def __init__(
        self,
        port: int,
        token: str,
        *,
        act: Act = towards_the_puck,
        version: int = 1,
        heard: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.messages: list[str] = []
        self.errors: list[str] = []
        self.matches: list[Played] = []
        self._port, self._token, self._act, self._version, self._heard = port, token, act, version, heard

    def play(self, matches: int) -> list[Played]:
        """The matches that the server let it finish; fewer when the server closes the connection."""
        connection = socket.create_connection(("127.0.0.1", self._port), TIMEOUT_S)
        # Answering an Error, or a server that stops, may meet a connection that is closed already.
        with connection, contextlib.suppress(ConnectionError):
            for box in _boxes(connection):
                answer = self._answer(box, matches)
                connection.sendall(write_box({"_answer": box["_ask"], **answer}))
                if len(self._finished()) == matches:
                    break
        return self._finished()

    def _finished(self) -> list[Played]:
        return [played for played in self.matches if played.stats]

    def _answer(self, box: Box, matches: int) -> dict[str, Value]:
        command = box["_command"].decode()
        if command == "Auth":
            return {"token": self._token.encode(), "version": str(self._version).encode()}
        if command == "Ready":
            return {"ready": b"True" if len(self.matches) < matches else b"False"}
        if command == "StartGame":
            self.matches.append(Played(box["game_id"]))
        elif command == "Step":
            obs = read_floats(box["obv"])
            self.matches[-1].observations.append(obs)
            return {"action": [float(value) for value in self._act(obs)]}
        elif command == "EndGame":
            self.matches[-1].result = box["result"] == b"True"
            self.matches[-1].stats = read_floats(box["stats"])
        else:
            assert command in ("Message", "Error"), command
            (self.errors if command == "Error" else self.messages).append(box["msg"].decode())
            self._heard(box["msg"].decode())
        return {}


def _boxes(connection: socket.socket) -> Iterator[Box]:
    """The server's boxes until it closes the connection."""
    received = b""
    while data := connection.recv(65_536):
        received += data
        while (found := first_box(received)) is not None:
            yield found[0]
            received = received[len(found[1]) :]
