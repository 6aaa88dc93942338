"""The arena's store: accounts, ratings, and matches that outlive everything but a fire."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from competitor.arena.queries import MatchResult
from competitor.arena.rating import Rating
from competitor.arena.schema import SCHEMA
from competitor.arena.store import Store
from competitor.errors import ConfigError, RecordingError, StorageError

WRITE_FOREVER = """
import sys, uuid
from pathlib import Path
from competitor.arena.queries import MatchResult
from competitor.arena.store import Store
store = Store(Path(sys.argv[1]))
store.add_user("ada"), store.add_user("bob")
while True:
    match_id = uuid.uuid4()
    store.save(MatchResult(match_id, ("ada", "bob"), (1, 0), "played", None, 1.0, 2.0))
    print(match_id, flush=True)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "arena" / "arena.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with contextlib.closing(Store(path, clock=lambda: 1000.0)) as opened:
        yield opened


def result(
    scores: tuple[int, int] = (2, 1), ending: str = "played", left_by: str | None = None, ended_at: float = 20.0
) -> MatchResult:
    return MatchResult(uuid.uuid4(), ("ada", "bob"), scores, ending, left_by, 10.0, ended_at)


@pytest.fixture
def pair(store: Store) -> Store:
    store.add_user("ada")
    store.add_user("bob")
    return store


def test_a_token_opens_its_account(store: Store) -> None:
    ada, bob = store.add_user("ada"), store.add_user("bob", "bot")
    user, bot = store.user_of(ada), store.user_of(bob)
    assert user is not None and bot is not None
    assert [(user.name, user.role), (bot.name, bot.role)] == [("ada", "player"), ("bob", "bot")]


@pytest.mark.parametrize("token", ["", "x", "ada", "\ud800", "\x00", "a" * 100_000])
def test_other_tokens_open_nothing(token: str, pair: Store) -> None:
    assert pair.user_of(token) is None


def test_the_token_is_not_in_the_file(store: Store, path: Path) -> None:
    token = store.add_user("ada")
    assert len(token) >= 32
    written = b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert b"ada" in written
    assert token.encode() not in written


@pytest.mark.parametrize(
    "name",
    ["", "a b", "../up", ".hidden", "-option", "a/b", "x" * 33, "<b>", "a\n", "аda", "αda",
     "ada\x1b[31m", "a\u0308da", "\u202eada", "ada\u200b", "ａda", "ａｄａ", "１", "\ud800"],
    ids=ascii,
)  # fmt: skip
def test_names_that_are_refused(name: str, store: Store) -> None:
    """Among them look-alikes: the first letter of one "ada" is Cyrillic, of another Greek."""
    with pytest.raises(ConfigError, match="cannot be an account's name") as refused:
        store.add_user(name)
    assert str(refused.value).isascii() and str(refused.value).isprintable()


def test_a_token_is_no_name_and_is_not_repeated(pair: Store) -> None:
    token = pair.renew_token("ada")
    while not token[0].isalnum():
        token = pair.renew_token("ada")
    with pytest.raises(ConfigError, match="names are public") as refused:
        pair.add_user(token)
    assert token not in str(refused.value)


def test_a_name_is_given_once(store: Store) -> None:
    store.add_user("ada")
    store.add_user("Jörg")
    for again in ("Ada", "JÖRG"):
        with pytest.raises(ConfigError, match=f"an account {again} already"):
            store.add_user(again)


def test_a_match_changes_both_ratings(pair: Store) -> None:
    after = pair.save(result((3, 1)))
    assert after == (pair.rating("ada"), pair.rating("bob"))
    assert after[0].shown > Rating().shown > after[1].shown
    best, last = pair.leaderboard()
    assert (best.rank, best.name, best.games, best.wins, best.draws, best.losses) == (1, "ada", 1, 1, 0, 0)
    assert (last.rank, last.name, last.games, last.wins, last.draws, last.losses) == (2, "bob", 1, 0, 0, 1)


def test_a_draw_counts_as_one(pair: Store) -> None:
    pair.save(result((1, 1)))
    assert [(line.draws, line.wins, line.losses) for line in pair.leaderboard()] == [(1, 0, 0)] * 2
    assert pair.rating("ada") == pair.rating("bob")


@pytest.mark.parametrize("ending", ["disconnected", "timeout", "invalid action"])
def test_an_abandoned_match_is_written_but_not_rated(ending: str, pair: Store) -> None:
    assert pair.save(result((2, 0), ending, left_by="bob")) == (Rating(), Rating())
    assert pair.leaderboard() == []
    (entry,) = pair.recent(5)
    assert (entry.result.ending, entry.result.left_by, entry.result.scores) == (ending, "bob", (2, 0))
    assert entry.before == entry.after


def test_a_match_of_an_unknown_account_changes_nothing(store: Store) -> None:
    store.add_user("ada")
    with pytest.raises(KeyError):
        store.save(result())
    assert store.recent(5) == []
    assert store.rating("ada") == Rating()


def test_threads_lose_no_match(pair: Store) -> None:
    def write() -> None:
        for _ in range(25):
            pair.save(result((1, 0)))

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert pair.leaderboard()[0].wins == 100
    assert len(pair.recent(1000)) == 100


