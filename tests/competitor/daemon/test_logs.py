"""Logs: whole, rotated, and without the token in any spelling."""

import base64
import html
import io
import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from competitor.daemon.logs import BURST, CONSOLE, DAYS_KEPT, PAUSE_S, DailyFile, Redaction, logging_to
from competitor.screen import text_output
from competitor.wire.budget import Throttle
from tests.competitor.daemon.shared import wait_until

TOKEN = "s3cr\u00e9t-\\'\"/%-token"
HEADER = "version 1\nsettings {}"
log = logging.getLogger("competitor.daemon.some_module")


@contextmanager
def logged(folder: Path, secret: str = TOKEN) -> Iterator[Path]:
    with logging_to(folder / "logs" / "compete-1.log", header=lambda: HEADER, secret=secret) as path:
        yield path


@pytest.mark.parametrize(
    "wrap",
    [
        *(str, repr, lambda text: repr(text.encode()), lambda text: text.encode().hex(), str.upper, html.escape),
        *(
            lambda text, before=before: base64.b64encode(f"{before}{text}".encode()).decode()
            for before in ("", "x", "xy")
        ),
    ],
)
def test_every_spelling_of_the_token_is_hidden(wrap: object) -> None:
    assert callable(wrap)
    said = Redaction(TOKEN)(f"Auth token={wrap(TOKEN)} sent")
    assert "cr" not in said.lower()
    assert said.startswith("Auth token=")
    assert said.endswith(" sent")
    assert "***" in said


