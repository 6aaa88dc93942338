"""The commands `arena accounts ...`. Heavy imports stand inside them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from competitor.errors import BusyError, ConfigError
from competitor.options import FOLDER, ResultFolder, check_place
from competitor.screen import Table, counter, print_line, print_table
from competitor.system import sole_writer

if TYPE_CHECKING:
    from competitor.arena.store import Store

DIRECTORY = click.option(
    "--directory",
    type=FOLDER,
    callback=lambda context, parameter, given: given or context.obj,  # as said before `accounts`
    help="The arena's directory.  [default: arena]",
)
NAMES = click.argument("names", nargs=-1, required=True, metavar="NAME...")


@click.group()
def accounts() -> None:
    """List, add, remove, rename and ban the accounts of an arena."""


@accounts.command("list")
@DIRECTORY
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def list_accounts(directory: Path, as_json: bool) -> None:
    """Show all accounts: state, rating, matches that counted, matches that were broken off."""
    with _store(directory) as store:
        rows = store.accounts()
    if as_json:
        click.echo(json.dumps({"accounts": [asdict(row) for row in rows]}, indent=1))
        return
    if not rows:
        print_line(f"there are no accounts in {directory}")
    columns = ["name", "role", "state", "rating", "games", "broken off"]
    cells = [[row.name, row.role, row.state, f"{row.rating:.2f}", str(row.games), str(row.disconnects)] for row in rows]
    print_table(Table(columns, cells, texts=3))


@accounts.command()
@click.argument("given", nargs=-1, required=True, metavar="NAME|FILE.csv...")
@DIRECTORY
@click.option("--tokens", type=ResultFolder(), help="Folder for a file with each token.  [default: DIRECTORY/tokens]")
def add(given: tuple[str, ...], directory: Path, tokens: Path | None) -> None:
    """Make accounts: for names, or every line of a CSV file with a column `name`. A running arena knows them at once.

    Each token goes into a file NAME that only you can read. Accounts that exist are left as they are.
    """
    from competitor.arena.accounts import TOKENS, open_accounts, read_names
    from competitor.arena.store import check_name

    names: list[str] = []
    for one in given:
        if one.lower().endswith(".csv"):
            names += read_names(Path(one))
        else:
            check_name(one)
            names.append(one)
    names = list({name.lower(): name for name in reversed(names)}.values())[::-1]  # upper and lower case are the same
    folder = tokens or directory / TOKENS
    check_place(folder / names[0], shown=folder)
    with _store(directory, new=True) as store, counter("accounts") as show:
        existing = [name for name in names if _may_stay(store, name)]
        fresh = [name for name in names if name not in existing]
        for done, name in enumerate(fresh, start=1):
            open_accounts(store, directory, [name], folder)
            show(done, len(fresh))
    if existing:
        print_line(f"{len(existing)} were there already, left as they are: {', '.join(existing)}")
    print_line(f"accounts added: {len(fresh)}; their tokens are in {folder}, a file for each that only you can read")


@accounts.command()
@NAMES
@DIRECTORY
def remove(names: tuple[str, ...], directory: Path) -> None:
    """Delete accounts and their tokens. Matches that they have played stay, without their names."""

    def change(store: Store, name: str, file: Path) -> None:
        store.remove(name)
        file.unlink(missing_ok=True)

    _change(directory, names, change)
    print_line(f"removed: {', '.join(names)}")


@accounts.command()
@click.argument("name")
@click.argument("new_name")
@DIRECTORY
def rename(name: str, new_name: str, directory: Path) -> None:
    """Give an account another name. Its token, rating and matches stay."""

    def change(store: Store, name: str, file: Path) -> None:
        store.rename(name, new_name)
        if file.exists():
            file.rename(file.with_name(new_name))

    _change(directory, (name,), change)
    print_line(f"{name} is {new_name} now")


@accounts.command()
@NAMES
@DIRECTORY
@click.option("--undo", is_flag=True, help="Let them in again.")
def ban(names: tuple[str, ...], directory: Path, undo: bool) -> None:
    """Refuse the tokens of accounts and hide them on the leaderboard; a running arena cuts them off within seconds."""
    with _store(directory) as store:
        for name in _known(store, names):
            store.ban(name, "active" if undo else "banned")
    print_line(f"{'let in again' if undo else 'banned'}: {', '.join(names)}")


def _change(directory: Path, names: tuple[str, ...], change: Callable[[Store, str, Path], object]) -> None:
    """Change accounts whose names a running arena would go on using."""
    from competitor.arena.accounts import TOKENS

    with _store(directory) as store:
        try:
            with sole_writer(directory, f"the arena in {directory}"):
                for name in _known(store, names):
                    change(store, name, directory / TOKENS / name)
        except BusyError:
            raise BusyError(f"the arena in {directory} is running: stop it, then change its accounts") from None


def _known(store: Store, names: tuple[str, ...]) -> list[str]:
    """The accounts' names as they are written down, each once. Raises ConfigError for the first that is no player's."""
    users = [store.user(name) for name in names]
    for name, user in zip(names, users, strict=True):
        if user is None:
            raise ConfigError(f"there is no account {name}: `arena accounts list` shows them")
        if user.role == "bot":
            raise ConfigError(f"{user.name} is a house bot: leave it out of --bots instead")
    return list(dict.fromkeys(user.name for user in users if user is not None))


def _may_stay(store: Store, name: str) -> bool:
    """Whether there is an account already. Raises ConfigError if it is a house bot's."""
    return store.user(name) is not None and bool(_known(store, (name,)))


@contextmanager
def _store(directory: Path, *, new: bool = False) -> Iterator[Store]:
    """The accounts in a directory. Raises ConfigError when there is no arena, unless it may be a new one."""
    from competitor.arena.arena import DATABASE
    from competitor.arena.store import Store

    if not new and not (directory / DATABASE).is_file():
        raise ConfigError(f"there is no arena in {directory}: name another --directory, or add accounts first")
    store = Store(directory / DATABASE)
    try:
        yield store
    finally:
        store.close()
