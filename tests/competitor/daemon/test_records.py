"""The records: what is kept of a match, and that neither disk nor daemon nor server can spoil them."""

import contextlib
import errno
import json
import logging
import os
import re
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from competitor.daemon import records as module
from competitor.daemon.database import NAME, Database, Wanted, last_matches
from competitor.daemon.logs import Announcer
from competitor.daemon.match_tables import standings
from competitor.daemon.records import Records
from competitor.errors import RecordingError, StorageError, message
from competitor.play.finished_match import FinishedMatch
from competitor.play.match_file import file_name, match_bytes, read_match
from competitor.play.outcomes import rounds_of
from dreamer.files import atomic_write
from tests.competitor.engine.fakes import KeptMatches
from tests.competitor.play.made_matches import NOON, finished, numbered_match, recorded_match

WAIT_S = 20.0


@pytest.fixture
def records(tmp_path: Path) -> Iterator[Records]:
    with Records(tmp_path / "records", retry_s=0.01) as opened:
        yield opened


def keep(records: Records, match: FinishedMatch) -> None:
    saved = threading.Event()
    records.keep(match, saved.set)
    assert saved.wait(WAIT_S)


def ids(directory: Path) -> list[str]:
    return [listed.row.match_id for listed in last_matches(directory, 10_000)]


def leave_file(directory: Path, match: FinishedMatch) -> Path:
    """What a daemon killed between file and row leaves."""
    path = directory / file_name(match)
    atomic_write(path, lambda file: file.write(match_bytes(match, rounds_of(match), "0.9.0")))
    return path


