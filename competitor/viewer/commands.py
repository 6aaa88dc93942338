"""The commands `watch` and `play`. Heavy imports stand inside them."""

from __future__ import annotations

from pathlib import Path

import click

from competitor.options import PORT, ResultFile, written
from competitor.screen import print_line

MOST_EXPORTED = 50
"""Recordings in one file: more make it too large to be sent, or to be opened."""
HOST = click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
NO_BROWSER = click.option("--no-browser", is_flag=True, help="Only print the address.")


@click.command()
@click.argument("target", metavar="[FILE|DIR|RUN]", type=click.Path(path_type=Path), default=Path("records"))
@click.option("--agent", metavar="CHECKPOINT", help="Show what this agent expects and dreams.")
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
    from competitor.viewer.gallery import open_gallery
    from competitor.viewer.watch import watch_app, write_html
    from competitor.viewer.web import new_token, serve

    use_threads(1)
    if export is not None and export.suffix.lower() != ".html":
        from competitor.viewer.video import need_video

        need_video(export)
    with counter("recordings") as count:
        gallery = open_gallery(target, agent, count)
    if gallery.note:
        click.echo(f"note: {gallery.note}", err=True)
    if export is None:
        token = new_token()
        serve(watch_app(gallery.items, token), token, host, port, browser=not no_browser, say=print_line)
        return
    if len(gallery.items) > MOST_EXPORTED:
        raise click.UsageError(f"--export takes {MOST_EXPORTED} recordings at most, {target} has {len(gallery.items)}")
    with counter("recordings") as count, written(export):
        if export.suffix.lower() == ".html":
            write_html(gallery.items, export, count)
        else:
            from competitor.viewer.video import write_video

            write_video(gallery.items, export, count)
    print_line(f"written to {export}")
