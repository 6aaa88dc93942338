"""`watch`: what it finds, what the page of it shows in a real browser, and the files that it exports."""

from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import numpy as np
import pytest

import cli
from competitor.errors import RecordingError
from competitor.play.match_file import match_bytes
from competitor.play.outcomes import rounds_of
from competitor.play.recording import record_round
from competitor.viewer.frames import frames_of
from competitor.viewer.match_json import match_json
from competitor.viewer.mind import Mind
from competitor.viewer.playlist import Playlist, open_playlist
from competitor.viewer.watch_page import watch_app, write_html
from dreamer.agent import Dreamer
from dreamer.checkpoint import load_checkpoint
from tests.browser import PHONE, browser, opened_page, served, wait_until, width_of
from tests.competitor.play.made_matches import recorded_match
from tests.competitor.viewer.recorded import a_round, folder, record
from tests.dreamer.tiny import tiny_config

__all__ = ["browser", "folder"]
ROOT = Path(cli.__file__).parent


@pytest.fixture(scope="module")
def playlist(folder: Path) -> Playlist:
    return open_playlist(folder, "champion")


def test_a_round_is_shown_from_the_left_whoever_played_there(folder: Path) -> None:
    for side, names in ((0, ["strong", "weak"]), (1, ["weak", "strong"])):
        played = a_round(side)
        shown = match_json(next(folder.glob(f"strong-weak-0000{side}-*")))
        (only,) = shown["rounds"]
        assert shown["names"] == names
        assert len(only["frames"]) == played.steps + 1 and only["winner"] == played.winner
        last = played.obs[0, -1].round(3)
        assert only["frames"][-1] == pytest.approx([*last[:3], *last[6:9], *last[12:14], *last[16:]], abs=1e-3)
        assert only["actions"][1][7] == pytest.approx(played.actions[1, 7].tolist(), abs=1e-3)
        assert np.allclose(frames_of(played.obs[1], side=1), only["frames"], atol=2e-3), "the other view, turned"


def test_a_match_keeps_score_from_round_to_round(folder: Path) -> None:
    shown = match_json(next(folder.glob("2*.npz")))
    results = [played.result for played in rounds_of(recorded_match())]
    assert shown["names"] == ["champion", "ada"]
    assert [one["winner"] for one in shown["rounds"]] == results
    for number, one in enumerate(shown["rounds"]):
        assert one["score"] == [results[:number].count(1), results[:number].count(-1)]
        assert len(one["frames"]) == len(one["actions"][0]) + 1 and one["actions"][1] is None


def test_values_and_dreams_are_those_of_the_player_who_sees_them() -> None:
    mind = Mind.load("champion")
    played = a_round()
    left, right = (mind.look_on(played.obs[side], played.actions[side]) for side in (0, 1))
    assert left[0].shape == (played.steps + 1,) and left[1].shape == (played.steps + 1, 15, 18)
    assert left[0][-5:].mean() > 5 and right[0][-5:].mean() < -5, "both see the goal come"
    real = played.obs[0, 1 : played.steps - 15, 12:14]
    dreamt = left[1][: len(real), 0, 12:14]
    assert np.median(np.linalg.norm(dreamt - real, axis=1)) < 0.5, "one step ahead the puck is nearly where it will be"


def test_who_played_tells_what_it_thought_if_it_is_still_there(tmp_path: Path) -> None:
    champion = (ROOT / "checkpoints" / "champion").as_posix()
    digest = load_checkpoint(Path(champion))[1]["sha256"]
    for name, sha256, thinks in ((champion, digest, True), (champion, "ab" * 32, False), ("gone", digest, False)):
        match = recorded_match(checkpoint=name, digest=sha256)
        path = tmp_path / "20261123T114000Z-match.npz"
        path.write_bytes(match_bytes(match, rounds_of(match), "0"))
        assert ["mind" in one for one in match_json(path)["rounds"]] == [thinks] * 4
    played = a_round(side=1)
    for player, opponent, side in ((champion, "weak", 1), ("weak", champion, 0), ("weak", "strong", None)):
        setup = replace(played.setup, opponent=opponent)
        path = record_round(tmp_path, replace(played, setup=setup), number=0, player=player, engine="", keep_mode=True)
        (shown,) = match_json(path)["rounds"]
        assert shown.get("mind", {}).get("side") == side


