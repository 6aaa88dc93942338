"""What the pages say is there: links, example commands, exit codes."""

import re
import shlex
from pathlib import Path

import click
import pytest

import cli
from competitor import errors

ROOT = Path(cli.__file__).parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LINK = re.compile(r"\]\((?!https?:)([^)#]+)[^)]*\)")
EXAMPLE = re.compile(r"^ *(?:\.venv/bin/)?(?:python )?(?:cli\.py|hockey-dreamer) (.+)$", re.MULTILINE)


def commands_in(text: str) -> list[str]:
    return [line for line in EXAMPLE.findall(text) if line.split()[0] in cli.cli.commands]


def every_command(group: click.Group) -> list[click.Command]:
    """The commands of a group and of the groups in it."""
    below = [every_command(command) for command in group.commands.values() if isinstance(command, click.Group)]
    return [*group.commands.values(), *(command for commands in below for command in commands)]


def examples() -> list[str]:
    helps = [command.help or "" for command in every_command(cli.cli)]
    return sorted({line for text in [page.read_text() for page in PAGES] + helps for line in commands_in(text)})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = LINK.findall(page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("example", examples())
def test_examples_have_known_options(example: str) -> None:
    name, *arguments = shlex.split(example.split(" #")[0])
    command = cli.cli.commands[name]
    while isinstance(command, click.Group):
        if command.invoke_without_command and arguments[0] not in command.commands:
            break  # `arena --user me`
        name = arguments.pop(0) if arguments[0] in command.commands else "run"  # `league DIR`
        command = command.commands[name]
    context = click.Context(command, info_name=name)
    words = [word for word in arguments if word not in ("...", "[...]")]
    options, _, _ = command.make_parser(context).parse_args(words)  # an unknown option raises
    assert len(options) >= sum(word.startswith("--") for word in set(words))


def test_every_help_has_its_examples_a_line_each() -> None:
    for command in every_command(cli.cli):
        shown = command.get_help(click.Context(command, info_name=command.name))
        assert "\\b" not in shown and not re.search(r"Examples:.*cli\.py", shown), command.name


def test_pictures_are_drawn_by_make_pictures_and_shown_somewhere(tmp_path: Path) -> None:
    pytest.importorskip("playwright", reason="the extra `dev` is not installed")
    from benchmarks.pictures import curves

    curves(tmp_path)
    commands = (ROOT / "Makefile").read_text() + (ROOT / "benchmarks" / "pictures.py").read_text()
    drawn = {path.name for path in tmp_path.iterdir()} | set(re.findall(r"\w+\.(?:png|gif)", commands))
    shown = {Path(link).name for page in PAGES for link in LINK.findall(page.read_text())}
    pictures = {path.name for path in (ROOT / "docs").iterdir() if path.suffix != ".md"}
    assert pictures <= drawn and pictures <= shown


def test_there_are_examples() -> None:
    assert len(examples()) >= len(cli.cli.commands)


def test_every_exit_code_is_explained() -> None:
    table = re.findall(r"^\| (\d+) \|", (ROOT / "docs/commands.md").read_text(), re.MULTILINE)
    own = [kind.exit_code for kind in vars(errors).values() if isinstance(kind, type) and hasattr(kind, "exit_code")]
    known = {0, 1, 2, errors.EXIT_INTERRUPTED, *own, *errors.CODES_OF_DREAMER.values()}
    assert {int(code) for code in table} == known
