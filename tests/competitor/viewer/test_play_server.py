"""The games of `play` over a real WebSocket: who may play, what is no message, and the rules of a game."""

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp import ClientSession, WSMsgType, WSServerHandshakeError

from competitor.viewer.human_game import HumanGame, RoundKeeper
from competitor.viewer.play_page import ClockPace, PlayPage, PlaySetup, play_app
from tests.browser import TIMEOUT_S, served
from tests.competitor.viewer.stage import ACTIONS, GOAL, SEED, Stage, Still, stage

__all__ = ["stage"]


def asked(address: str, said: list[Any], *, token: str = "secret", origin: str | None = None) -> list[dict[str, Any]]:
    """What a client that says this over the WebSocket of a game hears; `said` bytes are sent as such."""

    async def talk() -> list[dict[str, Any]]:
        heard = []
        headers = {} if origin is None else {"Origin": origin}
        async with ClientSession() as client, client.ws_connect(f"{address}/play?token={token}", headers=headers) as ws:
            for one in said:
                await (ws.send_bytes(one) if isinstance(one, bytes) else ws.send_str(one))
            async for message in ws:
                assert message.type is WSMsgType.TEXT
                heard.append(message.json())
                if len(heard) == 2 + len(said):
                    break
        return heard

    return asyncio.run(asyncio.wait_for(talk(), TIMEOUT_S))


def test_only_the_printed_address_may_play(stage: Stage) -> None:
    with served(play_app(stage.setup, "secret")) as (address, _):
        for refused in ({"token": "guess"}, {"origin": "http://evil.example"}, {"origin": "null"}):
            with pytest.raises(WSServerHandshakeError, match="403"):
                asked(address, [], **refused)
        for origin in (None, address):
            welcome, begin = asked(address, [], origin=origin)
            assert welcome["welcome"]["opponents"][0] == "still" and begin["begin"]["names"] == ["me", "still"]


def test_what_is_no_message_is_answered_with_a_line(stage: Stage) -> None:
    wrong = (
        "",
        "[]",
        "null",
        "[" * 900,
        '{"action": [1, 0, 0]}',
        '{"action": [2, 0, 0, 0]}',
        '{"action": [NaN, 0, 0, 0]}',
        '{"action": [1e999, 0, 0, 0]}',
        '{"side": 2}',
        '{"speed": 0}',
        '{"opponent": "os:system"}',
        '{"more": 1}',
    )
    with served(play_app(stage.setup, "secret")) as (address, _):
        heard = asked(address, list(wrong))
    assert heard.count({"error": "a message that is not understood"}) == len(wrong)


def test_who_comes_later_plays_on(stage: Stage) -> None:
    async def talk(address: str) -> list[Any]:
        async with ClientSession() as client, client.ws_connect(f"{address}/play?token=secret") as first:
            assert "welcome" in await first.receive_json() and "begin" in await first.receive_json()
            async with client.ws_connect(f"{address}/play?token=secret") as second:
                told = [await first.receive_json(), (await first.receive()).type]
                return [*told, "welcome" in await second.receive_json()]

    with served(play_app(stage.setup, "secret")) as (address, _):
        told = asyncio.run(asyncio.wait_for(talk(address), TIMEOUT_S))
    assert told == [{"error": "the game is played in another window now"}, WSMsgType.CLOSE, True]


def test_a_disk_that_refuses_ends_no_game(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said: list[dict[str, Any]] = []

    async def play() -> None:
        async def send(message: dict[str, Any]) -> None:
            said.append(message)
            if len([one for one in said if "begin" in one]) == 2:
                raise asyncio.CancelledError

        async def at_once(step_s: float) -> None: ...

        keeper = RoundKeeper(tmp_path / "file", "me")
        setup = PlaySetup(["still"], {"still": Still()}, keeper, "me", np.random.default_rng(SEED), lambda: at_once)
        games = PlayPage(setup, send)
        games.hear('{"paused": false}')
        with pytest.raises(asyncio.CancelledError):
            await games.run()

    asyncio.run(play())
    (error,) = (one["error"] for one in said if "error" in one)
    assert error.startswith("the round is not kept: ")
    assert [one["end"] for one in said if "end" in one] == [{"winner": 0}]
    assert said[-1]["begin"]["number"] == 2


@pytest.mark.parametrize(("side", "seed", "score"), [(0, SEED, (1, 0)), (1, 6, (0, 1))])
def test_directions_are_those_of_the_screen_on_both_sides(side: int, seed: int, score: tuple[int, int]) -> None:
    game = HumanGame(Still(), name="me", side=side, chance=np.random.default_rng(seed))
    forward, ended = 1 - 2 * side, None
    for key, steps in GOAL:
        x, y, turn, shoot = ACTIONS[key]
        for _ in range(steps):
            ended = game.step((forward * x, forward * y, turn, shoot)).ended or ended
    assert ended is not None and (ended.result, game.score, game.number) == (1, score, 2)
    assert game.begin()["names"] == (("me", "still") if side == 0 else ("still", "me"))


def test_the_clock_keeps_time_and_does_not_hurry_after_a_pause() -> None:
    now, waits = [100.0], []

    async def sleep(seconds: float) -> None:
        waits.append(round(seconds, 6))
        now[0] += seconds

    async def beat() -> None:
        pace = ClockPace(lambda: now[0], sleep)
        for busy in (0.0, 0.0, 0.005, 0.03, 0.001, 3.0, 0.0):
            now[0] += busy
            await pace(0.02)

    asyncio.run(beat())
    assert waits == [0.0, 0.02, 0.015, 0.0, 0.009, 0.0, 0.02]


def test_rounds_are_numbered_on(tmp_path: Path) -> None:
    for name in ("me-still-00007-won.npz", "me-weak-00003-lost.npz", "other.npz"):
        (tmp_path / name).write_bytes(b"")
    game = HumanGame(Still(), name="me", side=0, chance=np.random.default_rng(SEED))
    while (ended := game.step((0, 0, 0, 0)).ended) is None:
        pass
    assert RoundKeeper(tmp_path, "me").keep(ended).name == "me-still-00008-drawn.npz"
