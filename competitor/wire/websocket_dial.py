"""From an address to an open WebSocket: name lookup, TCP, TLS and the HTTP handshake, all of it to be cut short.

None of these steps can be interrupted reliably from outside, so they run in a thread of their own: whoever waits
for it can go away at any time, and the thread closes what it has opened.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import websocket

from competitor import __version__
from competitor.daemon.logs import Redaction
from competitor.errors import AddressError, CertificateError
from competitor.wire.messages import PATH, plain

CONNECT_TIMEOUT_S = 15.0  # for all steps together
MOST_HANDSHAKE_BYTES = 64 * 1024
UNAUTHORIZED = 401
KEEP_ALIVE_S = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}
CLIENT = f"hockey-dreamer {__version__}"

# OpenSSL's numbers for what can be wrong with a certificate; all others: nobody we trust has signed it.
_NOT_YET_VALID, _EXPIRED, _OTHER_HOST, _OTHER_ADDRESS = 9, 10, 62, 64


class DialError(Exception):
    """This attempt to connect failed, another one may not; the text says why."""


class UntrustedError(DialError):
    """The server's certificate cannot be trusted."""


class RefusedError(DialError):
    """The server does not know the token."""


@dataclass(frozen=True)
class Target:
    """A WebSocket server: where it is, and with wss:// whom to trust. `str()` is its address."""

    host: str
    port: int
    path: str
    tls: ssl.SSLContext | None = None

    @classmethod
    def of(cls, url: str, authority: Path | None = None) -> Target:
        """The server at `url`. authority: file with certificates to trust besides the system's.

        Raises AddressError, or CertificateError when that file cannot be used.
        """
        try:
            parts = urlsplit(url)
            scheme, host, port = parts.scheme, parts.hostname, parts.port
        except ValueError:
            scheme, host, port = "", None, None
        if scheme not in ("ws", "wss") or not host:
            raise AddressError("the address of a WebSocket server looks like ws://HOST:PORT or wss://HOST:PORT")
        tls = _tls_context(authority) if scheme == "wss" else None
        return cls(host, port or (443 if tls else 80), parts.path.rstrip("/") or PATH, tls)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'wss' if self.tls else 'ws'}://{host}:{self.port}{self.path}"