class Disk:
    """A disk that can be full."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.error: Exception | None = None
        self.attempts = 0
        self.refused = threading.Event()
        monkeypatch.setattr(module, "atomic_write", self._write)

    def _write(self, path: Path, write: Callable[[Any], object]) -> None:
        self.attempts += 1
        if self.error is not None:
            if self.attempts > 3:
                self.refused.set()
            raise self.error
        atomic_write(path, write)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


def test_a_match_becomes_a_file_and_a_row(records: Records) -> None:
    match = recorded_match("m002", "p1", opponent="ada", rating=21.5)
    match.source[:3] = (4, 1, 4)
    keep(records, match)
    (listed,) = last_matches(records.directory, 5)
    row = listed.row
    assert read_match(records.directory / row.file)[0].match_id == row.match_id == match.match_id
    assert (row.wire, row.server, row.connection, row.opponent) == ("comprl", match.server, "connection 1", "ada")
    assert (row.started_at, row.ended_at, row.rating) == (NOON, NOON + 20.5, 21.5)
    assert (row.own, row.other, row.result, row.ending, row.reason) == (2, 1, "W", "played", "")
    assert (row.checkpoint, row.digest, row.steps, row.rounds) == ("champion", "ab" * 32, 498, 4)
    assert row.latency_p50_ms == pytest.approx(2.0, abs=1e-3)
    assert row.latency_p99_ms == pytest.approx(2.98, abs=1e-2)
    assert row.latency_max_ms == 3.0
    assert json.loads(row.answers) == {"policy": 495, "bad_observation": 1, "deadline": 2}
    assert row.code_version
    rounds = [(one.number, one.steps, one.starter, one.result) for one in listed.rounds]
    starters = ["own", "other"] if match.obs[0, 12] < 0 else ["other", "own"]
    assert rounds == [
        (1, 44, starters[0], -1),
        (2, 48, starters[1], 1),
        (3, 251, starters[0], 0),
        (4, 155, starters[1], 1),
    ]
    assert (listed.tally.wins, listed.tally.draws, listed.tally.losses) == (1, 0, 0)


def test_saved_comes_after_file_and_row(records: Records) -> None:
    seen: list[tuple[list[str], bool]] = []
    done = threading.Event()

    def saved() -> None:
        seen.append((ids(records.directory), threading.current_thread() is threading.main_thread()))
        done.set()

    records.keep(numbered_match(3), saved)
    assert done.wait(WAIT_S)
    assert seen == [(["match-3"], False)]


def test_close_writes_what_was_handed_over(tmp_path: Path) -> None:
    with Records(tmp_path) as records:
        for number in range(20):
            records.keep(numbered_match(number), lambda: None)
    assert ids(tmp_path) == [f"match-{number}" for number in range(20)]
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".npz"] * 20 + [".sqlite3"]
    records.close()


def test_the_tally_runs_over_matches_played_to_their_end(records: Records) -> None:
    scores = [(2, 1), (1, 1), (0, 3), (3, 0), (2, 0), (0, 0)]
    endings = ["played", "played", "played", "opponent left", "abandoned", "played"]
    for number, ((own, other), ending) in enumerate(zip(scores, endings, strict=True)):
        keep(records, numbered_match(number, own=own, other=other, ending=ending))
    listed = last_matches(records.directory, 4)
    assert [one.row.result for one in listed] == ["L", None, None, "D"]
    assert [(one.tally.wins, one.tally.draws, one.tally.losses) for one in listed] == [(1, 1, 1)] * 3 + [(1, 2, 1)]
    assert listed[-1].tally.matches == 4


def test_the_same_match_twice_is_one(records: Records) -> None:
    keep(records, numbered_match(1))
    keep(records, numbered_match(1))
    assert ids(records.directory) == ["match-1"]


def test_a_match_without_steps(records: Records) -> None:
    empty = finished(np.zeros((0, 18)), np.zeros((0, 4)), [], ending="abandoned", reason="connection lost")
    keep(records, empty)
    (listed,) = last_matches(records.directory, 1)
    assert (listed.row.steps, listed.row.latency_p99_ms, listed.row.answers, listed.rounds) == (0, None, "{}", [])


def test_leftovers_are_adopted(tmp_path: Path) -> None:
    match = recorded_match("m003", "p2", opponent="bob")
    match.obs[-1, 6] = np.nan
    leave_file(tmp_path, match)
    Records(tmp_path).close()
    (adopted,) = last_matches(tmp_path, 5)
    assert adopted.row.code_version == "0.9.0"
    with Records(tmp_path / "other") as records:
        keep(records, match)
    (kept,) = last_matches(tmp_path / "other", 5)
    assert adopted.rounds == kept.rounds
    assert adopted.row.__dict__ | {"code_version": ""} == kept.row.__dict__ | {"code_version": ""}


def test_foreign_and_damaged_files_are_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    damaged = leave_file(tmp_path, numbered_match(1))
    damaged.write_bytes(damaged.read_bytes()[:1000])
    (tmp_path / "weak-strong-00000-won.npz").write_bytes(b"a recording of evaluate")
    leave_file(tmp_path, numbered_match(2))
    os.mkfifo(tmp_path / damaged.name.replace("match-1", "match-3"))  # whoever opens one to read it waits for a writer
    with caplog.at_level(logging.WARNING):
        Records(tmp_path).close()
    assert ids(tmp_path) == ["match-2"]
    assert [line for line in caplog.messages if damaged.name in line and "cannot be listed" in line]
    assert len(caplog.messages) == 1


def test_what_a_killed_process_was_writing_is_removed(tmp_path: Path) -> None:
    old, new = (tmp_path / f".20261123T114000Z-x-{number}.npz.{number}.tmp" for number in (1, 2))
    old.touch()
    new.touch()
    os.utime(old, (NOON - 100, NOON - 100))
    os.utime(new, (NOON - 1, NOON - 1))
    Records(tmp_path, wall_clock=lambda: NOON).close()
    assert (old.exists(), new.exists()) == (False, True)


def test_a_full_disk_does_not_stop_the_play(records: Records, disk: Disk, caplog: pytest.LogCaptureFixture) -> None:
    keep(records, numbered_match(0))
    disk.error = OSError(errno.ENOSPC, "No space left on device")
    with caplog.at_level(logging.INFO):
        for number in (1, 2, 3):
            keep(records, numbered_match(number))  # `saved` is called all the same
        assert disk.refused.wait(WAIT_S)
        assert records.waiting == 3
        assert ids(records.directory) == ["match-0"]
        disk.error = None
        keep(records, numbered_match(4))
    assert records.waiting == 0
    assert ids(records.directory) == [f"match-{number}" for number in range(5)]
    errors = [line for line in caplog.records if line.levelno >= logging.ERROR]
    assert len(errors) == 1
    assert "No space left on device" in errors[0].getMessage() and str(records.directory) in errors[0].getMessage()
    assert any("takes records again" in line for line in caplog.messages)


def test_waiting_matches_are_written_without_a_new_one(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    added = threading.Event()
    add = Database.add

    def noticed(*arguments: Any) -> bool:
        done = add(*arguments)
        added.set()
        return done

    monkeypatch.setattr(Database, "add", noticed)
    with Records(tmp_path, retry_s=0.01) as records:
        disk.error = OSError(errno.EROFS, "Read-only file system")
        keep(records, numbered_match(1))
        disk.error = None
        assert added.wait(WAIT_S)
    assert ids(tmp_path) == ["match-1"]


def test_a_refused_row_is_written_later(
    records: Records, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as patch:

        def locked(*_: Any) -> bool:
            raise sqlite3.OperationalError("database is locked")

        patch.setattr(Database, "add", locked)
        keep(records, numbered_match(1))
        assert records.waiting == 1
    keep(records, numbered_match(2))
    assert ids(records.directory) == ["match-1", "match-2"]
    assert "database is locked" in caplog.text


def test_a_table_that_is_locked_is_not_waited_for_once_a_match(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock is waited for 10 s: whoever leaves with many matches would sit there for minutes."""
    attempts, goes_on = [], threading.Event()

    def locked(*_: Any) -> bool:
        attempts.append(1)
        assert goes_on.wait(WAIT_S)
        raise sqlite3.OperationalError("database is locked")

    monkeypatch.setattr(Database, "add", locked)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    records, saved = Records(tmp_path / "records"), threading.Semaphore(0)
    for number in range(20):
        records.keep(numbered_match(number), saved.release)
    goes_on.set()
    with pytest.raises(StorageError, match="database is locked: 20 matches stand in"):
        records.close()
    assert all(saved.acquire(blocking=False) for _ in range(20)) and len(attempts) <= 3


