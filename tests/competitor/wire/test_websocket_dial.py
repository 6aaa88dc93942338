"""How a WebSocket connection comes about: addresses, TLS and whom to trust, the token's secrecy, being cut short."""

from __future__ import annotations

import contextlib
import io
import logging
import socket
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
import websocket

from competitor.daemon.websocket_connection import Timing
from competitor.errors import AddressError, CertificateError, TokenError
from competitor.wire.websocket_dial import Dial, DialError, RefusedError, Target, UntrustedError
from tests.competitor.daemon.websocket_bench import (
    PATIENCE_S,
    TOKEN,
    Daemon,
    Peer,
    Server,
    drain,
    handshake,
    raw_server,
    stay,
    text,
    wait_until,
)

LONG_AGO = datetime.now(UTC) - timedelta(days=30)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Who signs the certificates."""
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> Path:
    """The authority's own certificate as a file."""
    path = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(path)
    return path


def context(authority: trustme.CA, name: str = "localhost", **options: Any) -> ssl.SSLContext:
    """A server's side of TLS, with a certificate for `name`."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name, **options).configure_cert(tls)
    return tls


@contextlib.contextmanager
def dialled(url: str, **options: Any) -> Iterator[socket.socket | None]:
    """The socket of a connection made directly, closed at the end."""
    dial = Dial(Target.of(url), TOKEN, **options)
    dial.start()
    opened = dial.result()
    try:
        yield opened
    finally:
        dial.join(PATIENCE_S)
        if opened is not None:
            opened.close()


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("ws://Example.org:8080", "ws://example.org:8080/play"),
        ("ws://example.org", "ws://example.org:80/play"),
        ("wss://example.org/", "wss://example.org:443/play"),
        ("wss://[::1]:8443/deep/play/", "wss://[::1]:8443/deep/play"),
        ("ws://user:secret@example.org:1/play?token=secret#secret", "ws://example.org:1/play"),
    ],
)
def test_addresses(url: str, address: str) -> None:
    assert str(Target.of(url)) == address


@pytest.mark.parametrize(
    "url", ["", "example.org:80", "http://example.org", "ws://", "ws://:80", "ws://a:99999", "ws://[::1", "wss//a"]
)
def test_what_is_not_an_address(url: str) -> None:
    with pytest.raises(AddressError, match="looks like ws://HOST:PORT"):
        Target.of(url)


@pytest.mark.parametrize("token", ["", "two words", "line\r\nCookie: x", "tökën", "tab\t"])
def test_a_token_that_cannot_be_sent(token: str) -> None:
    with pytest.raises(TokenError) as caught:
        Daemon("ws://127.0.0.1:1", token=token)
    assert not token or token not in str(caught.value)


def test_tls_with_an_authority_of_ones_own(authority: trustme.CA, ca_file: Path) -> None:
    async def script(peer: Peer) -> None:
        await peer.log_in()
        await peer.play("m1", 50)
        await peer.expect("ready", matches=0)
        await peer.expect("seen", match="m1")
        assert await peer.closed() == 1000

    with (
        Server(script, tls=context(authority)) as server,
        Daemon(server.url, games=1, authority=ca_file) as daemon,
    ):
        assert daemon.ended() is None
        server.done()


def test_words_that_come_with_the_handshake_are_heard_over_tls(authority: trustme.CA, ca_file: Path) -> None:
    """What shares a TLS record with the handshake's answer does not show at the socket any more."""

    def script(peer: socket.socket) -> None:
        with context(authority).wrap_socket(peer, server_side=True) as secured:
            handshake(secured, text(type="welcome", version=1) + text(type="notice", message="hello"))
            drain(secured)

    with raw_server(script) as url:
        url = url.replace("ws://127.0.0.1", "wss://localhost")
        with Daemon(url, authority=ca_file, timing=Timing(turn_s=30.0)) as daemon:
            wait_until(lambda: daemon.telemetry.numbers().messages >= 2)


