"""Names that a server sends, as they are kept and shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from competitor.wire.names import LONGEST_NAME, shown_name


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("ada", "ada"),
        ("Jürgen", "Jürgen"),
        ("Алиса", "Алиса"),  # a name in one alphabet is as it is
        ("а\u0064a", "\\u0430da"),  # a Cyrillic letter among Latin ones
        ("ad\u03b1", "ad\\u03b1"),
        ("ａｄａ", "ada"),  # full width
        ("a\u200bd\u200da", "ada"),  # invisible
        ("\u202eada", "ada"),  # written from right to left
        ("a\x1b[2Jb\r\n", "a?[2Jb??"),
        ("a" + 50 * "\u0301" + "b", "áb"),  # a tower of marks
        ("", "?"),
        ("\u200b", "?"),
        (1000 * "x", LONGEST_NAME * "x"),
    ],
)
def test_names(name: str, shown: str) -> None:
    assert shown_name(name) == shown


@given(st.text())
def test_any_name_is_one_short_printable_line(name: str) -> None:
    shown = shown_name(name)
    assert shown.isprintable() and 1 <= len(shown) <= LONGEST_NAME
