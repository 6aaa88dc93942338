"""What the arena keeps: accounts, matches and ratings, in one SQLite file.

A match and the ratings that follow from it are written in one transaction, so a process that is killed leaves
either both or neither. Of a token only its SHA-256 is kept. Every method may be called from any thread; other
processes may add accounts to the same file while the arena runs.
"""

import hashlib
import re
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from competitor.arena.queries import PLAYED, Account, MatchResult, Queries, Role, State
from competitor.arena.rating import Rating, rate
from competitor.arena.schema import FORMAT, INSERT_MATCH, TABLES, UPGRADES
from competitor.errors import ConfigError, RecordingError, StorageError
from competitor.wire.names import one_line

NAME = re.compile(r"[0-9A-Za-z_À-ÖØ-öø-ÿ][0-9A-Za-z_À-ÖØ-öø-ÿ.-]{0,31}")
"""Of an account. No letters of other scripts: some look like these and would make two names that read the same."""
TOKEN_BYTES = 24
BUSY_TIMEOUT_S = 10.0

COUNTERS = {1: "wins", 0: "draws", -1: "losses"}


@dataclass(frozen=True)
class User:
    """An account. Two bots are never matched with each other."""

    id: int
    name: str
    role: Role


class Store(Queries):
    """The arena's database. Raises StorageError when the disk refuses and RecordingError when the file is not ours."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        self.path = path
        self._clock = clock
        self._lock = threading.Lock()
        with self._explained():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
        try:
            self._prepare()
        except BaseException:
            self._db.close()
            raise

    def add_user(self, name: str, role: Role = "player") -> str:
        """Add an account and return its token, which is not kept. Raises ConfigError if the name cannot be used."""
        check_name(name)
        if self.user_of(name) is not None:
            raise ConfigError("that name is the token of an account, and names are public: take another")
        token = secrets.token_urlsafe(TOKEN_BYTES)
        fresh = Rating()
        with self._transaction() as db:
            if self._row(db, name) is not None:
                raise ConfigError(f"there is an account {name} already")
            row = (name, role, _digest(token), self._clock())
            added = db.execute("INSERT INTO users (name, role, token_sha256, added_at) VALUES (?, ?, ?, ?)", row)
            db.execute(
                "INSERT INTO ratings (user, mu, sigma) VALUES (?, ?, ?)", (added.lastrowid, fresh.mu, fresh.sigma)
            )
        return token

    def renew_token(self, name: str) -> str:
        """Return a new token for an account; the old one opens nothing any more. Raises KeyError if it is unknown."""
        token = secrets.token_urlsafe(TOKEN_BYTES)
        with self._transaction() as db:
            user = self._known(db, name)
            db.execute("UPDATE users SET token_sha256 = ? WHERE id = ?", (_digest(token), user.id))
        return token

    def user_of(self, token: str, address: str = "") -> User | None:
        """The account that `token` opens; address: from where it came, which is noted also of who is banned.

        What is compared are digests, so its time says nothing about a token.
        """
        with self._reading() as db:
            row = db.execute(
                "SELECT id, name, role, state, address FROM users WHERE token_sha256 = ?", (_digest(token),)
            ).fetchone()
            if row is not None and address not in ("", row[4]):
                with suppress(sqlite3.OperationalError):  # a full disk keeps nobody out
                    db.execute("UPDATE users SET address = ? WHERE id = ?", (address, row[0]))
        return None if row is None or row[3] != "active" else User(*row[:3])

    def is_banned(self, address: str) -> bool:
        """Whether a banned account was last used from this address."""
        with self._reading() as db:
            found = db.execute("SELECT 1 FROM users WHERE state = 'banned' AND address = ?", (address,)).fetchone()
        return found is not None

    def user(self, name: str) -> User | None:
        """The account of that name; upper and lower case are the same."""
        with self._reading() as db:
            return self._row(db, name)

    def account(self, name: str) -> Account | None:
        """The account as lists and pages show it; upper and lower case are the same."""
        user = self.user(name)
        return next((one for one in self.accounts() if user is not None and one.name == user.name), None)

    def rating(self, name: str) -> Rating:
        """What is believed of the account's strength. Raises KeyError for an unknown name."""
        with self._reading() as db:
            return self._rating(db, self._known(db, name))

    def save(self, result: MatchResult) -> tuple[Rating, Rating]:
        """Write a match down and return the ratings after it; only one that was played to its end changes them."""
        with self._transaction() as db:
            users = [self._known(db, name) for name in result.users]
            before = (self._rating(db, users[0]), self._rating(db, users[1]))
            after = before
            if result.ending == PLAYED:
                after = rate(*before, result.scores)
                self._count(db, users, after, result.scores)
            leaver = None if result.left_by is None else self._known(db, result.left_by).id
            who = (str(result.match_id), users[0].id, users[1].id)
            how = (*result.scores, result.ending, leaver, result.started_at, result.ended_at)
            shown = (before[0].shown, after[0].shown, before[1].shown, after[1].shown)
            db.execute(INSERT_MATCH, (*who, *how, *shown))
        return after

    def rename(self, name: str, new_name: str) -> None:
        """Give an account another name; its token, rating and matches stay. Raises KeyError and ConfigError."""
        with self._transaction() as db:
            user = self._known(db, name)
            check_name(new_name)
            holder = self._row(db, new_name)
            if holder is not None and holder.id != user.id:
                raise ConfigError(f"there is an account {holder.name} already")
            db.execute("UPDATE users SET name = ? WHERE id = ?", (new_name, user.id))

    def ban(self, name: str, state: State = "banned") -> None:
        """Have the account's token open nothing until it is "active" again. Raises KeyError."""
        with self._transaction() as db:
            db.execute("UPDATE users SET state = ? WHERE id = ?", (state, self._known(db, name).id))

    def remove(self, name: str) -> None:
        """Delete an account; if it has played, its matches stay, as those of "(removed 7)". Raises KeyError."""
        with self._transaction() as db:
            user = self._known(db, name)
            if db.execute("SELECT 1 FROM matches WHERE ?1 IN (first, second)", (user.id,)).fetchone() is None:
                db.execute("DELETE FROM ratings WHERE user = ?", (user.id,))
                db.execute("DELETE FROM users WHERE id = ?", (user.id,))
            else:
                gone = (f"(removed {user.id})", _digest(secrets.token_urlsafe(TOKEN_BYTES)), user.id)
                db.execute("UPDATE users SET name = ?, token_sha256 = ?, state = 'removed' WHERE id = ?", gone)

    def close(self) -> None:
        """Close the file; the store cannot be used any more."""
        with self._lock:
            self._db.close()

    def _prepare(self) -> None:
        """Make the tables of a new file; check the version of an old one."""
        with self._explained():
            # NORMAL: what was committed outlives the process. Only a power cut can take the last matches with it,
            # and no match has to wait for the disk.
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.execute("PRAGMA foreign_keys = ON")
            self._inode = self.path.stat().st_ino
            (verdict,) = self._db.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise RecordingError(f"{self.path} is damaged: {one_line(verdict)}")
        with self._transaction() as db:
            (version,) = db.execute("PRAGMA user_version").fetchone()
            tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if not tables >= TABLES and (version or tables):
                raise RecordingError(f"{self.path} is a database of something else than an arena")
            if not 0 <= version <= FORMAT:
                raise RecordingError(f"{self.path} has format {version}; this version reads format {FORMAT}")
            if version < FORMAT:
                for statement in ";".join(UPGRADES[version:]).split(";"):
                    db.execute(statement)
                db.execute(f"PRAGMA user_version = {FORMAT}")

    def _known(self, db: sqlite3.Connection, name: str) -> User:
        user = self._row(db, name)
        if user is None:
            raise KeyError(name)
        return user

    @staticmethod
    def _row(db: sqlite3.Connection, name: str) -> User | None:
        row = db.execute("SELECT id, name, role FROM users WHERE name = ?", (name,)).fetchone()
        if row is None and not name.isascii():  # of those letters SQLite does not know the other case
            rows = db.execute("SELECT id, name, role FROM users").fetchall()
            row = next((row for row in rows if row[1].lower() == name.lower()), None)
        return None if row is None else User(*row)

    @staticmethod
    def _rating(db: sqlite3.Connection, user: User) -> Rating:
        return Rating(*db.execute("SELECT mu, sigma FROM ratings WHERE user = ?", (user.id,)).fetchone())

    @staticmethod
    def _count(
        db: sqlite3.Connection, users: list[User], after: tuple[Rating, Rating], scores: tuple[int, int]
    ) -> None:
        sign = (scores[0] > scores[1]) - (scores[0] < scores[1])
        for user, rating, result in zip(users, after, (sign, -sign), strict=True):
            column = COUNTERS[result]
            db.execute(
                f"UPDATE ratings SET mu = ?, sigma = ?, {column} = {column} + 1 WHERE user = ?",
                (rating.mu, rating.sigma, user.id),
            )

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._explained():
            yield self._db

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing, and alone: ratings are read, changed and written without another process in between."""
        with self._lock, self._explained(), self._db:
            if not self.path.exists() or self.path.stat().st_ino != self._inode:
                # SQLite would go on writing where nobody finds it.
                raise StorageError(f"{self.path} was moved away or deleted: move it back, or start the arena anew")
            self._db.execute("BEGIN IMMEDIATE")
            yield self._db

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.OperationalError, OSError) as error:
            raise StorageError(f"{self.path} cannot be used: {error}") from error
        except sqlite3.DatabaseError as error:
            if type(error) is not sqlite3.DatabaseError:
                raise
            raise RecordingError(f"{self.path} is not an arena's database, or is damaged: {error}") from error


def check_name(name: str) -> None:
    """Raises ConfigError if it cannot be an account's name."""
    if not NAME.fullmatch(name):
        raise ConfigError(
            f"{ascii(one_line(name)[:40])} cannot be an account's name: take 1 to 32 Latin letters, digits and . _ - "
            "(the first no . or -)"
        )


def _digest(token: str) -> str:
    # A token has 192 random bits: there is nothing that a slow hash or a salt would make harder to guess.
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