@pytest.mark.parametrize(
    ("options", "trusted", "reason"),
    [
        ({}, False, "signed by nobody whom this computer trusts"),
        ({"not_before": LONG_AGO, "not_after": LONG_AGO + timedelta(days=1)}, True, "has expired"),
        ({"not_before": datetime.now(UTC) + timedelta(days=1)}, True, "is not valid yet"),
        ({"name": "example.org"}, True, "made for another host name"),
    ],
)
def test_certificates_that_cannot_be_trusted(
    authority: trustme.CA, ca_file: Path, options: dict[str, Any], trusted: bool, reason: str
) -> None:
    extra = {"authority": ca_file} if trusted else {}
    with Server(stay, tls=context(authority, **options)) as server, Daemon(server.url, **extra) as daemon:
        error = daemon.ended()
    assert isinstance(error, CertificateError) and reason in str(error) and "localhost" in str(error)
    assert "\n" not in str(error) and not server.requests


def test_the_certificate_of_another_address(authority: trustme.CA, ca_file: Path) -> None:
    with (
        Server(stay, tls=context(authority)) as server,
        Daemon(server.url.replace("localhost", "127.0.0.1"), authority=ca_file) as daemon,
    ):
        error = daemon.ended()
    assert isinstance(error, CertificateError) and "made for another address" in str(error)