def test_token_is_hidden_in_messages_values_and_tracebacks(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with logged(tmp_path) as path:
        log.warning("the server said %s", {"token": TOKEN})
        logging.getLogger(CONSOLE).info("hello %s", TOKEN)
        logging.getLogger("twisted").info("sending %r", TOKEN.encode())
        try:
            raise ValueError(f"bad header Bearer {TOKEN}")
        except ValueError:
            log.exception("failed")
    captured = capfd.readouterr()
    for text in (path.read_text(), captured.out, captured.err):
        assert "cr\u00e9t" not in text
        assert repr(TOKEN)[3:10] not in text
        assert "***" in text
    assert "Traceback (most recent call last)" in path.read_text()
    assert "ValueError: bad header Bearer ***" in path.read_text()


def test_the_record_of_others_is_untouched(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with logged(tmp_path, "abc"):
        log.warning("token %s", "abc")
    (record,) = [record for record in caplog.records if record.name == log.name]
    assert record.args == ("abc",)


def test_console_shows_warnings_and_results_without_tracebacks(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with logged(tmp_path) as path:
        log.info("a detail")
        logging.getLogger(CONSOLE).info("match against weak: won 3:1")
        try:
            raise ValueError("deep inside")
        except ValueError:
            log.warning("something failed", exc_info=True)
    out, err = capfd.readouterr()
    assert [line[9:] for line in out.splitlines()] == ["match against weak: won 3:1"]
    assert [line[9:] for line in err.splitlines()] == ["warning: something failed"]
    assert "INFO competitor.daemon.some_module: a detail" in path.read_text()


def test_when_nobody_reads_the_output_the_file_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in `compete | head -1`."""
    reader, writer = os.pipe()
    os.close(reader)
    monkeypatch.setattr(sys, "stdout", text_output(writer, "utf-8"))
    with logged(tmp_path) as path:
        for number in range(3):
            logging.getLogger(CONSOLE).info("match %d", number)
    os.close(writer)
    assert [line[-7:] for line in path.read_text().splitlines()[2:]] == ["match 0", "match 1", "match 2"]


def test_a_file_begins_with_the_header(tmp_path: Path) -> None:
    with logged(tmp_path) as path:
        log.info("first")
    with logged(tmp_path):
        log.info("second")
    lines = path.read_text().splitlines()
    assert lines[:2] == lines[3:5] == ["# version 1", "# settings {}"]
    assert lines[2].endswith("first")
    assert lines[5].endswith("second")


def test_a_token_in_the_header_is_hidden(tmp_path: Path) -> None:
    with logging_to(tmp_path / "compete-1.log", header=lambda: f"server {TOKEN}", secret=TOKEN) as path:
        pass
    assert path.read_text() == "# server ***\n"


def test_a_path_that_is_no_text_is_written_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(logging.getLogger(), "handlers", [])  # pytest's own cannot hand such a text on
        with logging_to(tmp_path / "1.log", header=lambda: "checkpoint \udcff", secret=TOKEN) as path:
            log.info("playing \udcff")
    assert "# checkpoint \\udcff\n" in path.read_text() and "playing \\udcff\n" in path.read_text()


def test_a_pipe_in_the_place_of_the_log_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "1.log")  # to open it would wait for a reader
    with pytest.raises(OSError, match="1.log is a pipe"), logging_to(tmp_path / "1.log", header=str, secret=TOKEN):
        pass


def test_a_file_a_day_for_a_week_each_with_the_header(tmp_path: Path) -> None:
    path = tmp_path / "compete-1.log"
    day_s = 24 * 3600
    now = time.time()
    handler = DailyFile(path, lambda: HEADER)
    for day in range(10):
        handler.rolloverAt = int(now) - (10 - day) * day_s
        handler.emit(logging.LogRecord("x", logging.INFO, "x", 1, f"day {day}", None, None))
    handler.close()
    files = sorted(tmp_path.iterdir())
    assert len(files) == DAYS_KEPT + 1
    assert all(file.read_text().startswith("# version 1\n# settings {}\n") for file in files)
    assert path.read_text().endswith("day 9\n")


def test_a_file_that_cannot_be_written_is_said_once_and_nothing_else_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    with logged(tmp_path), monkeypatch.context() as patch:
        patch.setattr(DailyFile, "format", full)
        log.info("one")
        log.info("two")
        log.warning("three")
        wait_until(lambda: "three" in capfd.readouterr().err)
    assert "Traceback" not in capfd.readouterr().err


class HeldTerminal(io.StringIO):
    def __init__(self) -> None:
        super().__init__()
        self.go_on = threading.Event()

    def write(self, text: str) -> int:
        assert self.go_on.wait(30)
        return super().write(text)


def test_a_terminal_that_is_held_keeps_nobody_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = HeldTerminal()
    with logged(tmp_path):
        monkeypatch.setattr("sys.stdout", terminal)
        for number in range(100):
            logging.getLogger(CONSOLE).info("line %d", number)
        assert terminal.getvalue() == ""
        terminal.go_on.set()
    assert len(terminal.getvalue().splitlines()) == 100


def test_a_thread_that_dies_is_logged_and_all_is_put_back(tmp_path: Path) -> None:
    root = logging.getLogger()
    before = (threading.excepthook, root.level, list(root.handlers))

    def die() -> None:
        raise RuntimeError(f"no {TOKEN}")

    with logged(tmp_path) as path:
        thread = threading.Thread(target=die, name="network")
        thread.start()
        thread.join()
    assert "the thread network died: no ***" in path.read_text()
    assert "RuntimeError: no ***" in path.read_text()
    assert (threading.excepthook, root.level, list(root.handlers)) == before


def test_a_flood_of_lines_of_a_kind_is_counted_not_written(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "compete-1.log"
    with logging_to(path, header=lambda: "head", secret="s3cret"):
        for number in range(6000):
            logging.getLogger("competitor.daemon.test").info("the server says: %s", f"{number} {500 * 'x'}")
        for number in range(300):
            logging.getLogger(CONSOLE).info("result %d", number)
        logging.getLogger("competitor.daemon.test").info("something else")
    text = path.read_text()
    assert text.count("the server says") <= BURST + 20 and "something else" in text
    assert text.count(": result ") == 300  # results are what it is all about
    assert path.stat().st_size < 200_000


def test_what_was_left_out_is_said_with_the_next_one() -> None:
    now = [0.0]
    throttle = Throttle(BURST, PAUSE_S, lambda: now[0])
    record = logging.LogRecord("a", logging.INFO, "", 0, "again %s", ("x",), None)
    other = logging.LogRecord("a", logging.INFO, "", 0, "other", None, None)
    assert [throttle.let_pass(record) for _ in range(BURST)] == [0] * BURST
    assert throttle.let_pass(record) is throttle.let_pass(record) is None
    assert throttle.let_pass(other) == 0
    now[0] += PAUSE_S
    assert (throttle.let_pass(record), throttle.let_pass(record)) == (2, None)
    now[0] += 1e6
    assert [throttle.let_pass(record) for _ in range(BURST + 1)] == [1, *[0] * (BURST - 1), None]
