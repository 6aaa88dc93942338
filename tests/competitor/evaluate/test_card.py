"""What has been measured comes onto a checkpoint's card, one command at a time."""

from pathlib import Path

import pytest
import torch

import cli
from competitor.config import Config
from competitor.evaluate.card import summaries, write_on_card
from competitor.players.sparring import partner_names
from dreamer.agent import Dreamer
from dreamer.checkpoint import load_checkpoint, read_card, save_checkpoint

EXPLOITED = {
    "checkpoint": "mine", "points": 0.35, "wins": 50, "draws": 40, "losses": 110, "rounds": 200,
    "minutes": 30.0, "updates": 90_000, "seed": 1, "exploiter": "sparring:runs/x/best.safetensors",
}  # fmt: skip


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, debug_config: Config) -> Dreamer:
    """An agent saved as `mine` in the current directory."""
    monkeypatch.chdir(tmp_path)
    agent = Dreamer(debug_config.dreamer, seed=1)
    save_checkpoint(Path("mine"), agent, {"preset": "debug"})
    return agent


def evaluated(against: str, seed: int) -> int:
    return cli.run(["evaluate", "./mine", "--against", against, "--rounds", "2", "--seed", str(seed), "--card"])


def test_results_join_those_of_other_opponents_and_take_the_place_of_their_own(mine: Dreamer) -> None:
    assert [evaluated("weak,strong", 1), evaluated("weak", 2), evaluated("gauntlet", 3)] == [0, 0, 0]
    agent, card = load_checkpoint(Path("mine"))
    assert all(torch.equal(own, agent.state_dict()[key]) for key, own in mine.state_dict().items())
    seeds = {result["opponent"]: result["seed"] for result in card["results"]}
    assert seeds == {"strong": 1, "weak": 2, **{f"sparring:{name}": 3 for name in partner_names()}}
    assert card["preset"] == "debug" and card["gauntlet"]["partners"] == len(partner_names())
    assert card["gauntlet"]["held_out_points"] is not None and card["gauntlet"]["seed"] == 3


def test_the_card_is_shown_with_its_summaries(mine: Dreamer, capsys: pytest.CaptureFixture[str]) -> None:
    write_on_card("./mine", lambda card: {"exploitability": EXPLOITED})
    assert cli.run(["info", "./mine"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "after 30.0 minutes of one core (90,000 updates) the exploiter takes 35.0 % of the points from mine" in shown


@pytest.mark.parametrize(
    "damage", [3, [], {}, {"points": "many"}, EXPLOITED | {"wins": None}, {**EXPLOITED, "points": []}]
)
def test_a_card_may_hold_anything(damage: object) -> None:
    assert summaries({"exploitability": damage, "gauntlet": damage}) == []
    assert len(summaries({"exploitability": EXPLOITED | {"more": damage}})) == 1


@pytest.mark.parametrize("damage", [3, None, {"weak": 1}, [3, None, {"opponent": [1]}]])
def test_results_that_are_none_are_left_out(mine: Dreamer, damage: object) -> None:
    save_checkpoint(Path("mine"), mine, {"results": damage})
    assert cli.run(["info", "./mine"]) == 0
    assert evaluated("weak", 1) == 0
    assert [result["opponent"] for result in read_card(Path("mine"))["results"]][-1] == "weak"


def test_what_has_no_card_is_told_before_a_round_is_played(mine: Dreamer, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["evaluate", "strong", "--card"]) == 3
    assert "strong has no model card: --card is for checkpoints" in capsys.readouterr().err
    assert cli.run(["evaluate", "./mine", "--cross", "--card"]) == 2
    assert "results" not in read_card(Path("mine"))