def test_a_certificate_that_expires_while_playing_is_waited_for(
    authority: trustme.CA, ca_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def script(peer: Peer) -> None:
        await peer.log_in()

    tls = context(authority)
    with Server(script, tls=tls) as server:
        past = authority.issue_cert("localhost", not_before=LONG_AGO, not_after=LONG_AGO + timedelta(days=1))

        async def last_of_its_kind(peer: Peer) -> None:
            await peer.log_in()
            past.configure_cert(tls)
            await peer.socket.close()

        server.scripts.insert(0, last_of_its_kind)
        with Daemon(server.url, authority=ca_file) as daemon:
            wait_until(lambda: caplog.text.count("has expired") >= 2)
            authority.issue_cert("localhost").configure_cert(tls)
            server.done(2)
            assert daemon.is_running


def test_files_of_certificates_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("not a certificate")
    with pytest.raises(CertificateError, match="holds no certificates"):
        Target.of("wss://example.org", tmp_path / "empty.pem")
    with pytest.raises(CertificateError, match="No such file"):
        Target.of("wss://example.org", tmp_path / "missing.pem")


def test_tls_where_there_is_none() -> None:
    with Server(stay) as server, Daemon(server.url.replace("ws:", "wss:"), attempts=1) as daemon:
        assert "does the server speak TLS?" in str(daemon.ended())


def test_no_tls_where_there_is_some(authority: trustme.CA) -> None:
    with (
        Server(stay, tls=context(authority)) as server,
        Daemon(server.url.replace("wss:", "ws:"), attempts=1) as daemon,
    ):
        assert "cannot be reached, attempt 1:" in str(daemon.ended())


def test_the_token_is_in_the_header_and_nowhere_else(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    trace = io.StringIO()

    async def script(peer: Peer) -> None:
        assert peer.request.headers["Authorization"] == f"Bearer {TOKEN}"
        assert TOKEN not in peer.request.path_qs and "Origin" not in peer.request.headers
        await peer.log_in()
        await peer.send("notice", message=f"why {TOKEN}?")
        await peer.play("m1")

    websocket.enableTrace(True, logging.StreamHandler(trace))
    try:
        with Server(script) as server, Daemon(server.url) as daemon:
            server.done()
            assert TOKEN not in repr(daemon.wire) + repr(daemon.wire.__dict__["_target"])
    finally:
        websocket.enableTrace(False)
    assert "Authorization: Bearer ***" in trace.getvalue() and TOKEN not in trace.getvalue()
    ours = [record for record in caplog.records if not record.getMessage().startswith("the server says")]
    assert ours and not [record for record in ours if TOKEN in record.getMessage()]


def test_a_server_that_quotes_the_token_is_not_quoted(caplog: pytest.LogCaptureFixture) -> None:
    def script(peer: socket.socket) -> None:
        peer.recv(4096)
        peer.sendall(f"HTTP/1.1 {TOKEN} {TOKEN}\r\n\r\n".encode())

    with raw_server(script) as url, Daemon(url, attempts=1) as daemon:
        error = daemon.ended()
    assert "***" in str(error) and TOKEN not in str(error) + caplog.text


def test_a_redirection_is_not_followed() -> None:
    """It would hand the token to whom it names."""
    with (
        Server(stay) as thief,
        Server(stay, statuses=[301], location=thief.url) as server,
        Daemon(server.url, attempts=1) as daemon,
    ):
        assert "HTTP status 301" in str(daemon.ended())
    assert len(server.requests) == 1 and not thief.requests


def test_proxies_of_the_environment_do_not_get_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with Server(stay) as server, dialled(server.url) as opened:
        assert opened is not None


def test_the_socket_is_tuned() -> None:
    with Server(stay) as server, dialled(server.url) as opened:
        assert opened is not None and opened.getblocking() is False
        assert opened.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert opened.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        if hasattr(socket, "TCP_KEEPIDLE"):
            assert opened.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 30


def test_every_address_of_a_host_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        closed = taken.getsockname()
    with Server(stay) as server:
        tcp = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
        found = [(*tcp, closed), (*tcp, ("127.0.0.1", server.port))]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        with dialled("ws://two-addresses.example/play") as opened:
            assert opened is not None


@pytest.mark.parametrize("error", [socket.gaierror(-2, "Name or service not known"), UnicodeError("label too long")])
def test_a_host_that_does_not_exist(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(DialError, match="there is no host 'nowhere.example'"), dialled("ws://nowhere.example"):
        pass


def test_kinds_of_failure(authority: trustme.CA) -> None:
    with Server(stay, statuses=[401, 403]) as server:
        with pytest.raises(RefusedError, match="HTTP status 401"), dialled(server.url):
            pass
        with pytest.raises(DialError, match="HTTP status 403"), dialled(server.url):
            pass
    with Server(stay, tls=context(authority)) as server, pytest.raises(UntrustedError), dialled(server.url):
        pass


@pytest.mark.parametrize("scheme", ["ws", "wss"])
def test_cancelling_an_attempt_closes_what_it_opened(scheme: str) -> None:
    accepted, gone = threading.Event(), threading.Event()

    def script(peer: socket.socket) -> None:
        peer.recv(4096)  # the request, or the beginning of TLS: it gets no answer
        accepted.set()
        with contextlib.suppress(OSError):
            while peer.recv(4096):
                pass
        gone.set()

    with raw_server(script) as url:
        dial = Dial(Target.of(url.replace("ws:", f"{scheme}:")), TOKEN, timeout_s=3600.0)
        dial.start()
        assert accepted.wait(PATIENCE_S)
        dial.cancel()
        assert dial.result() is None
        assert gone.wait(PATIENCE_S)
        dial.join(PATIENCE_S)
        assert not dial.is_alive()


def test_cancelling_when_it_is_done_closes_the_socket() -> None:
    with Server(stay) as server:
        dial = Dial(Target.of(server.url), TOKEN)
        dial.start()
        dial.join(PATIENCE_S)
        dial.cancel()
        assert dial.result() is None


def test_an_attempt_has_a_limit(caplog: pytest.LogCaptureFixture) -> None:
    """Also for a server that always says a little."""

    def script(peer: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                peer.sendall(b"X")
                pause.wait(0.01)

    pause = threading.Event()
    with raw_server(script) as url:
        dial = Dial(Target.of(url), TOKEN, timeout_s=0.15)
        dial.start()
        with pytest.raises(DialError, match="no connection within 0.15 s"):
            dial.result()
        dial.join(PATIENCE_S)
        assert not dial.is_alive()