@pytest.mark.parametrize(
    ("checkpoint", "name"),
    [("x" * 5000, "x" * 64), ("of/a\x00\u202eb\x1b[2J", "a?b?[2J"), ("", "?"), ("os:system", "system")],
)
def test_names_in_files_of_others_harm_nothing(checkpoint: str, name: str, tmp_path: Path) -> None:
    match = replace(recorded_match(opponent="\x1b[31m\u202eada"), checkpoint=checkpoint)
    (tmp_path / "m.npz").write_bytes(match_bytes(match, rounds_of(match), "0"))
    (item,) = open_playlist(tmp_path / "m.npz").items
    assert item.load()["names"] == [name, "?[31mada"] and f"{name} against ?[31mada " in item.title


def test_numbers_that_nobody_sends_are_refused_or_shown_as_nothing(tmp_path: Path) -> None:
    match = recorded_match()
    broken = replace(match, obs=np.where(match.is_first[:, None], np.inf, match.obs))
    (tmp_path / "m.npz").write_bytes(match_bytes(broken, rounds_of(broken), "0"))
    shown = match_json(tmp_path / "m.npz", Mind.load("champion"))["rounds"][0]
    assert shown["frames"][0] == [0.0] * 10 and np.isfinite(shown["mind"]["value"]).all()
    for wrong in (
        replace(match, actions=np.full_like(match.actions, np.nan)),
        replace(match, ended_at=253_402_300_000.0),
    ):
        (tmp_path / "m.npz").write_bytes(match_bytes(wrong, [], "0"))
        with pytest.raises(RecordingError):
            open_playlist(tmp_path / "m.npz")


def test_an_agent_looks_on_only_at_its_own_game(tmp_path: Path) -> None:
    path = record(tmp_path, a_round(keep_mode=False), keep_mode=False)
    assert len(match_json(path)["rounds"][0]["frames"][0]) == 10
    with pytest.raises(RecordingError, match="champion cannot look on: .* another rink.keep_mode"):
        match_json(path, Mind.load("champion"))


def test_the_page_shows_every_recording(browser: Any, playlist: Playlist, tmp_path: Path) -> None:
    assert playlist.note.startswith("left out 1 of 4 files, the first: ")
    with served(watch_app(playlist.items, "secret")) as (address, _), opened_page(browser) as page:
        page.goto(f"{address}/?token=secret")
        page.get_by_text("2026-11-23").first.wait_for()
        titles = page.locator("#list option").all_inner_texts()
        assert (
            len(titles) == 3
            and " champion against ada 2:2" in titles[0]
            and titles[1].startswith("strong won against weak")
        )
        wait_until(page, "viewer.steps > 20 && viewer.match.rounds.length === 4")
        page.locator("#list").select_option(index=2)
        wait_until(page, "viewer.match.names[1] === 'strong'")
        page.evaluate("viewer.step = 30")
        assert page.locator("#viewer").locator(".value").is_visible()
        page.screenshot(path=tmp_path / "watch.png")
        page.locator("#find").fill("ada")
        assert page.locator("#list option").count() == 1


def test_when_a_recording_has_been_played_the_next_one_follows(browser: Any, playlist: Playlist) -> None:
    with served(watch_app(playlist.items, "secret")) as (address, _), opened_page(browser, viewport=PHONE) as page:
        page.goto(f"{address}/?token=secret")
        page.locator("#list").select_option(index=1)
        wait_until(page, "viewer.match.names[0] === 'strong'")
        assert width_of(page) == (390, 390)
        cut = "[...document.querySelectorAll('#list option')].filter(one => one.scrollWidth > one.clientWidth).length"
        assert page.evaluate(cut) == 0
        page.evaluate("viewer.speed = 100; viewer.playing = true")
        wait_until(page, "viewer.match.names[1] === 'strong'")


