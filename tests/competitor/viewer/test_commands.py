"""The commands `watch` and `play`: their mistakes, their files, and whole processes from the first line to Ctrl-C."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock
from urllib.request import urlopen

import numpy as np
import pytest
from click.testing import CliRunner

import cli
from tests.competitor.viewer.recorded import a_round, folder

__all__ = ["folder"]
ROOT = Path(cli.__file__).parent


def test_every_mistake_has_its_line(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    foreign = folder / "sub" / "foreign.npz"
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    for arguments, code, line in (
        (
            ["nothing"],
            10,
            "to watch at nothing: no recording, folder of them, run or checkpoint; `watch champion` plays some",
        ),
        (["nothing.npz"], 10, "there is no recorded round nothing.npz"),
        ([str(ROOT / "README.md")], 10, "there is nothing to watch at"),
        ([str(tmp_path)], 10, "there are no recorded rounds in"),
        ([str(foreign)], 10, "is not a recorded round, or it is damaged"),
        ([str(folder), "--agent", "nobody"], 4, "there is no checkpoint nobody.safetensors"),
        ([str(folder), "--export", "x.avi"], 2, "x.avi: the name of this file has to end with .html or .gif or .mp4"),
        ([str(folder), "--export", str(tmp_path / "x.mp4")], 18, "writing .mp4 needs the extra 'video'"),
    ):
        check_refusal(["watch", *arguments], code, line)


def test_a_port_that_is_taken_has_its_line(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = f"cannot listen on 127.0.0.1:{port}: address already in use; choose another --port, 0 takes a free one"
        check_refusal(["watch", str(folder), "--port", str(port)], 16, line)
    check_refusal(["watch", str(folder), "--host", "nowhere.invalid", "--port", "0"], 16, "cannot listen on nowhere")


def check_refusal(arguments: list[str], code: int, line: str) -> None:
    """A command ends with this code and says this in its one line."""
    with CliRunner().isolation() as (out, error, _):
        assert cli.run(arguments) == code, arguments
    said = (out.getvalue() + error.getvalue()).decode().replace("note: left out 1 of 4 files", "")
    assert line in said and "Traceback" not in said and said.count("error: ") <= 1, said


def test_a_gif_shows_all_rounds_of_the_match(folder: Path, tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    path = next(folder.glob("strong-weak-00000*"))
    with CliRunner().isolation():
        assert cli.run(["watch", str(path), "--export", str(tmp_path / "x.gif")]) == 0
    with image.open(tmp_path / "x.gif") as gif:
        seconds = sum(duration for duration in durations(gif)) / 1000
    assert seconds == pytest.approx((a_round().steps + 1) / 50 + 0.8, abs=0.05)


def test_an_mp4_has_a_picture_for_every_step(folder: Path, tmp_path: Path) -> None:
    ffmpeg = pytest.importorskip("imageio_ffmpeg", reason="the extra 'video' is not installed")
    path = next(folder.glob("strong-weak-00000*"))
    with CliRunner().isolation():
        assert cli.run(["watch", str(path), "--export", str(tmp_path / "x.mp4")]) == 0
    assert ffmpeg.count_frames_and_secs(tmp_path / "x.mp4")[0] == a_round().steps + 1 + 40
    assert [left.name for left in tmp_path.iterdir()] == ["x.mp4"]


def test_ctrl_c_leaves_no_part_of_an_mp4(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ffmpeg makes its file when it gets there: it has to have ended before the file is removed."""

    def write_frames(path: str, size: tuple[int, int], **settings: object) -> Iterator[None]:
        try:
            while True:
                yield
        finally:
            Path(path).touch()

    ffmpeg = SimpleNamespace(write_frames=write_frames, get_ffmpeg_exe=lambda: "ffmpeg")
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", ffmpeg)
    picture = np.zeros((48, 60, 3), np.uint8)
    monkeypatch.setattr("competitor.viewer.video.Canvas.frame", Mock(side_effect=[picture, picture, KeyboardInterrupt]))
    assert cli.run(["watch", str(folder), "--export", str(tmp_path / "x.mp4")]) == 130
    assert not list(tmp_path.iterdir())