def test_only_so_many_matches_wait(
    records: Records, disk: Disk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "MOST_WAITING", 3)
    disk.error = OSError(errno.ENOSPC, "No space left on device")
    for number in range(5):
        keep(records, numbered_match(number))
    assert records.waiting == 3
    disk.error = None
    keep(records, numbered_match(5))
    assert ids(records.directory) == ["match-2", "match-3", "match-4", "match-5"]
    assert "match-0 is lost" in caplog.text and "match-1 is lost" in caplog.text


def test_a_disk_that_hangs_does_not_fill_the_memory(
    records: Records, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "MOST_WAITING", 3)
    saved, hangs, goes_on = [], threading.Event(), threading.Event()

    def hang(*_: object) -> None:
        hangs.set()
        goes_on.wait()

    monkeypatch.setattr(module, "sync_directory", hang)
    records.keep(numbered_match(0), lambda: saved.append(0))
    assert hangs.wait(WAIT_S)
    for number in range(1, 6):
        records.keep(numbered_match(number), lambda number=number: saved.append(number))  # type: ignore[misc]
    assert saved == [4, 5] and "match-4 is lost: too many wait for the disk" in caplog.text
    goes_on.set()
    records.close()
    assert saved == [4, 5, 0, 1, 2, 3] and ids(records.directory) == [f"match-{number}" for number in range(4)]


