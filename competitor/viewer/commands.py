"""The commands `watch` and `play`. Heavy imports stand inside them."""

from pathlib import Path

import click

from competitor.options import PORT, SEED, Command, ResultFile, ResultFolder, written
from competitor.screen import print_line

MOST_EXPORTED = 50  # recordings in one file: more make it too large to be sent, or to be opened
LONGEST_NAME = 40
HOST = click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
NO_BROWSER = click.option("--no-browser", is_flag=True, help="Only print the address.")


@click.command(cls=Command)
@click.argument("target", metavar="[FILE|DIR|RUN]", type=click.Path(path_type=Path), default=Path("records"))
@click.option("--agent", metavar="CHECKPOINT", help="Whose values and dreams to show.  [default: the player's]")
@click.option("--export", type=ResultFile(".html", ".gif", ".mp4"), help="Write one file (.html, .gif, .mp4) instead.")
@HOST
@click.option("--port", type=PORT, default=8090, show_default=True, help="Port of the page, 0: any.")
@NO_BROWSER
def watch(target: Path, agent: str | None, export: Path | None, host: str, port: int, no_browser: bool) -> None:
    """Watch rounds in the browser: recorded ones, a daemon's matches, or rounds that a run's checkpoint plays now.

    FILE: a recording; DIR: all in a folder and below it, [default: records]; RUN: a run's directory, a checkpoint or
    champion. docs/viewer.md tells the keys.

    \b
    Examples:
      cli.py watch
      cli.py watch rounds/ --agent champion
      cli.py watch runs/first
      cli.py watch rounds/champion-weak-00000-won.npz --export round.html
    """
    from competitor.screen import counter
    from competitor.system import use_threads
    from competitor.viewer.playlist import open_playlist
    from competitor.viewer.watch_page import watch_app, write_html
    from competitor.viewer.web import new_token, serve

    use_threads(1)
    if export is not None and export.suffix.lower() != ".html":
        from competitor.viewer.video import need_video

        need_video(export)
    with counter("recordings") as count:
        playlist = open_playlist(target, agent, count)
    if playlist.note:
        click.echo(f"note: {playlist.note}", err=True)
    if export is None:
        token = new_token()
        serve(watch_app(playlist.items, token), token, host, port, browser=not no_browser, say=print_line)
        return
    if len(playlist.items) > MOST_EXPORTED:
        raise click.UsageError(f"--export takes {MOST_EXPORTED} recordings at most, {target} has {len(playlist.items)}")
    with counter("recordings") as count, written(export):
        if export.suffix.lower() == ".html":
            write_html(playlist.items, export, count)
        else:
            from competitor.viewer.video import write_video

            write_video(playlist.items, export, count)
    print_line(f"written to {export}")


def _name(context: click.Context, parameter: click.Parameter, name: str) -> str:
    if not name.isprintable() or not 0 < len(name.strip()) <= LONGEST_NAME:
        raise click.BadParameter(f"a name has 1 to {LONGEST_NAME} letters")
    return name.strip()


@click.command()
@click.argument("players", metavar="[PLAYER]...", nargs=-1)
@click.option(
    "--record", "folder", type=ResultFolder(), default="records/human", show_default=True, help="Keeps rounds."
)
@click.option("--name", default="human", show_default=True, callback=_name, help="What you are called in recordings.")
@SEED
@HOST
@click.option("--port", type=PORT, default=8091, show_default=True, help="Port of the page, 0: any.")
@NO_BROWSER
def play(
    players: tuple[str, ...], folder: Path, name: str, seed: int | None, host: str, port: int, no_browser: bool
) -> None:
    """Play against the agent in the browser, with keyboard, mouse or gamepad.

    PLAYER: a checkpoint, a run (its best), champion (the shipped agent) or any other player as in evaluate. The page
    also offers champion, weak, strong, random and the sparring partners. Rounds are kept as recordings: watch shows
    them, and train --replay learns from them.

    \b
    Examples:
      cli.py play
      cli.py play runs/first sparring:striker
      cli.py train --resume runs/first --replay records/human
    """
    import numpy as np

    from competitor.players import make_player
    from competitor.players.sparring import PREFIX, partner_names
    from competitor.screen import counter
    from competitor.system import sole_writer, use_threads
    from competitor.viewer.human_game import RoundKeeper
    from competitor.viewer.play_page import PlaySetup, play_app
    from competitor.viewer.web import new_token, serve

    use_threads(1)
    shipped = ("champion", "weak", "strong", "random", *(PREFIX + partner for partner in partner_names()))
    opponents = list(dict.fromkeys((*players, *shipped)))
    chance = np.random.default_rng(seed)
    loaded = {}
    with counter("players") as count:
        for spec in dict.fromkeys(players or opponents[:1]):
            loaded[spec] = make_player(spec, seed=int(chance.integers(2**31)))
            count(len(loaded), len(players) or 1)
    with written(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with sole_writer(folder, f"the folder {folder}"):
        token = new_token()
        setup = PlaySetup(opponents, loaded, RoundKeeper(folder, name), name, chance)
        serve(play_app(setup, token), token, host, port, browser=not no_browser, say=print_line)
