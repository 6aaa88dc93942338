"""The commands of the comprl protocol, version 1, as Twisted's AMP wants them. The server asks, the player answers.

=============  ==================================================  ==========================================
command        arguments                                           answer
=============  ==================================================  ==========================================
``Auth``                                                           ``token`` bytes, ``version`` integer
``Ready``      after the login and before the end of every match   ``ready`` boolean: play another match?
``StartGame``  ``game_id``: the 16 bytes of a UUID                 nothing
``Step``       ``obv``: 18 floats                                  ``action``: 4 floats in [-1, 1]
``EndGame``    ``result``: won, ``stats``: own and other goals     nothing
``Message``    ``msg``: UTF-8                                      nothing
``Error``      ``msg``: UTF-8; the server closes the connection    nothing
=============  ==================================================  ==========================================

Arguments are read leniently: what is missing or cannot be read arrives as None, or as NaN within a list, because a
request has to be answered whatever it says. Answers are read strictly, as the competition's server does.
"""

import math

from twisted.protocols import amp

from competitor.errors import CompetitorError, LoginError, ProtocolVersionError

PROTOCOL_VERSION = 1
LOGIN_FAILED = "Authentication failed"
WRONG_VERSION = "Tried to connect with wrong version"


class Floats(amp.ListOf):
    """A list of floats, read in half the time that ListOf takes; NaN where a text is none.

    What follows the last whole one is left out.
    """

    def __init__(self) -> None:
        super().__init__(amp.Float(), optional=True)

    def fromString(self, inString: bytes) -> list[float]:
        values, place, last = [], 2, len(inString)
        while place <= last:
            end = place + (inString[place - 2] << 8) + inString[place - 1]
            if end > last:
                break
            try:
                values.append(float(inString[place:end]))
            except ValueError:
                values.append(math.nan)
            place = end + 2
        return values


class LenientBoolean(amp.Boolean):
    """`True` or `False` on the wire; None for anything else."""

    def fromString(self, inString: bytes) -> bool | None:
        return {b"True": True, b"False": False}.get(inString)


class Auth(amp.Command):
    response = [(b"token", amp.String()), (b"version", amp.Integer())]


class Ready(amp.Command):
    response = [(b"ready", amp.Boolean())]


class StartGame(amp.Command):
    arguments = [(b"game_id", amp.String(optional=True))]


class Step(amp.Command):
    arguments = [(b"obv", Floats())]
    response = [(b"action", amp.ListOf(amp.Float()))]


class EndGame(amp.Command):
    arguments = [(b"result", LenientBoolean(optional=True)), (b"stats", Floats())]


class Message(amp.Command):
    arguments = [(b"msg", amp.String(optional=True))]


class Error(amp.Command):
    arguments = [(b"msg", amp.String(optional=True))]


AFTER_LOGIN = frozenset(command.commandName for command in (Ready, StartGame, Step, EndGame))
"""A server that sends one of these has accepted the login."""


def refusal_of(text: str, address: str) -> CompetitorError | None:
    """The fatal error that the server's text means, or None."""
    if text == LOGIN_FAILED:
        return LoginError(f"{address} does not accept the token; ask whoever runs the server for yours")
    if text == WRONG_VERSION:
        need = f"does not speak version {PROTOCOL_VERSION} of the comprl protocol"
        return ProtocolVersionError(f"{address} {need}; look for a newer version of this program")
    return None
