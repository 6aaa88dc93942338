"""Names and texts that a server sends, made fit to be shown: no letter that hides, moves the cursor or imitates.

Nobody can turn a player with a deceptive name away from a foreign server, but a name can be shown as what it is.
"""

import unicodedata
from collections.abc import Callable

LONGEST_NAME = 64
LONGEST_TEXT = 500  # characters; what is longer is cut
# Alphabets whose letters look like Latin ones.
_LOOK_ALIKE = ("CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE", "COPTIC", "LISU")


def one_line(text: str, redact: Callable[[str], str] = str) -> str:
    """`text` as one line of at most LONGEST_TEXT characters that cannot harm a log or a terminal.

    redact: takes secrets out, before letters change and the end is cut off: afterwards it would not find them. It also
    gets to see the text without its invisible letters and with compatible ones, as a reader might put it together.
    """
    text = redact(text)
    plain = unicodedata.normalize("NFKC", "".join(filter(str.isprintable, text)))
    if (clean := redact(plain)) != plain:
        text = clean
    return "".join(letter if letter.isprintable() else " " for letter in text[:LONGEST_TEXT])


def shown_name(name: str, redact: Callable[[str], str] = str) -> str:
    """Return `name` in compatible letters, without marks and invisible characters; look-alikes as \\u0430.

    Letters of an alphabet that imitates the Latin one are escaped where Latin letters stand beside them: nobody
    writes a name in both. What is not printable becomes a question mark, as does a name of nothing.
    redact: takes secrets out, also those that only compatible letters show.
    """
    folded = unicodedata.normalize("NFKC", redact(name)[: 8 * LONGEST_NAME])
    kept = "".join(_printable(letter) for letter in folded).strip()
    kept = redact(kept)
    if any("a" <= letter.lower() <= "z" for letter in kept):
        kept = "".join(_escaped(letter) for letter in kept)
    return kept[:LONGEST_NAME] or "?"


def _printable(letter: str) -> str:
    category = unicodedata.category(letter)
    if category in ("Mn", "Me", "Cf"):  # marks that could not be composed, and what is invisible
        return ""
    return letter if letter.isprintable() else "?"


def _escaped(letter: str) -> str:
    if not letter.isascii() and unicodedata.name(letter, "").startswith(_LOOK_ALIKE):
        return letter.encode("ascii", "backslashreplace").decode()
    return letter
