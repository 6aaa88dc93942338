"""The commands `arena accounts ...` as a teacher meets them, and the mistakes that can be made with a class list."""

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

import cli
from competitor.arena.bots import make_bots, open_bot_accounts
from competitor.arena.store import Store
from tests.competitor.arena.raw_client import RawClient
from tests.competitor.arena.running import running_arena

CONFIG, STORAGE, BUSY = 3, 7, 19
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `arena accounts` in an empty folder: exit code, output, error output."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def run_command(*words: str) -> tuple[int, str, str]:
        code = cli.run(["arena", "accounts", *words])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run_command


def fails(result: tuple[int, str, str], code: int) -> str:
    """The one line with which a command ended."""
    assert result[0] == code and result[1] == ""
    (line,) = result[2].splitlines()
    assert line.startswith("error: ")
    return line


def accounts(run: Run) -> dict[str, str]:
    """Names and states."""
    _, out, _ = run("list", "--json")
    return {account["name"]: account["state"] for account in json.loads(out)["accounts"]}


def test_a_class_gets_its_accounts_and_the_terminal_no_token(run: Run) -> None:
    Path("class.csv").write_bytes(b'\xef\xbb\xbfMail;Name\r\na@x;ada\r\n\r\nb@x;" J\xc3\xb6rg "\r\n')
    code, out, err = run("add", "class.csv", "--tokens", "tokens of 5b")
    assert (code, err) == (0, "")
    assert out == "accounts added: 2; their tokens are in tokens of 5b, a file for each that only you can read\n"
    files = {file.name: file for file in Path("tokens of 5b").iterdir()}
    assert set(files) == set(accounts(run)) == {"ada", "Jörg"}
    store = Store(Path("arena/arena.sqlite"))
    for name, file in files.items():
        user = store.user_of(file.read_text().strip())
        assert user is not None and user.name == name and stat.S_IMODE(file.stat().st_mode) == 0o600
        assert file.read_text().strip() not in out
    store.close()


def test_who_has_an_account_keeps_it_and_its_token(run: Run) -> None:
    Path("class.csv").write_text("name\nada\n")
    run("add", "class.csv")
    token = Path("arena/tokens/ada").read_text()
    Path("class.csv").write_text("name\nAda\nbob\n")
    _, out, _ = run("add", "class.csv", "cyd", "CYD", "--tokens", "elsewhere")
    assert out.startswith("1 were there already, left as they are: Ada\naccounts added: 2")
    assert Path("arena/tokens/ada").read_text() == token and sorted(os.listdir("elsewhere")) == ["bob", "cyd"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "the first line has to name the columns"),
        (b"ada\nbob\n", "the first line has to name the columns"),
        (b"name,name\na,b\n", "the first line has to name the columns"),
        (b"name\n\n", "has no names below its first line"),
        (b"name\nada\nADA\n", "line 3: ADA is in line 2 already"),
        (b"name,mail\nada,x\nbob\n", "line 3: 1 cells, but the first line has 2"),
        (b"name\na b\n", "line 2: 'a b' cannot be an account's name"),
        (b"name,mail\n,x\n", "line 2: '' cannot be an account's name"),
        (b'name\n"ada\n', "line 2: unexpected end of data"),
        (b'name\n"a"da\n', "line 2: "),
        (b"name\nada\x00\n", "line 2: "),
        (b"name\nJ\xf6rg\n", "is not UTF-8"),
        (b"PK\x03\x04\xff\xfe", "is not UTF-8"),
        (b"name\n" + 200_000 * b"ada\r\n\n", "is too large for a list of names"),
        (b"name\nada\n\x1b[31mx\n", "line 3: "),
        (b"name\n" + 140_000 * b"x", "line 2: field larger than field limit"),
        (b"name\nada\nweak\n", "weak is a house bot"),
    ],
    ids=lambda value: ascii(value)[:20],
)
def test_a_list_with_a_mistake_makes_no_account(content: bytes, problem: str, run: Run) -> None:
    store = Store(Path("arena/arena.sqlite"))
    open_bot_accounts(make_bots(["weak"], seed=0), store)
    store.close()
    Path("class.csv").write_bytes(content)
    line = fails(run("add", "class.csv"), CONFIG)
    assert problem in line and line.isprintable()
    assert accounts(run) == {"weak": "active"} and not Path("arena/tokens").exists()


