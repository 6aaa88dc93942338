"""The HTTP port, asked over a real socket."""

import contextlib
import json
import re
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from competitor.daemon.health import HealthServer
from competitor.daemon.options import LOOPBACK
from competitor.daemon.telemetry import Telemetry
from competitor.engine.session import Source
from competitor.errors import PortError
from competitor.wire.address import host_and_port
from competitor.wire.connections import MOST_CONNECTIONS


@pytest.fixture
def now() -> list[float]:
    return [0.0]


@pytest.fixture
def telemetry(now: list[float]) -> Telemetry:
    return Telemetry(lambda: now[0])


@pytest.fixture
def server(telemetry: Telemetry) -> Iterator[HealthServer]:
    server = HealthServer(LOOPBACK, 0, telemetry, lambda: "playing", stuck_after_s=45.0)
    yield server
    server.close()


def get(server: HealthServer, path: str) -> tuple[int, str, str]:
    """Status, content type and body."""
    try:
        with urllib.request.urlopen(f"http://{LOOPBACK}:{server.port}{path}", timeout=10) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["Content-Type"], error.read().decode()


def test_healthz_follows_the_connection(server: HealthServer, telemetry: Telemetry) -> None:
    code, kind, body = get(server, "/healthz")
    assert (code, kind) == (503, "application/json; charset=utf-8")
    assert (json.loads(body)["healthy"], json.loads(body)["problem"]) == (False, "not connected")
    telemetry.connected("a", True)
    telemetry.message()
    telemetry.match_begun()
    code, _, body = get(server, "/healthz")
    says = json.loads(body)
    assert (code, says["healthy"], says["connected"], says["playing"], says["phase"]) == (200, True, True, 1, "playing")
    assert says["last_message_age_s"] == 0.0
    telemetry.connected("a", False)
    assert get(server, "/healthz")[0] == 503


@pytest.mark.parametrize(
    ("playing", "silent_s", "problem"),
    [(0, 3600.0, None), (1, 44.0, None), (1, 46.0, "no message for 46 s within a match")],
)
def test_silence_is_wrong_only_within_a_match(
    playing: int, silent_s: float, problem: str | None, telemetry: Telemetry, now: list[float]
) -> None:
    telemetry.connected("a", True)
    telemetry.message()
    for _ in range(playing):
        telemetry.match_begun()
    now[0] += silent_s
    assert telemetry.numbers().complaint(45.0) == problem


def test_metrics_are_prometheus_text(server: HealthServer, telemetry: Telemetry) -> None:
    telemetry.answered(2.0, Source.POLICY)
    code, kind, body = get(server, "/metrics")
    assert code == 200
    assert kind.startswith("text/plain; version=")
    assert 'hockey_answers_total{source="policy"} 1.0' in body.splitlines()


def test_whoever_hangs_up_or_sends_rubbish_harms_nobody(
    server: HealthServer, capfd: pytest.CaptureFixture[str]
) -> None:
    for data in (b"", b"GET /metr", b"\x00\x01\r\n\r\n", b"GET /healthz HTTP/1.0\r\n\r\n"):
        with socket.create_connection((LOOPBACK, server.port), timeout=10) as connection:
            connection.sendall(data)
    assert get(server, "/healthz")[0] == 503
    assert capfd.readouterr().err == ""


def test_ports_that_cannot_be_had_are_one_clear_line(server: HealthServer, telemetry: Telemetry) -> None:
    places = {
        LOOPBACK: (server.port, "Address already in use; choose another"),
        "192.0.2.1": (1, ""),
        "::1%nowhere": (1, "[A-Z]"),  # and no number of the system's
    }
    for host, (port, reason) in places.items():
        with pytest.raises(PortError, match=f"cannot listen on {re.escape(host_and_port(host, port))}: {reason}"):
            HealthServer(host, port, telemetry, lambda: "playing", stuck_after_s=45.0)


def test_the_port_is_free_after_close(telemetry: Telemetry) -> None:
    server = HealthServer(LOOPBACK, 0, telemetry, lambda: "playing", stuck_after_s=45.0)
    server.close()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((LOOPBACK, server.port), timeout=10)


def test_a_full_disk_is_a_warning_and_no_reason_for_a_new_start(server: HealthServer, telemetry: Telemetry) -> None:
    telemetry.connected("a", True)
    telemetry.stored(2, "records: No space left on device")
    code, _, body = get(server, "/healthz")
    assert code == 200  # a new start would lose what waits in memory
    assert json.loads(body)["warning"] == "2 matches wait to be written: records: No space left on device"
    assert json.loads(body)["waiting"] == 2


def connected(server: HealthServer, count: int) -> list[socket.socket]:
    return [socket.create_connection((LOOPBACK, server.port), timeout=10) for _ in range(count)]


def test_many_connections_that_say_nothing_keep_nobody_out(server: HealthServer, telemetry: Telemetry) -> None:
    idle = connected(server, MOST_CONNECTIONS // 2 + 20)
    for one in idle[::2]:
        with contextlib.suppress(ConnectionError):
            one.sendall(b"GET /healthz HTTP/1.1\r\nX-Half: ")
    assert get(server, "/healthz")[0] == 503
    for one in idle:
        with contextlib.suppress(ConnectionError), one:
            assert one.recv(100) == b""  # their time is up


def test_three_hundred_requests_are_answered(server: HealthServer) -> None:
    with contextlib.ExitStack() as stack:
        asking = []
        for _ in range(300):
            asking += [stack.enter_context(one) for one in connected(server, 1)]
            asking[-1].sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert all(one.makefile("rb").read(12) == b"HTTP/1.0 503" for one in asking)


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"POST /healthz HTTP/1.1", b"405"),
        (b"HEAD /healthz HTTP/1.1", b"503"),
        (b"GET /healthz?x=y HTTP/1.1", b"503"),
        (b"GET /secret HTTP/1.1", b"404"),
        (b"\x16\x03\x01", b"400"),
        (b"GET /" + 9000 * b"x", b"400"),
    ],
)
def test_other_requests(server: HealthServer, request_line: bytes, status: bytes) -> None:
    (connection,) = connected(server, 1)
    with connection:
        connection.sendall(request_line + b"\r\nHost: here\r\n\r\n")
        answer = connection.makefile("rb").read().lower()
    # One that lives on is cut off after 2 s: whoever asks on it again would lose that request.
    assert answer[9:12] == status and (answer.startswith(b"http/1.0") or b"\r\nconnection: close\r\n" in answer)