def _tls_context(authority: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if authority is not None:
        try:
            context.load_verify_locations(authority)
        except ssl.SSLError:
            raise CertificateError(f"{authority} holds no certificates in PEM format") from None
        except OSError as error:
            raise CertificateError(f"the certificates {authority} cannot be read: {error.strerror}") from None
    return context


class Dial(threading.Thread):
    """One attempt to connect. Call `start()`, then `result()`; `cancel()` ends the waiting from any thread."""

    def __init__(self, target: Target, token: str, timeout_s: float = CONNECT_TIMEOUT_S) -> None:
        super().__init__(name="dial", daemon=True)
        self._target, self._token, self._timeout_s = target, token, timeout_s
        self._redact = Redaction(token)
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._cancelled = self._finished = False
        self._socket: socket.socket | None = None
        self._error: DialError | None = None

    def result(self) -> socket.socket | None:
        """The open WebSocket's socket, which does not block and is the caller's now; None after `cancel`.

        Raises DialError.
        """
        if not self._done.wait(self._timeout_s):
            self.cancel()
            raise DialError(f"no connection within {self._timeout_s:g} s")
        with self._lock:
            if self._cancelled:
                return None
            if self._error is not None:
                raise self._error
            opened, self._socket = self._socket, None
            return opened

    def cancel(self) -> None:
        """Give the attempt up. Does nothing to a socket that `result` has handed over."""
        with self._lock:
            self._cancelled = True
            if self._socket is not None:
                _shut(self._socket)
                if self._finished:
                    self._socket.close()
            self._done.set()

    def run(self) -> None:
        """Connect; called by the thread."""
        error = self._failure()
        with self._lock:
            self._error, self._finished = error, True
            if self._socket is not None and (self._cancelled or error is not None):
                self._socket.close()
            self._done.set()

    def _failure(self) -> DialError | None:
        try:
            self._connect()
        except DialError as error:
            return error
        except ssl.SSLCertVerificationError as error:
            return UntrustedError(_certificate_problem(self._target.host, error))
        except Exception as error:  # whatever a server's answer provokes in the libraries is its failure, not ours
            return DialError(plain(self._redact(f"{type(error).__name__}: {error}")))
        return None

    def _connect(self) -> None:
        self._keep(self._tcp())
        if self._target.tls is not None:
            self._tls(self._target.tls)
        self._handshake()
        assert self._socket is not None
        self._socket.setblocking(False)

    def _keep(self, opened: socket.socket) -> None:
        """Hold the socket, so that `cancel` can shut it."""
        with self._lock:
            self._socket = opened
            if self._cancelled:
                raise DialError("given up")

    def _tcp(self) -> socket.socket:
        """Try the server's addresses in turn; each has its share of the time."""
        host, port = self._target.host, self._target.port
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            raise DialError(f"there is no host '{plain(host)}', or no network") from None
        reason = "it has no address"
        for family, kind, protocol, _, address in found:
            opened = socket.socket(family, kind, protocol)
            try:
                opened.settimeout(self._timeout_s / len(found))
                opened.connect(address)
                _tune(opened)
                opened.settimeout(self._timeout_s)
                return opened
            except OSError as error:
                opened.close()
                reason = error.strerror or str(error)
        raise DialError(reason)

    def _tls(self, context: ssl.SSLContext) -> None:
        assert self._socket is not None
        secured = context.wrap_socket(self._socket, server_hostname=self._target.host, do_handshake_on_connect=False)
        self._keep(secured)
        try:
            secured.do_handshake()
        except ssl.SSLCertVerificationError:
            raise
        except ssl.SSLError as error:
            raise DialError(f"TLS failed ({error.reason or 'connection closed'}); does the server speak TLS?") from None

    def _handshake(self) -> None:
        assert self._socket is not None
        opening = websocket.WebSocket()
        connect: Callable[..., None] = opening.connect  # the package has types, but not here
        header = [f"Authorization: Bearer {self._token}", f"User-Agent: {CLIENT.replace(' ', '/')}"]
        # A redirection is not followed: it would carry the token to another server.
        options = {"header": header, "suppress_origin": True, "redirect_limit": 0, "socket": _Metered(self._socket)}
        try:
            with _hiding_in_trace(self._redact):
                connect(str(self._target), **options)
        except websocket.WebSocketBadStatusException as error:
            kind = RefusedError if error.status_code == UNAUTHORIZED else DialError
            raise kind(f"HTTP status {error.status_code}") from None
        except websocket.WebSocketTimeoutException:
            raise DialError("the server did not answer") from None
        except websocket.WebSocketConnectionClosedException:
            raise DialError("the server closed the connection without an answer") from None
        except websocket.WebSocketException as error:
            if opening.status is not None:
                raise DialError(f"HTTP status {opening.status}, a redirection") from None
            raise DialError(f"no WebSocket server: {plain(self._redact(str(error)))}") from None


class _Metered:
    """What the handshake needs of a socket, with an end to what the server can make it read."""

    def __init__(self, inner: socket.socket) -> None:
        self._inner, self._left = inner, MOST_HANDSHAKE_BYTES

    def recv(self, size: int) -> bytes:
        self._left -= size
        if self._left < 0:
            raise DialError(f"no WebSocket server: its answer is longer than {MOST_HANDSHAKE_BYTES} bytes")
        return self._inner.recv(size)

    def send(self, data: bytes) -> int:
        self._inner.sendall(data)
        return len(data)

    def gettimeout(self) -> float | None:
        return self._inner.gettimeout()

    def close(self) -> None:
        """The socket stays open: it belongs to the Dial."""


@contextlib.contextmanager
def _hiding_in_trace(redact: Redaction) -> Iterator[None]:
    """Keep the token out of the trace that websocket-client writes of a handshake once somebody enables it."""

    def hide(record: logging.LogRecord) -> bool:
        record.msg, record.args = redact(record.getMessage()), None
        return True

    logger = logging.getLogger("websocket")
    logger.addFilter(hide)
    try:
        yield
    finally:
        logger.removeFilter(hide)


def _tune(opened: socket.socket) -> None:
    """Small messages leave at once, and the system notices a peer that is gone."""
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEP_ALIVE_S.items():
        if hasattr(socket, name):
            opened.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _shut(opened: socket.socket) -> None:
    """Wake whoever is blocked in the socket; not SSLSocket's method, which would drop the encryption first."""
    with contextlib.suppress(OSError):
        socket.socket.shutdown(opened, socket.SHUT_RDWR)


def _certificate_problem(host: str, error: ssl.SSLCertVerificationError) -> str:
    begin = f"the certificate of {host}"
    problems = {
        _EXPIRED: f"{begin} has expired; tell whoever runs the server, or set this computer's clock",
        _NOT_YET_VALID: f"{begin} is not valid yet; is this computer's clock right?",
        _OTHER_HOST: f"{begin} is made for another host name; check the address",
        _OTHER_ADDRESS: f"{begin} is made for another address; check the address, or use the host's name",
    }
    unknown = f"{begin} is signed by nobody whom this computer trusts; --ca-file can name the signer's certificate"
    return problems.get(error.verify_code, unknown)