def test_what_could_never_be_written_is_said(tmp_path: Path, disk: Disk, caplog: pytest.LogCaptureFixture) -> None:
    reported: list[tuple[int, str | None]] = []
    records = Records(tmp_path, stored=lambda waiting, refusal: reported.append((waiting, refusal)))
    disk.error = OSError(errno.ENOSPC, "No space left on device")
    keep(records, numbered_match(1))
    problem = f"records cannot be written to {tmp_path}: No space left on device"
    assert reported == [(1, problem)]
    with pytest.raises(StorageError, match=re.escape(f"{problem}: 1 match could not be kept and is lost")):
        records.close()


def test_what_a_full_disk_does_not_take_is_kept_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And whoever moves it to the records finds it listed after the next start."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "elsewhere"))
    records = Records(tmp_path / "records")
    write = module.atomic_write

    def full(path: Path, *more: Any) -> None:
        if path.parent == tmp_path / "records":
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, *more)

    monkeypatch.setattr(module, "atomic_write", full)
    keep(records, numbered_match(1))
    with pytest.raises(StorageError, match="1 match stand in .*move the files to"):
        records.close()
    monkeypatch.setattr(module, "atomic_write", write)
    (file,) = (tmp_path / "elsewhere").glob("*/*.npz")
    file.rename(tmp_path / "records" / file.name)
    Records(tmp_path / "records").close()
    assert ids(tmp_path / "records") == ["match-1"]


@pytest.mark.parametrize("version", [1, 2])
def test_a_table_of_a_version_before_is_read_and_taken_over(version: int, tmp_path: Path) -> None:
    with Records(tmp_path) as records:
        keep(records, numbered_match(1))
    connection = sqlite3.connect(tmp_path / NAME)
    connection.execute("ALTER TABLE matches DROP COLUMN account")
    if version == 1:
        connection.execute("ALTER TABLE matches RENAME COLUMN connection TO link")
        connection.execute("ALTER TABLE matches RENAME COLUMN rounds TO expected_rounds")
        connection.execute("ALTER TABLE matches DROP COLUMN inferred")
    connection.execute(f"PRAGMA user_version = {version}")
    connection.close()
    (before,) = last_matches(tmp_path, 5)
    assert (before.row.connection, before.row.rounds, before.row.inferred) == ("connection 1", 4, False)
    assert before.row.account == ""
    with Records(tmp_path) as records:
        keep(records, numbered_match(2, account="ada"))
    assert [one.row.account for one in last_matches(tmp_path, 5)] == ["", "ada"]
    assert ids(tmp_path) == ["match-1", "match-2"]


@pytest.mark.parametrize("damage", ["steps = 'many'", "ended_at = 1e300", "answers = '['", "latency_max_ms = 9e999"])
def test_a_damaged_row_is_left_out_and_said(damage: str, tmp_path: Path) -> None:
    with Records(tmp_path) as records:
        for number in range(3):
            keep(records, numbered_match(number))
    connection = sqlite3.connect(tmp_path / NAME)
    connection.execute(f"UPDATE matches SET {damage} WHERE match_id = 'match-1'")
    connection.commit()
    connection.close()
    damaged: list[str] = []
    assert [one.row.match_id for one in last_matches(tmp_path, 5, damaged)] == ["match-0", "match-2"]
    assert len(damaged) == 1


def test_an_abandoned_match_is_kept_with_what_its_rounds_tell(tmp_path: Path) -> None:
    whole = numbered_match(1)
    with Records(tmp_path) as records:
        keep(records, replace(whole, ending="abandoned", own=0, other=0))
    (one,) = last_matches(tmp_path, 1)
    assert (one.row.own, one.row.other, one.row.inferred) == (whole.own, whole.other, True)
    assert (one.row.ending, one.row.result) == ("abandoned", None)
    assert read_match(tmp_path / one.row.file)[0].inferred


