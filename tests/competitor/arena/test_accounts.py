"""Accounts and the files with their tokens."""

import contextlib
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from competitor.arena.accounts import open_accounts
from competitor.arena.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with contextlib.closing(Store(tmp_path / "arena.sqlite")) as opened:
        yield opened


def test_without_its_file_a_token_is_replaced(store: Store, tmp_path: Path) -> None:
    (old,) = open_accounts(store, tmp_path, ["ada"])
    old.file.unlink()
    (new,) = open_accounts(store, tmp_path, ["ada"])
    assert old.token is not None and new.token is not None
    assert store.user_of(old.token) is None
    assert store.user_of(new.token) is not None
    assert new.file.read_text().strip() == new.token


def test_a_file_that_lies_about_is_not_taken_for_a_token(store: Store, tmp_path: Path) -> None:
    left_over = tmp_path / "tokens" / "ada"
    left_over.parent.mkdir()
    left_over.write_text("of another arena")
    left_over.chmod(0o644)
    (ada,) = open_accounts(store, tmp_path, ["ada"])
    assert ada.file.read_text().strip() == ada.token
    assert stat.S_IMODE(ada.file.stat().st_mode) == 0o600


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"half a tok"])
def test_a_damaged_token_file_is_replaced(content: bytes, store: Store, tmp_path: Path) -> None:
    (ada,) = open_accounts(store, tmp_path, ["ada"])
    ada.file.write_bytes(content)
    (again,) = open_accounts(store, tmp_path, ["ada"])
    assert again.token is not None and again.file.read_text().strip() == again.token
    assert [file.name for file in ada.file.parent.iterdir()] == ["ada"]


def test_the_same_account_made_many_times_at_once_has_one_token(store: Store, tmp_path: Path) -> None:
    def make(_: int) -> str | None:
        with contextlib.closing(Store(tmp_path / "arena.sqlite")) as own:
            return open_accounts(own, tmp_path, ["ada"])[0].token

    with ThreadPoolExecutor(8) as pool:
        tokens = list(pool.map(make, range(8)))
    (token,) = filter(None, tokens)
    assert (tmp_path / "tokens" / "ada").read_text().strip() == token
    assert store.user_of(token) is not None
