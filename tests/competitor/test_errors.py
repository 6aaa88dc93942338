"""Every error has its documented exit code and a message of one line."""

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import cli
import competitor.errors as errors
from competitor import __version__
from competitor.system import code_version, stopping_on_signals
from dreamer.errors import CheckpointError, DivergenceError, ReplayError


def classes(base: type[errors.CompetitorError]) -> Iterator[type[errors.CompetitorError]]:
    for kind in base.__subclasses__():
        yield kind
        yield from classes(kind)


def test_codes_are_distinct_and_drawn_in_the_tree() -> None:
    own = [kind for kind in classes(errors.CompetitorError) if "exit_code" in vars(kind)]
    codes = [kind.exit_code for kind in own]
    assert len(codes) == len(set(codes))
    assert not {0, 1, 2, 4, 8, errors.EXIT_INTERRUPTED} & set(codes)
    for kind in own:
        assert f"{kind.__name__} " in str(errors.__doc__)
        assert f" {kind.exit_code}  " in str(errors.__doc__)


def test_transient_and_fatal_are_apart() -> None:
    assert not set(classes(errors.FatalError)) & set(classes(errors.TransientError))


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.ConfigError("x"), 3),
        (CheckpointError("x"), 4),
        (errors.PlayerError("x"), 5),
        (errors.EngineError("x"), 6),
        (errors.StorageError("x"), 7),
        (OSError(errno.EACCES, "Permission denied", "/x"), 7),
        (DivergenceError("x"), 8),
        (errors.ResumeError("x"), 9),
        (ReplayError("x"), 9),
        (errors.RecordingError("x"), 10),
        (errors.CompetitorError("x"), 1),
        (ZeroDivisionError("a mistake of ours"), None),
    ],
)
def test_exit_codes(error: Exception, code: int | None) -> None:
    assert errors.exit_code(error) == code


def test_a_full_disk_behind_a_checkpoint_error_is_a_storage_error() -> None:
    error = CheckpointError("cannot be written")
    error.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    assert errors.exit_code(error) == 7


def test_messages_are_one_line() -> None:
    assert errors.message(errors.ConfigError("a\n  b")) == "a b"
    assert errors.message(OSError(errno.EACCES, "Permission denied", "/x")) == "/x: Permission denied"
    assert errors.message(errors.ConfigError()) == "ConfigError"


def test_messages_hold_nothing_that_a_terminal_obeys() -> None:
    assert errors.message(errors.ConfigError("\x1b[31mred \u202e ü\udce9")) == "\\x1b[31mred \\u202e ü\\udce9"
    assert errors.message(OSError(errno.ENOENT, "Gone", "/\x07")) == "/\\x07: Gone"


def test_first_signal_asks_and_second_interrupts() -> None:
    asked: list[str] = []
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), stopping_on_signals(lambda: asked.append("stop")) as received:
        os.kill(os.getpid(), signal.SIGTERM)
        assert (asked, received) == (["stop"], [signal.SIGTERM])
        os.kill(os.getpid(), signal.SIGINT)
    assert asked == ["stop"]
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no SIGHUP")
def test_a_hang_up_and_a_sigterm_are_one_wish_in_either_order() -> None:
    asked: list[str] = []
    for pair in ((signal.SIGHUP, signal.SIGTERM), (signal.SIGTERM, signal.SIGHUP)):
        with stopping_on_signals(lambda: asked.append("stop")) as received:
            for number in pair:
                os.kill(os.getpid(), number)
            assert tuple(received) == pair
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGTERM)
    assert asked == ["stop", "stop"]


def git(folder: Path, *words: str) -> None:
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    subprocess.run(["git", "-C", str(folder), *identity, *words], check=True, capture_output=True)


def test_version_names_the_commit_of_a_checkout(tmp_path: Path) -> None:
    assert code_version(tmp_path) == __version__
    git(tmp_path, "init")
    assert code_version(tmp_path) == __version__
    (tmp_path / "file").write_text("one")
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "-m", "first")
    clean = code_version(tmp_path)
    assert clean.startswith(f"{__version__}+g")
    (tmp_path / "file").write_text("two")
    assert code_version(tmp_path) == f"{clean}.dirty"


def test_version_without_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".git").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert code_version(tmp_path) == __version__


@pytest.mark.parametrize(
    ("package", "command", "extra"),
    [
        ("stable_baselines3", "evaluate sb3:mine.zip", "baselines"),
        ("onnxruntime", "export champion --onnx a.onnx", "onnx"),
        ("wandb", "train --preset debug --run first --logger wandb", "wandb"),
        ("flax", "sparring train striker", "sparring"),
        ("imageio_ffmpeg", "watch champion --export a.mp4", "video"),
    ],
)
def test_packages_that_do_not_fit_each_other_are_one_line(
    package: str,
    command: str,
    extra: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("packages")
    Path("packages").mkdir()
    for name in ("onnx", "onnxscript", package):
        monkeypatch.delitem(sys.modules, name, raising=False)
        Path(f"packages/{name}.py").touch()
    Path(f"packages/{package}.py").write_text("raise AttributeError('np.float_ is gone:\\nold')")
    assert cli.run(command.split()) == 18
    told = f"needs the extra '{extra}', which cannot be used (AttributeError: np.float_ is gone: old): "
    err = capsys.readouterr().err
    assert told in err and f"hockey-dreamer[{extra}]" in err and err.count("\n") == 1
    assert [path.name for path in Path().iterdir()] == ["packages"]