def test_what_was_chosen_is_not_passed_over_when_the_one_before_ends(browser: Any, playlist: Playlist) -> None:
    with served(watch_app(playlist.items, "secret")) as (address, _), opened_page(browser) as page:
        page.goto(f"{address}/?token=secret")
        wait_until(page, "viewer.match.rounds.length === 4")
        page.evaluate("""const list = document.getElementById('list'); list.selectedIndex = 1;
            list.dispatchEvent(new Event('change')); viewer.dispatchEvent(new Event('finished'))""")
        wait_until(page, "viewer.match.rounds.length === 1")
        assert page.evaluate("[list.selectedIndex, viewer.match.names[0]]") == [1, "strong"]


def test_without_the_token_there_is_nothing_to_see(playlist: Playlist) -> None:
    with served(watch_app(playlist.items, "secret")) as (address, _):
        for path, code in (
            ("/", 403),
            ("/api/rounds.json?token=Secret", 403),
            ("/api/rounds/9.json?token=secret", 404),
            ("/viewer/rink-viewer.js", 200),
            ("/viewer/%2e%2e/web.py?token=secret", 404),
        ):
            assert fetched(address + path) == code, path


def fetched(address: str) -> int:
    """The status with which an address answers."""
    try:
        with urlopen(address) as answer:
            return int(answer.status)
    except HTTPError as error:
        with error:
            return error.code


def test_a_recording_that_was_damaged_meanwhile_is_told_in_the_page(browser: Any, tmp_path: Path) -> None:
    path = record(tmp_path, a_round())
    items = open_playlist(tmp_path).items
    path.write_bytes(b"no longer")
    with served(watch_app(items, "secret")) as (address, _):
        context = browser.new_context()
        page = context.new_page()
        page.goto(f"{address}/?token=secret")
        page.get_by_text("is not a recorded round, or it is damaged").wait_for()
        context.close()


def test_the_exported_page_needs_no_server(browser: Any, playlist: Playlist, tmp_path: Path) -> None:
    evil = replace(playlist.items[0], title="</script><script>document.title = 'evil'</script>")
    write_html([evil, *playlist.items[1:]], tmp_path / "send.html")
    assert 'src="' not in (tmp_path / "send.html").read_text()
    with opened_page(browser) as page:
        page.goto((tmp_path / "send.html").as_uri())
        wait_until(page, "viewer.match.rounds.length === 4 && viewer.step > 3")
        assert page.locator("#list option").count() == 3 and page.title() == "Laser hockey: rounds"
        assert page.locator("#message").inner_text() == evil.title


def test_a_run_plays_rounds_to_be_watched(tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    for suffix in (".safetensors", ".json"):
        (run / "checkpoints" / f"best{suffix}").write_bytes((ROOT / "checkpoints" / f"champion{suffix}").read_bytes())
    items = open_playlist(run).items
    shown = [item.load() for item in items]
    assert [one["names"] for one in shown] == [["run", "weak"], ["weak", "run"], ["run", "strong"], ["strong", "run"]]
    assert [one["rounds"][0]["mind"]["side"] for one in shown] == [0, 1, 0, 1]
    assert items[0].title.startswith("run won against weak in ")


def test_an_agent_whose_state_holds_the_observation_dreams_on_from_what_it_sees() -> None:
    """With `model.observed` the first dreamed step is one step's change away from the real observation."""
    played = a_round()
    mind = Mind(Dreamer(tiny_config(model={"observed": True})), "tiny")
    value, dreams = mind.look_on(played.obs[0], played.actions[0])
    assert value.shape == (played.steps + 1,) and dreams.shape == (played.steps + 1, 15, 18)
    assert np.abs(dreams[:, 0, 12:14] - played.obs[0][:, 12:14]).max() < 1.0