def test_places_that_cannot_be_used_are_said_before_an_account_is_made(run: Run) -> None:
    Path("class.csv").write_text("name\nada\n")
    assert "none.csv cannot be read: No such file" in fails(run("add", "none.csv"), CONFIG)
    assert "'a b' cannot be an account's name" in fails(run("add", "ada", "a b"), CONFIG)
    assert "there is no arena in arena" in fails(run("list"), CONFIG)
    Path("file").write_text("")
    assert "file/arena" in fails(run("add", "class.csv", "--directory", "file/arena"), STORAGE)
    assert "file/tokens" in fails(run("add", "class.csv", "--tokens", "file/tokens"), STORAGE)
    assert not Path("arena").exists()


def test_accounts_are_renamed_banned_and_removed(run: Run) -> None:
    Path("class.csv").write_text("name\nada\nbob\ncyd\n")
    run("add", "class.csv")
    token = Path("arena/tokens/ada").read_text()
    assert run("rename", "ADA", "Eva")[0] == run("ban", "bob", "BOB")[0] == run("remove", "cyd", "Cyd")[0] == 0
    assert accounts(run) == {"bob": "banned", "Eva": "active"}
    assert sorted(os.listdir("arena/tokens")) == ["Eva", "bob"] and Path("arena/tokens/Eva").read_text() == token
    assert run("ban", "bob", "--undo")[0] == 0 and accounts(run)["bob"] == "active"
    _, table, _ = run("list")
    assert [line.split()[0] for line in table.splitlines() if "player" in line] == ["bob", "Eva"]


@pytest.mark.parametrize("words", [("remove", "ada", "zoe"), ("ban", "ada", "zoe"), ("rename", "zoe", "x")])
def test_an_unknown_name_changes_nothing(words: tuple[str, ...], run: Run) -> None:
    Path("class.csv").write_text("name\nada\n")
    run("add", "class.csv")
    assert "there is no account zoe" in fails(run(*words), CONFIG)
    assert accounts(run) == {"ada": "active"}


def test_names_that_cannot_be_given(run: Run) -> None:
    Path("class.csv").write_text("name\nada\nbob\n")
    run("add", "class.csv")
    assert "there is an account bob already" in fails(run("rename", "ada", "BOB"), CONFIG)
    assert "cannot be an account's name" in fails(run("rename", "ada", "../up"), CONFIG)
    assert accounts(run) == {"ada": "active", "bob": "active"}
    assert sorted(os.listdir("arena/tokens")) == ["ada", "bob"]


def test_beside_a_running_arena_names_stay_and_who_is_banned_cannot_come_in(run: Run, tmp_path: Path) -> None:
    with running_arena(tmp_path / "arena", bots=("weak",), rounds=1) as arena:
        Path("class.csv").write_text("name\nada\nbob\n")
        assert run("add", "class.csv")[0] == 0
        client = RawClient(arena.comprl_port, Path("arena/tokens/ada").read_text().strip())
        assert len(client.play(1)) == 1
        for words in (("remove", "ada"), ("rename", "ada", "eve")):
            assert "the arena in arena is running: stop it" in fails(run(*words), BUSY)
        assert "weak is a house bot" in fails(run("ban", "weak"), CONFIG)
        assert run("ban", "ada")[0] == 0 and arena.store.is_banned("127.0.0.1")
        again = RawClient(arena.comprl_port, Path("arena/tokens/ada").read_text().strip())
        assert again.play(1) == [] and again.errors == ["Authentication failed"]
        assert [line.name for line in arena.store.leaderboard()] == ["weak"]
    assert run("remove", "ada")[0] == 0
    assert accounts(run) == {"bob": "active", "weak": "active"}


def test_wrong_command_lines(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("add")[0] == run("ban")[0] == run("none")[0] == 2
    assert cli.run(["arena", "--user", "ada", "accounts", "list"]) == 2
    assert "only --directory has a meaning for accounts" in capsys.readouterr().err
    assert cli.run(["arena", "--directory", "there", "accounts", "list"]) == CONFIG
    assert "there is no arena in there" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "problem"), [(b"short", "one line of 8"), (b"two\nlines of it", "one line"), (b"\xff" * 9, "no text")]
)
def test_a_registration_key_that_is_none(
    content: bytes, problem: str, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("key").write_bytes(content)
    assert cli.run(["arena", "--registration-key-file", "key"]) == CONFIG
    assert problem in capsys.readouterr().err
    assert cli.run(["arena", "--registration-key-file", "none"]) == CONFIG
    assert "the registration key none cannot be read" in capsys.readouterr().err
