"""A population on the screen."""

from competitor.evaluate.tables import print_cross_table
from competitor.population.book import Book
from competitor.screen import Table, print_line, print_table

LAST_TRIALS = 5
UNMEASURED = "to measure the champion: evaluate CHECKPOINT --against gauntlet --card, league exploit CHECKPOINT --card"


def print_book(book: Book, *, is_running: bool, measured: list[str]) -> None:
    """Print who learns, who is a member, the last trials for the title, and the newest cross table.

    measured: what the champion's card says of the gauntlet and of its exploitability.
    """
    champion = f"champion: {book.champion}" if book.champion else "there is no champion yet"
    print_line(f"{'running' if is_running else 'not running'}; {champion}", style="bold")
    for line in measured or [UNMEASURED]:
        print_line(line)
    print_line("")
    for table in (_learners(book), _members(book), _trials(book)):
        print_table(table)
    if book.table is None:
        print_line("There is no cross table yet: it is made with every fourth turn of the main agent.")
    else:
        print_cross_table(book.table)


def _learners(book: Book) -> Table:
    rows = [
        [each.run, each.kind, each.begins_from or "nothing", f"{each.minutes:.0f}", str(each.turns), str(each.failures)]
        for each in book.learners
    ]
    return Table(["learner", "kind", "begins from", "minutes", "turns", "failures"], rows, "learning", texts=3)


def _members(book: Book) -> Table:
    rows = [
        [
            member.name,
            "champion" if member.name == book.champion else member.role,
            "-" if member.points is None else f"{100 * member.points:.1f} %",
            "yes" if member.is_met else "",
        ]
        for member in book.members
    ]
    return Table(["member", "role", "from the newest", "met"], rows, "members", texts=2)


def _trials(book: Book) -> Table:
    rows = [
        [
            trial.challenger,
            trial.champion,
            f"{100 * trial.points:.1f} %",
            str(trial.rounds),
            trial.test.decision,
            "yes" if trial.is_promoted else "",
        ]
        for trial in book.trials[-LAST_TRIALS:]
    ]
    return Table(["challenger", "champion", "points", "rounds", "test", "promoted"], rows, "last trials", texts=2)
