"""The pictures of docs/ that show pages and measured curves; `make pictures` draws these and the others.

    python benchmarks/pictures.py ROUNDS [--docs docs]

ROUNDS: a folder of `evaluate champion --record`. The pages are real ones in a real browser: `watch` and `play`, and an
arena in which seven players meet for a few minutes. The curves are drawn from the figures in benchmarks/results/.
"""

import io
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import click
import numpy as np
from PIL import Image
from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import baselines, growth
from benchmarks.arena_process import ROOT, Players, arena_process
from competitor.players import make_player
from competitor.players.sparring import PREFIX, partner_names
from competitor.screen import print_line
from competitor.viewer.human_game import RoundKeeper
from competitor.viewer.play_page import PlaySetup, play_app
from competitor.viewer.playlist import open_playlist
from competitor.viewer.watch_page import watch_app
from tests.browser import CHROMIUM, PHONE, served, wait_until

LARGE, MIDDLE = {"width": 1280, "height": 940}, {"width": 1000, "height": 740}
UPRIGHT = {"width": 780, "height": 1060}
TOKEN = "token"
CLASS = ("ada", "bob", "cyd", "dan", "eve", "fay", "gus")
STEP_S = 0.02
MATCHES = 24
"""Until so many are played, the arena's pages are not looked at: a rating's course needs a few."""
DESCRIPTORS = 1024
VIEWER = "document.querySelector('rink-viewer')"
LIVE = "[...document.querySelectorAll('figure:not([hidden]) rink-viewer')].filter(v => v.steps > 60).length > 2"
GAP = 20


class Camera:
    """A browser that takes pictures of pages into a folder."""

    def __init__(self, browser: Any, docs: Path) -> None:
        self._browser, self._docs = browser, docs

    @contextmanager
    def at(self, address: str, size: dict[str, int], scheme: str = "light") -> Iterator[Any]:
        """A page of this size and colour scheme."""
        window = self._browser.new_context(viewport=size, color_scheme=scheme, has_touch=size is PHONE)
        page = window.new_page()
        page.goto(address)
        yield page
        window.close()

    def take(self, page: Any, name: str) -> None:
        page.screenshot(path=self._docs / name)
        print_line(f"{self._docs / name}")

    def beside(self, pages: Sequence[bytes], name: str) -> None:
        shown = [Image.open(io.BytesIO(page)) for page in pages]
        width, height = shown[0].size
        whole = Image.new("RGB", (len(shown) * (width + GAP) - GAP, height), "white")
        for number, one in enumerate(shown):
            whole.paste(one, (number * (width + GAP), 0))
        whole.save(self._docs / name, optimize=True)
        print_line(f"{self._docs / name}")


def watch(camera: Camera, rounds: Path) -> None:
    """The page of `watch` in the middle of the longest round that was won."""
    items = open_playlist(rounds).items
    won = [number for number, item in enumerate(items) if " won " in item.title]
    number = max(won, key=lambda one: len(items[one].load()["rounds"][0]["frames"]))
    with served(watch_app(items, TOKEN)) as (address, _), camera.at(f"{address}?token={TOKEN}", LARGE) as page:
        wait_until(page, "document.querySelectorAll('#list option').length > 1")
        page.select_option("#list", str(number))
        wait_until(page, f"document.querySelector('#message').textContent.includes({items[number].title!r})")
        page.evaluate(f"{VIEWER}.step = Math.round(0.7 * {VIEWER}.steps)")
        camera.take(page, "watch.png")


@contextmanager
def playing() -> Iterator[str]:
    """The address of the page of `play`."""
    names = ["champion", "weak", "strong", "random", *(PREFIX + partner for partner in partner_names())]
    players = {"champion": make_player("champion", seed=1)}
    with tempfile.TemporaryDirectory() as folder:
        setup = PlaySetup(names, players, RoundKeeper(Path(folder), "you"), "you", np.random.default_rng(5))
        with served(play_app(setup, TOKEN)) as (address, _):
            yield f"{address}?token={TOKEN}"


