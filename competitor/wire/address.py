"""Where the tournament server is: `--server`, or the environment variables that comprl's own client reads.

Path and query of a WebSocket server are sent as they were given, the host as DNS wants it (bücher.example as
xn--bcher-kva.example).
"""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import idna

from competitor.errors import AddressError
from competitor.wire.messages import PATH

URL_VARIABLE = "COMPRL_SERVER_URL"
PORT_VARIABLE = "COMPRL_SERVER_PORT"
COMPRL_PORT = 65335
FORMS = "comprl://HOST:PORT, HOST:PORT, HOST, ws://HOST:PORT or wss://HOST:PORT"

Scheme = Literal["comprl", "ws", "wss"]
_PORTS: dict[Scheme, int] = {"comprl": COMPRL_PORT, "ws": 80, "wss": 443}
_HOST_AND_PORT = re.compile(r"(?P<host>\[[^\]]*\]|[^:\[\]]*)(?::(?P<port>[^:]*))?")
_NAME = re.compile(r"(?!-)(?=.{1,253}$)([a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}(?<!-)\.?", re.IGNORECASE)


@dataclass(frozen=True)
class Address:
    """A tournament server. The scheme says which protocol it speaks; `path`, with any query, is empty for comprl."""

    scheme: Scheme
    host: str
    port: int
    path: str = ""

    @property
    def wire(self) -> Literal["comprl", "websocket"]:
        """The module that speaks the server's protocol."""
        return "comprl" if self.scheme == "comprl" else "websocket"

    def __str__(self) -> str:
        return f"{self.scheme}://{host_and_port(self.host, self.port)}{self.path}"


def host_and_port(host: str, port: int) -> str:
    """HOST:PORT, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def server_address(option: str | None, environ: Mapping[str, str]) -> Address:
    """The server that `--server` names, else COMPRL_SERVER_URL; COMPRL_SERVER_PORT stands in for a missing port.

    Raises AddressError with one line when there is no address or it is not one.
    """
    source, text = (URL_VARIABLE, environ.get(URL_VARIABLE, "")) if option is None else ("--server", option)
    if option is None and not text.strip():
        raise AddressError(f"no server given: add --server with {FORMS}, or set {URL_VARIABLE}")
    try:
        port = environ.get(PORT_VARIABLE, "").strip()
        default_port = _port(port) if port else None
    except AddressError as error:
        raise AddressError(f"{PORT_VARIABLE}: {error}") from None
    try:
        return parse_address(text, default_port=default_port)
    except AddressError as error:
        raise AddressError(f"{source}: {error}") from None


def parse_address(text: str, *, default_port: int | None = None) -> Address:
    """Read one of FORMS. default_port: for an address without a port; None: the usual one of its scheme.

    Raises AddressError.
    """
    scheme, rest = _split_scheme(text.strip())
    end = min((place for mark in "/?#" if (place := rest.find(mark)) >= 0), default=len(rest))
    authority, path = rest[:end], rest[end:]
    if "@" in authority:
        # Not quoted: what stands before the @ may be a secret.
        raise AddressError("the address must not hold a user or a token: the token has a place of its own")
    found = _HOST_AND_PORT.fullmatch(authority)
    if found is None:
        raise AddressError(f"'{text}' has too many colons: write HOST:PORT, an IPv6 address as [::1]:PORT")
    try:
        host, port = _host(found["host"]), found["port"]
        address = Address(scheme, host, _port(port) if port is not None else default_port or _PORTS[scheme])
    except AddressError as error:
        raise AddressError(f"'{text}' is not an address: {error}; expected {FORMS}") from None
    if scheme == "comprl":
        if path.strip("/"):
            raise AddressError(f"'{text}' is not an address: comprl servers have no path; expected {FORMS}")
        return address
    return replace(address, path=_path(text, path))


def _split_scheme(text: str) -> tuple[Scheme, str]:
    scheme, separator, rest = text.partition("://")
    if not separator:
        return "comprl", text
    for known in _PORTS:
        if scheme.lower() == known:
            return known, rest
    raise AddressError(f"'{text}' begins with {scheme}://, which is no tournament protocol; expected {FORMS}")


def _host(text: str) -> str:
    if text.startswith("["):
        try:
            ipaddress.IPv6Address(text[1:-1])
        except ValueError:
            raise AddressError(f"{text} is not an IPv6 address") from None
        return text[1:-1]
    try:
        name = text if text.isascii() else idna.encode(text, uts46=True).decode()
    except (idna.IDNAError, UnicodeError):
        name = ""
    if not _NAME.fullmatch(name):
        raise AddressError("it has no host name" if not text else f"'{text}' is not a host name")
    if name.rstrip(".").rpartition(".")[2].isdigit():  # no top-level domain is a number
        try:
            ipaddress.IPv4Address(name)
        except ValueError:
            raise AddressError(f"'{text}' is not an IPv4 address") from None
    return name


def _port(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= 65535:
        raise AddressError(f"port '{text}' is not a whole number from 1 to 65535")
    return int(text)


def _path(text: str, path: str) -> str:
    if not re.fullmatch(r"[!-~]*", path) or "#" in path:
        raise AddressError(f"'{text}' is not an address: path and query must be plain ASCII, without #")
    route, mark, query = path.partition("?")
    return (PATH if route in ("", "/") else route) + mark + query