def test_a_match_that_cannot_be_listed_does_not_block_others(
    records: Records, caplog: pytest.LogCaptureFixture
) -> None:
    keep(records, numbered_match(1, own=2**70))
    keep(records, numbered_match(2))
    assert ids(records.directory) == ["match-2"]
    assert "match-1 has its file but cannot be listed" in caplog.text


def test_a_mistake_in_the_program_costs_one_match_only(
    records: Records, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(module, "rounds_of", lambda match: 1 / 0)
        keep(records, numbered_match(1))

    def broken() -> None:
        raise ValueError("not our thread")

    records.keep(numbered_match(2), broken)
    keep(records, numbered_match(3))
    assert ids(records.directory) == ["match-2", "match-3"]
    assert "ZeroDivisionError" in caplog.text and "not our thread" in caplog.text


def test_texts_from_a_server_are_kept_whatever_they_are(records: Records) -> None:
    keep(records, numbered_match(1, opponent="half \ud800 \0 '; DROP TABLE matches; --", match_id="\udcff"))
    (listed,) = last_matches(records.directory, 1)
    assert listed.row.opponent == "half ? \0 '; DROP TABLE matches; --"
    assert read_match(records.directory / listed.row.file)[0].opponent == listed.row.opponent


def test_a_directory_that_is_moved_away_is_made_again(records: Records) -> None:
    keep(records, numbered_match(1))
    records.directory.rename(records.directory.parent / "archive")
    keep(records, numbered_match(2))
    assert ids(records.directory) == ["match-2"]
    assert ids(records.directory.parent / "archive") == ["match-1"]


def test_after_the_end_nothing_hangs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    records = Records(tmp_path)
    records.close()
    keep(records, numbered_match(1))
    assert "match-1 is lost: it came after the records were closed" in caplog.text


def test_every_match_that_comes_while_the_records_close_is_answered_for(tmp_path: Path) -> None:
    records, saved, may_close = Records(tmp_path), threading.Semaphore(0), threading.Semaphore(0)

    def hand_over(numbers: range) -> None:
        for number in numbers:
            records.keep(numbered_match(number), saved.release)
            may_close.release()

    threads = [threading.Thread(target=hand_over, args=(range(start, 40, 4),)) for start in range(4)]
    for thread in threads:
        thread.start()
    may_close.acquire()
    records.close()
    for thread in threads:
        thread.join()
    assert all(saved.acquire(blocking=False) for _ in range(40)) and not saved.acquire(blocking=False)


def refused(directory: Path, kind: type[Exception] = StorageError) -> str:
    threads = threading.active_count()
    with pytest.raises(kind) as caught:
        Records(directory)
    assert threading.active_count() == threads
    assert "\n" not in message(caught.value) and str(directory) in message(caught.value)
    return message(caught.value)


def test_places_where_no_records_can_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "it is not a directory" in refused(tmp_path / "file")
    assert "records cannot be written" in refused(tmp_path / "file" / "deeper")
    (tmp_path / NAME).mkdir()
    assert "unable to open database file" in refused(tmp_path)


@pytest.mark.parametrize("place", [(Path, "mkdir"), (tempfile, "TemporaryFile")], ids=["making", "writing"])
@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOSPC])
def test_a_disk_that_refuses_from_the_start(
    number: int, place: tuple[object, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(*place, refuse)
        assert os.strerror(number) in refused(tmp_path / "records" if place[0] is Path else tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_database(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"this has never been a database" * 100)
    assert "is damaged" in refused(tmp_path, RecordingError)
    with pytest.raises(RecordingError, match="cannot be read"):
        last_matches(tmp_path, 1)


@pytest.mark.parametrize("statement", ["PRAGMA user_version", "PRAGMA journal_mode = WAL"])
def test_a_database_whose_making_was_cut_short_is_an_empty_one(tmp_path: Path, statement: str) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / NAME)) as connection:
        connection.execute(statement)  # the first of them leaves a file without a byte
    assert (tmp_path / NAME).exists() and last_matches(tmp_path, 1) == [] == standings(tmp_path, Wanted())
    Records(tmp_path).close()
    assert last_matches(tmp_path, 1) == []


@pytest.mark.parametrize("statement", ["PRAGMA user_version = 4", "PRAGMA user_version = 0"])
def test_another_version(tmp_path: Path, statement: str) -> None:
    Records(tmp_path).close()
    connection = sqlite3.connect(tmp_path / NAME)
    connection.execute(statement)
    connection.close()
    version = statement[-1]
    line = refused(tmp_path, RecordingError)
    assert f"has schema version {version}, this program knows 3" in line
    with pytest.raises(RecordingError, match=f"has schema version {version}"):
        last_matches(tmp_path, 1)


@pytest.mark.parametrize(
    "statements",
    [
        ("ALTER TABLE matches RENAME TO kept", "CREATE VIEW matches AS SELECT * FROM kept"),
        ("DROP TABLE matches", "CREATE TABLE matches (file TEXT UNIQUE, song TEXT)"),
        ("DROP TABLE rounds", "CREATE TABLE rounds (match INTEGER, number INTEGER)"),
    ],
    ids=["a view", "somebody else's matches", "somebody else's rounds"],
)
def test_tables_that_take_no_match_are_refused_at_the_start(statements: tuple[str, str], tmp_path: Path) -> None:
    """Not when the first match has been played."""
    Records(tmp_path).close()
    with contextlib.closing(sqlite3.connect(tmp_path / NAME)) as connection:
        for statement in statements:
            connection.execute(statement)
    assert "holds other tables than a daemon's" in refused(tmp_path, RecordingError)
    with pytest.raises(RecordingError, match="holds other tables"):
        last_matches(tmp_path, 1)


def test_a_log_that_cannot_be_read_where_it_lies(tmp_path: Path) -> None:
    """A folder of a killed daemon on a disk that cannot be written: there the index cannot be made."""
    with Records(tmp_path):
        for file in tmp_path.glob(f"{NAME}*"):
            (tmp_path / "copy").mkdir(exist_ok=True)
            (tmp_path / "copy" / file.name).write_bytes(file.read_bytes())
    (tmp_path / "copy" / f"{NAME}-shm").unlink()
    (tmp_path / "copy" / f"{NAME}-shm").symlink_to("nowhere/at/all")
    with pytest.raises(RecordingError, match="unable to open database file; if its folder cannot be written, copy"):
        last_matches(tmp_path / "copy", 1)


def test_every_match_leaves_a_line_with_the_results_so_far_and_is_handed_on(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    keeper, saved = KeptMatches(), []
    announcer = Announcer(keeper)
    assert announcer.summary == "0 matches played (W 0 D 0 L 0)"
    matches = [
        finished(np.zeros((300, 18)), np.zeros((300, 4)), [0], **changes)
        for changes in (
            {"own": 3, "other": 1},
            {"opponent": "strong", "own": 1, "other": 1, "rating": 21.46},
            {"opponent": "weak", "own": 0, "other": 2},
            {"ending": "opponent left", "own": 1, "other": 0},
            {"ending": "abandoned", "own": 0, "other": 0, "reason": "the connection is gone"},
        )
    ]
    for match in matches:
        announcer.keep(match, lambda: saved.append(True))
    assert caplog.messages == [
        "match 80ff9509: won 3:1 in 300 steps (W 1 D 0 L 0)",
        "match against strong: drew 1:1 in 300 steps, rating 21.5 (W 1 D 1 L 0)",
        "match against weak: lost 0:2 in 300 steps (W 1 D 1 L 1)",
        "match 80ff9509: the opponent left at 1:0 in 300 steps (W 1 D 1 L 1)",
        "match 80ff9509: given up after 300 steps: the connection is gone",
    ]
    assert keeper.matches == matches
    assert len(saved) == 5
    assert announcer.summary == "3 matches played (W 1 D 1 L 1), 2 not played to the end"
