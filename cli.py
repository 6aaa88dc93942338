"""The command line of hockey-dreamer: gathers the commands and turns what goes wrong into a line and an exit code.

The commands stand beside their jobs, in a `commands.py` each. Heavy imports stand inside the commands, so that help and
mistakes in the command line answer at once.
"""

import os
import signal
import sys


def _leave(number: int, frame: object) -> None:
    """End at once: while modules are loaded there is nothing to save, and a traceback would tell the user nothing."""
    if COMPETES:  # told to stop, it ends well; see competitor/daemon/supervisor.py
        os.write(1, b"asked to stop: nothing has been played yet\n")
        os._exit(0)
    os.write(2, b"interrupted\n")
    os._exit(130)  # as EXIT_INTERRUPTED; nothing of our own is loaded yet


COMPETES = sys.argv[1:2] == ["compete"]
if __name__ == "__main__" or sys.argv[0].endswith("hockey-dreamer"):  # not where this module is only imported
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:  # one was closed (`>&-`): no file may get its number
        pass
    os.close(descriptor)
    for number in (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup, or a job in the background
            signal.signal(number, _leave)
    if COMPETES and hasattr(signal, "SIGHUP"):  # asks the daemon to read its settings anew: it is about to read them
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

import traceback
from contextlib import suppress

import click

from competitor.arena.commands import arena
from competitor.daemon.commands import compete, matches, status
from competitor.errors import EXIT_INTERRUPTED, StorageError, exit_code, message, plain
from competitor.evaluate.commands import evaluate
from competitor.export.commands import export
from competitor.inspect.commands import info, inspect
from competitor.play.commands import replay
from competitor.population.commands import league
from competitor.screen import ReaderLeft, open_output
from competitor.sparring.commands import sparring
from competitor.system import STOP_SIGNALS, code_version, end_quickly, end_with, raise_interrupt
from competitor.train.commands import plot, runs, train
from competitor.viewer.commands import play, watch


def _show_version(context: click.Context, parameter: click.Parameter, wanted: bool) -> None:
    if wanted:
        click.echo(f"hockey-dreamer {code_version()}")
        context.exit()


@click.group(name="hockey-dreamer", context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--version", is_flag=True, expose_value=False, callback=_show_version, help="Show the version.")
@click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")
def cli() -> None:
    """An agent that learns laser hockey by dreaming (DreamerV3): train it, evaluate it, compete with it."""


COMMANDS = (
    train,
    runs,
    plot,
    evaluate,
    compete,
    matches,
    status,
    arena,
    league,
    sparring,
    play,
    watch,
    replay,
    inspect,
    info,
    export,
)
for command in COMMANDS:
    cli.add_command(command)


def main() -> None:
    """Run the command line; ends the process with the exit code that competitor/errors.py documents."""
    # Threads that spin while they wait make updates 20 times slower as soon as another process is busy.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    for number in STOP_SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN and not COMPETES:
            signal.signal(number, raise_interrupt)
    end_quickly()
    open_output()
    end_with(run(sys.argv[1:]))


def run(arguments: list[str], command: click.Command = cli) -> int:
    """Run one command and return its exit code; errors become one line on stderr."""
    try:
        _check_folder()
        code = int(command.main(arguments, standalone_mode=False) or 0)
        sys.stdout.flush()
    except click.ClickException as error:
        error.message = "\n".join(map(plain, error.message.splitlines()))  # type: ignore[misc]
        with suppress(OSError):
            error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        _say("interrupted")
        return EXIT_INTERRUPTED
    except ReaderLeft:
        return 0
    except Exception as error:
        found = exit_code(error)
        if found is None or "--debug" in arguments:
            traceback.print_exc()
        else:
            _say(f"error: {plain(message(error))}")
        return found or 1
    return code


def _check_folder() -> None:
    """Raise StorageError where the current folder is gone: libraries end the process there, in their own words."""
    try:
        os.getcwd()
    except FileNotFoundError:
        raise StorageError("the current folder is gone: change to one that is there") from None


def _say(line: str) -> None:
    with suppress(OSError):  # a full disk, or a reader that has left, changes no exit code
        click.echo(line, err=True)


if __name__ == "__main__":
    main()