def play(page: Any) -> None:
    """Somebody plays for a second, forwards and turning, and pauses."""
    wait_until(page, "!document.querySelector('#pause').disabled")
    page.keyboard.press("Space")
    for key in ("ArrowRight", "KeyA"):
        page.keyboard.down(key)
    wait_until(page, f"{VIEWER}.steps > 25")
    page.keyboard.press("KeyP")


def arena(camera: Camera, address: str, play_address: str) -> None:
    """The arena's first page, a player and a match; and what a phone shows."""
    match = played_match(address)
    with camera.at(address, LARGE) as page:
        wait_until(page, LIVE)
        camera.take(page, "arena.png")
    with camera.at(f"{address}/players/ada", MIDDLE) as page:
        camera.take(page, "player.png")
    with camera.at(f"{address}/matches/{match}", UPRIGHT) as page:
        scrub(page)
        camera.take(page, "match.png")
    camera.beside(on_a_phone(camera, address, match, play_address), "phone.png")


@contextmanager
def practising() -> Iterator[str]:
    """The address of an arena in which the class plays."""
    with (
        tempfile.TemporaryDirectory() as folder,
        arena_process(Path(folder), CLASS, DESCRIPTORS, "--bots", "weak,strong") as target,
        Players(target, CLASS, STEP_S),
    ):
        yield f"http://127.0.0.1:{target.http_port}"


def played_match(address: str) -> str:
    """The last finished match that had goals, once enough are played."""
    while True:
        with urlopen(f"{address}/api/results.json?count={MATCHES}", timeout=10) as answer:
            matches = json.load(answer)["matches"]
        print(f"\r{len(matches)} of {MATCHES} matches ", end="", file=sys.stderr, flush=True)
        if len(matches) == MATCHES:
            print(file=sys.stderr)
            return str(max(matches, key=lambda one: sum(one["scores"]))["match_id"])
        time.sleep(2.0)


def scrub(page: Any) -> None:
    wait_until(page, f"{VIEWER} && {VIEWER}.steps > 20")
    page.evaluate(f"{VIEWER}.step = Math.round(0.8 * {VIEWER}.steps)")


def on_a_phone(camera: Camera, address: str, match: str, play_address: str) -> list[bytes]:
    """The first page, a match in the dark, and playing."""
    taken = []
    with camera.at(address, PHONE) as page:
        wait_until(page, LIVE)
        taken.append(page.screenshot())
    with camera.at(f"{address}/matches/{match}", PHONE, "dark") as page:
        scrub(page)
        taken.append(page.screenshot())
    with camera.at(play_address, PHONE) as page:
        play(page)
        taken.append(page.screenshot())
    return taken


def curves(docs: Path) -> None:
    """What benchmarks/results/ says, drawn."""
    results = ROOT / "benchmarks" / "results"
    growth.write_png(json.loads((results / "growth.json").read_text())["results"], docs / "growth.png")
    former, stock = ("observed_1", "1", "2"), ("observed_1", "sac_1", "td3_1")
    for picture, names in (("learning_curve", former), ("comparison", stock)):
        files = [results / f"learning_curve_{name}.json" for name in ("wide_2", "deviation_1", *names)]
        baselines.write_png(baselines.read_curves(files), docs / f"{picture}.png")


@click.command(help=__doc__)
@click.argument("rounds", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--docs", type=click.Path(exists=True, file_okay=False, path_type=Path), default=ROOT / "docs")
def main(rounds: Path, docs: Path) -> None:
    curves(docs)
    if CHROMIUM is None:
        raise SystemExit("error: pictures of pages need Chromium (on Debian: apt-get install chromium)")
    with sync_playwright() as driver, playing() as play_address:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        camera = Camera(browser, docs)
        watch(camera, rounds)
        with camera.at(play_address, MIDDLE, "dark") as page:
            play(page)
            camera.take(page, "play.png")
        with practising() as address:
            arena(camera, address, play_address)
        browser.close()


if __name__ == "__main__":
    main()