def durations(gif: Any) -> list[int]:
    """How long (ms) each picture of a GIF is shown."""
    found = []
    for number in range(gif.n_frames):
        gif.seek(number)
        found.append(gif.info["duration"])
    return found


@contextmanager
def command(*arguments: str) -> Iterator[tuple[str, str, subprocess.Popen[str]]]:
    """A command of its own that serves: (its address, the query with the token, the process)."""
    line = [sys.executable, str(ROOT / "cli.py"), *arguments, "--port", "0"]
    without_screen = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": without_screen}
    with subprocess.Popen(line, **pipes) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        address, _, token = said.split()[1].partition("?")
        assert address.startswith("http://127.0.0.1:") and said.endswith("(Ctrl-C ends)\n")
        yield address, token, process


def test_who_has_no_token_keeps_nobody_out(folder: Path) -> None:
    """Connections that say nothing make room for newcomers; a page that is open stays."""
    with command("watch", str(folder)) as (address, token, process), ExitStack() as stack:
        host, port = address.split("/")[2].split(":")
        page = HTTPConnection(host, int(port), timeout=20)
        stack.callback(page.close)
        page.request("GET", f"/?{token}")
        assert page.getresponse().read()
        idle = [stack.enter_context(socket.create_connection((host, int(port)), timeout=20)) for _ in range(300)]
        assert idle[0].recv(1) == b""
        held, page.auto_open = page.sock, 0
        page.request("GET", f"/?{token}")
        assert page.getresponse().read() and page.sock is held
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0 and "Traceback" not in process.stderr.read()  # type: ignore[union-attr]


def test_watch_serves_what_it_finds_until_ctrl_c(folder: Path) -> None:
    with command("watch", str(folder)) as (address, token, process):
        with urlopen(f"{address}?{token}") as answer:
            assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        with urlopen(f"{address}api/rounds.json?{token}") as answer:
            assert len(json.load(answer)) == 3
        with socket.create_connection(("127.0.0.1", int(address.strip("/").rpartition(":")[2]))) as peer:
            peer.sendall(b"GET /?\xff HTTP/1.1\r\n\r\n")
            assert b"400" in peer.makefile("rb").readline()  # and no traceback below
        process.send_signal(signal.SIGINT)
        assert process.stdout is not None and process.stderr is not None
        said, errors = process.stdout.read(), process.stderr.read()  # communicate() would miss what is buffered here
    assert process.returncode == 0
    if sys.platform == "linux":
        assert said.startswith("no browser here; from another machine: ssh -L ")
    assert errors.startswith("note: left out 1 of 4 files") and errors.count("\n") == 1


def test_play_keeps_its_folder_for_itself(tmp_path: Path) -> None:
    rounds = tmp_path / "rounds"
    with command("play", "weak", "--record", str(rounds), "--no-browser") as (address, token, process):
        with urlopen(f"{address}?{token}") as answer:
            assert b"play.js" in answer.read()
        line = f"the folder {rounds} is in use by another process"
        check_refusal(["play", "weak", "--record", str(rounds), "--port", "0"], 19, line)
        process.terminate()
        assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == 0


def test_every_mistake_of_play_has_its_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for arguments, code, line in (
            (["nobody"], 5, "unknown player 'nobody'"),
            (["weak", "sparring:nobody"], 5, "nobody"),
            (["runs/nothing"], 4, "runs/nothing"),
            (["weak", "--record", str(tmp_path / "file")], 2, "file"),
            (["weak", "--record", str(tmp_path / "file" / "sub")], 7, "cannot be written: Not a directory"),
            (["weak", "--port", port, "--record", str(tmp_path)], 16, "address already in use"),
            (["weak", "--port", "65536"], 2, "65536"),
            (["weak", "--name", " "], 2, "a name has 1 to 40 letters"),
            (["weak", "--name", "a\nb"], 2, "a name has 1 to 40 letters"),
            (["weak", "--name", "x" * 41], 2, "a name has 1 to 40 letters"),
        ):
            check_refusal(["play", *arguments], code, line)