def test_kill_minus_nine_loses_no_match_that_was_reported(path: Path) -> None:
    command = [sys.executable, "-c", WRITE_FOREVER, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        reported = [writer.stdout.readline().strip() for _ in range(50)]
        os.kill(writer.pid, signal.SIGKILL)
        reported += writer.stdout.read().split()
    with contextlib.closing(Store(path)) as store:
        kept = {str(entry.result.match_id) for entry in store.recent(10_000_000)}
        assert set(reported) <= kept
        assert store.leaderboard()[0].wins == len(kept)


def test_an_account_that_is_banned_removed_or_renamed(pair: Store) -> None:
    token = pair.renew_token("ada")
    pair.save(result((3, 1)))
    pair.rename("ada", "Ädä")
    user = pair.user_of(token)
    assert user is not None and user.name == "Ädä" and pair.recent(1)[0].result.users == ("Ädä", "bob")
    pair.ban("ädä")
    assert pair.user_of(token) is None and pair.banned() == ["Ädä"] and pair.leaderboard()[0].name == "bob"
    pair.ban("Ädä", "active")
    assert pair.user_of(token) is not None and len(pair.leaderboard()) == 2
    pair.remove("Ädä")
    assert pair.user_of(token) is None and [one.name for one in pair.accounts()] == ["bob"]
    assert pair.recent(1)[0].result.users == (f"(removed {user.id})", "bob")
    pair.add_user("cyd")
    pair.remove("cyd")
    pair.add_user("Ädä"), pair.add_user("cyd")
    assert pair.account("Ädä") is not None and pair.opponents("Ädä") == []


def test_who_is_banned_is_known_by_the_last_address(pair: Store) -> None:
    token = pair.renew_token("ada")
    for address in ("10.0.0.1", "10.0.0.2"):
        assert pair.user_of(token, address) is not None
    pair.ban("ada")
    assert [pair.is_banned(address) for address in ("", "10.0.0.1", "10.0.0.2")] == [False, False, True]
    assert pair.user_of(token, "10.0.0.3") is None and pair.is_banned("10.0.0.3"), "who tries again is known too"
    pair.ban("ada", "active")
    assert not pair.is_banned("10.0.0.3")


def test_a_database_of_the_first_format_is_brought_up_to_date(path: Path) -> None:
    path.parent.mkdir()
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.executescript(SCHEMA + "; PRAGMA user_version = 1; INSERT INTO users VALUES (1, 'ada', 'player', 'x', 0);"
                         "INSERT INTO ratings (user, mu, sigma) VALUES (1, 25, 8)")  # fmt: skip
    for _ in range(2):
        with contextlib.closing(Store(path)) as store:
            assert [(one.name, one.state) for one in store.accounts()] == [("ada", "active")]


def test_a_newer_format(path: Path) -> None:
    Store(path).close()
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(RecordingError, match="format 99"):
        Store(path)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be used"):
        Store(tmp_path / "file" / "arena.sqlite")


def test_a_full_disk_is_said_and_nothing_is_lost_when_it_has_room_again(path: Path, pair: Store) -> None:
    resource = pytest.importorskip("resource")
    pair.save(result())
    most = resource.getrlimit(resource.RLIMIT_FSIZE)
    largest = max(file.stat().st_size for file in path.parent.iterdir())
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, most[1]))
    try:
        with pytest.raises(StorageError, match=r"arena\.sqlite cannot be used"):
            for _ in range(100):
                pair.save(result())
        with pytest.raises(StorageError):
            pair.save(result())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, most)
    before = pair.match_count()
    pair.save(result())
    assert pair.match_count() == before + 1 == sum(line.games for line in pair.leaderboard()) / 2


def test_a_result_is_not_written_where_nobody_finds_it(path: Path, pair: Store) -> None:
    """The directory is moved, or deleted and made anew: SQLite goes on with the file that it has open."""
    path.parent.rename(path.parent.with_name("moved"))
    for make_anew in (lambda: None, lambda: Store(path).close()):
        make_anew()
        with pytest.raises(StorageError, match="was moved away or deleted: move it back"):
            pair.save(result())
    path.parent.rename(path.parent.with_name("new"))
    path.parent.with_name("moved").rename(path.parent)
    pair.save(result())
    assert pair.match_count() == 1


@pytest.mark.parametrize("version", [0, 1])
def test_somebody_elses_database_is_left_alone(path: Path, version: int) -> None:
    path.parent.mkdir()
    with contextlib.closing(sqlite3.connect(path)) as foreign:
        foreign.execute("CREATE TABLE songs (title TEXT)")
        foreign.execute(f"PRAGMA user_version = {version}")
    with pytest.raises(RecordingError, match="something else than an arena"):
        Store(path)
    with contextlib.closing(sqlite3.connect(path)) as foreign:
        assert foreign.execute("SELECT name FROM sqlite_master").fetchall() == [("songs",)]


def test_damage_in_the_middle_is_noticed_when_it_is_opened(path: Path) -> None:
    with contextlib.closing(Store(path)) as store:
        for number in range(300):
            store.add_user(f"player{number}")
    data = bytearray(path.read_bytes())
    for page in range(2, len(data) // 4096):
        data[page * 4096 : page * 4096 + 200] = bytes(200)
    path.write_bytes(data)
    with pytest.raises(RecordingError, match=r"arena\.sqlite .*damaged") as refused:
        Store(path)
    assert "\n" not in str(refused.value)
