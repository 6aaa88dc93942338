"""How a WebSocket connection comes about: addresses, TLS and whom to trust, the token's secrecy, being cut short."""

import contextlib
import logging
import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme

from competitor.errors import CertificateError, TokenError
from competitor.wire.websocket_connection import Timing
from tests.competitor.daemon.shared import TOKEN, wait_until
from tests.competitor.daemon.websocket_harness import (
    PATIENCE_S,
    Daemon,
    Peer,
    Server,
    drain,
    handshake,
    play,
    raw_server,
    stay,
    text,
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

    play(script, ends=True, server={"tls": context(authority)}, games=1, authority=ca_file)


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
    ("certificate", "host", "trusted", "reason"),
    [
        ({}, "localhost", False, "signed by nobody whom this computer trusts"),
        ({"not_before": LONG_AGO, "not_after": LONG_AGO + timedelta(days=1)}, "localhost", True, "has expired"),
        ({"not_before": datetime.now(UTC) + timedelta(days=1)}, "localhost", True, "is not valid yet"),
        ({"name": "example.org"}, "localhost", True, "made for another host name"),
        ({}, "127.0.0.1", True, "made for another address"),
    ],
)
def test_certificates_that_cannot_be_trusted(
    authority: trustme.CA, ca_file: Path, certificate: dict[str, Any], host: str, trusted: bool, reason: str
) -> None:
    with (
        Server(stay, tls=context(authority, **certificate)) as server,
        Daemon(server.url.replace("localhost", host), authority=ca_file if trusted else None) as daemon,
    ):
        error = daemon.ended()
    assert isinstance(error, CertificateError) and reason in str(error) and host in str(error)
    assert "\n" not in str(error) and not server.requests


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
        Daemon("wss://example.org", authority=tmp_path / "empty.pem")
    with pytest.raises(CertificateError, match="No such file"):
        Daemon("wss://example.org", authority=tmp_path / "missing.pem")


@pytest.mark.parametrize(
    ("has_tls", "change", "words"),
    [(False, ("ws:", "wss:"), "does the server speak TLS?"), (True, ("wss:", "ws:"), "after one attempt:")],
)
def test_tls_on_one_side_only(authority: trustme.CA, has_tls: bool, change: tuple[str, str], words: str) -> None:
    with (
        Server(stay, tls=context(authority) if has_tls else None) as server,
        Daemon(server.url.replace(*change), attempts=1) as daemon,
    ):
        assert words in str(daemon.ended())


def test_a_server_that_ends_tls_before_it_begins() -> None:
    def script(peer: socket.socket) -> None:
        with peer, peer.makefile("rb") as stream:  # all of it: what is left unread would make a reset of the end
            stream.read(int.from_bytes(stream.read(5)[3:]))

    with raw_server(script) as url, Daemon(url.replace("ws:", "wss:"), attempts=1) as daemon:
        assert "one attempt: the server closed the connection without an answer" in str(daemon.ended())


def test_the_token_is_in_the_header_and_nowhere_else(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    async def script(peer: Peer) -> None:
        assert peer.request.headers["Authorization"] == f"Bearer {TOKEN}"
        assert TOKEN not in peer.request.path_qs and "Origin" not in peer.request.headers
        await peer.log_in()
        await peer.send("notice", message=f"why {TOKEN}?")
        await peer.play("m1")

    assert TOKEN not in repr(play(script).wire)
    ours = [record for record in caplog.records if not record.getMessage().startswith("the server says")]
    assert ours and not [record for record in ours if TOKEN in record.getMessage()]


@pytest.mark.parametrize("quoted", [TOKEN, TOKEN[:-1]], ids=["whole", "in pieces"])
def test_a_server_that_quotes_the_token_is_not_quoted(quoted: str, caplog: pytest.LogCaptureFixture) -> None:
    def script(peer: socket.socket) -> None:
        peer.sendall(f"HTTP/1.1 {quoted}".encode())

    with raw_server(script) as url, Daemon(url, attempts=1) as daemon:
        error = daemon.ended()
    assert "Bad status line" in str(error) and TOKEN[:-1] not in str(error) + caplog.text


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
    play(logged_in)


async def logged_in(peer: Peer) -> None:
    """Nothing but a login."""
    await peer.log_in()


def test_every_address_of_a_host_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        closed = taken.getsockname()
    look_up = socket.getaddrinfo
    with Server(logged_in) as server:
        tcp = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
        found = [(*tcp, ("127.0.0.2", closed[1])), (*tcp, ("127.0.0.1", server.port))]

        def both(host: str, *more: Any, **named: Any) -> Any:
            return found if host == "two-addresses.example" else look_up(host, *more, **named)

        monkeypatch.setattr(socket, "getaddrinfo", both)
        with Daemon(f"ws://two-addresses.example:{server.port}"):
            server.done()


@pytest.mark.parametrize(
    ("host", "error"),
    [
        ("nowhere.example", socket.gaierror(-2, "Name or service not known")),
        ("nowhere.example", UnicodeError("label too long")),
        ("[fe80::1%nowhere]", socket.gaierror(-2, "Name or service not known")),  # a zone that there is not
    ],
)
def test_a_host_that_does_not_exist(monkeypatch: pytest.MonkeyPatch, host: str, error: Exception) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with Daemon(f"ws://{host}", attempts=1) as daemon:
        assert f"there is no host '{host.strip('[]')}'" in str(daemon.ended())


@pytest.mark.parametrize("way", ["finish", "leave"])
def test_a_look_up_that_hangs_can_be_cut_short(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, answer = threading.Event(), threading.Event()

    def hang(*_: object, **__: object) -> list[object]:
        asked.set()
        answer.wait(PATIENCE_S)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    with Daemon("ws://slow.example") as daemon:
        assert asked.wait(PATIENCE_S)
        getattr(daemon.wire, way)()
        assert daemon.ended() is None
    answer.set()


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

    with raw_server(script) as url, Daemon(url.replace("ws:", f"{scheme}:"), timing=Timing(connect_s=3600.0)) as daemon:
        assert accepted.wait(PATIENCE_S)
        daemon.wire.leave()
        assert daemon.ended() is None
        assert gone.wait(PATIENCE_S)


def test_an_attempt_has_a_limit() -> None:
    """Also for a server that always says a little."""

    def script(peer: socket.socket) -> None:
        peer.sendall(b"HTTP/1.1 200 ")
        with contextlib.suppress(OSError):
            while True:
                peer.sendall(b"X")
                pause.wait(0.01)

    pause = threading.Event()
    with raw_server(script) as url, Daemon(url, timing=Timing(connect_s=0.15), attempts=1) as daemon:
        assert "no connection within 0.15 s" in str(daemon.ended())
