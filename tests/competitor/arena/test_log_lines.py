"""Warnings as lines for the terminal: the first of a kind, then counts, and never many."""

import logging
import os
import sys

import click
import pytest

from competitor.arena.console import LONGEST_LINE, MOST_KINDS, fitting, log_lines
from competitor.screen import text_output

log = logging.getLogger("tests.arena")


def test_one_of_a_kind_is_said() -> None:
    said: list[str] = []
    with log_lines(said.append):
        for number in range(5000):
            log.warning("a wrong token from %s", f"10.0.0.{number}")
        log.info("nobody needs to know this")
    assert said == ["warning: a wrong token from 10.0.0.0"]


def test_a_traceback_becomes_one_harmless_line() -> None:
    said: list[str] = []
    with log_lines(said.append):
        try:
            raise ValueError("first\nsecond \x1b[31m" + 500 * "x")
        except ValueError:
            log.exception("it failed\nin two lines")
    (line,) = said
    assert line.startswith("error: it failed: ValueError: first second ") and line.isprintable()
    assert len(line) <= LONGEST_LINE + len("error: ")


def test_texts_that_all_differ_are_bounded_as_well() -> None:
    said: list[str] = []
    with log_lines(said.append):
        for number in range(1000):
            log.warning(f"{number} is a text of its own")
    assert MOST_KINDS <= len(said) <= MOST_KINDS + 5


def test_when_nobody_reads_the_output_the_arena_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in `arena | head -1`."""
    reader, writer = os.pipe()
    os.close(reader)
    monkeypatch.setattr(sys, "stdout", text_output(writer, "utf-8"))
    for number in range(2):
        fitting(click.echo)(f"match {number}")
    os.close(writer)
