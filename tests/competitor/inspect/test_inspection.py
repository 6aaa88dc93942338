"""The inspection as a whole: what it says, on the screen, in the JSON and in pictures."""

import json
import re
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from competitor.config import Config, load_config
from competitor.errors import PlayerError
from competitor.inspect.animation import write_gif
from competitor.inspect.dream_check import CONTEXT, HORIZONS, check_dream, cut_windows
from competitor.inspect.examples import DREAMS, DreamExample, DreamExamples, choose_examples
from competitor.inspect.held_out import BASIC, OWN, RECORDED, HeldOut, play_held_out
from competitor.inspect.inspection import InspectedAgent, Inspection, inspect
from competitor.inspect.picture import write_png
from competitor.inspect.tables import print_inspection
from competitor.options import json_text
from dreamer.agent import Dreamer
from dreamer.errors import CheckpointError
from tests.competitor.inspect.test_dream_check import round_of


@pytest.fixture(scope="module")
def inspected(debug_config: Config) -> InspectedAgent:
    agent = Dreamer(debug_config.dreamer, 18, 4, seed=3)
    return InspectedAgent.of("mine", agent, {"sha256": "f00d", "reward": debug_config.reward.model_dump()})


@pytest.fixture(scope="module")
def held_out(inspected: InspectedAgent) -> HeldOut:
    return play_held_out(inspected.agent, inspected.weights, 1, basic=4, own=4)


@pytest.fixture(scope="module")
def inspection(inspected: InspectedAgent, held_out: HeldOut) -> Inspection:
    return inspect(inspected, held_out, seed=1)


@pytest.fixture(scope="module")
def drawn(inspected: InspectedAgent, held_out: HeldOut) -> DreamExamples:
    return choose_examples(inspected.agent, held_out, 1)


def test_one_seed_gives_one_report(inspected: InspectedAgent, held_out: HeldOut, inspection: Inspection) -> None:
    parts: list[tuple[int, int]] = []
    again = inspect(inspected, held_out, seed=1, on_part=lambda *done: parts.append(done))
    assert replace(again, seconds=0.0) == replace(inspection, seconds=0.0)
    assert parts == [(0, 4), (1, 4), (2, 4), (3, 4)]


def test_each_source_is_checked_by_itself(inspected: InspectedAgent, held_out: HeldOut, inspection: Inspection) -> None:
    discount = inspected.agent.config.behavior.discount
    windows = cut_windows(held_out.episodes[BASIC])
    assert inspection.dreams[BASIC] == check_dream(inspected.agent.world_model, windows, discount=discount, seed=1)
    assert inspection.windows == sum(report.windows for report in inspection.dreams.values())
    assert inspection.critic is not None and inspection.critic.states == inspection.dreams[OWN].windows


def test_the_json_holds_everything_and_no_nan(inspected: InspectedAgent, inspection: Inspection) -> None:
    facts = json.loads(json_text(inspection), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    about = [facts[key] for key in ("checkpoint", "sha256", "seed", "windows")]
    assert about == ["mine", "f00d", 1, inspection.windows]
    assert facts["rounds"] == {BASIC: 4, OWN: 8} and set(facts["dreams"]) == {BASIC, OWN}
    assert facts["dreams"][OWN]["errors"]["puck"].keys() == {str(horizon) for horizon in HORIZONS}
    assert facts["critic"]["bias"] == facts["critic"]["value"] - facts["critic"]["real"]
    assert facts["drift"]["states"] > 0
    short = inspect(inspected, HeldOut({RECORDED: [round_of(25, terminal=False)]}, {RECORDED: 1}), seed=1)
    facts = json.loads(json_text(short), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert facts["critic"] is None and facts["drift"]["goes_on_difference"] is None
    assert facts["dreams"][RECORDED]["errors"]["puck"]["30"] is None


def printed(inspection: Inspection, width: int = 1000) -> str:
    out = StringIO()
    print_inspection(inspection, Console(file=out, width=width))
    return out.getvalue()


@pytest.mark.parametrize("width", [80, 60, 40])
def test_the_report_loses_nothing_on_a_narrow_screen(width: int, inspection: Inspection) -> None:
    narrow, wide = printed(inspection, width), printed(inspection)
    assert all(len(line) <= width for line in narrow.splitlines())
    assert set(wide.split()) - {word for word in wide.split() if set(word) == {"─"}} <= set(narrow.split())
    for source, report in inspection.dreams.items():
        assert source in narrow and f"{report.errors['puck'][15]:.2f}" in narrow


def test_the_report_says_what_it_rests_on(inspected: InspectedAgent, inspection: Inspection) -> None:
    text = printed(inspection)
    assert f"{inspection.windows:,} windows from held-out rounds (4 of basic players, 8 of this agent); seed 1" in text
    assert "sha256 f00d" in text and "critic: expects" in text and "late in a round: the round goes on" in text
    assert "note:" not in text and "nan" not in text
    short = inspect(inspected, HeldOut({RECORDED: [round_of(25, terminal=False)]}, {RECORDED: 1}), seed=1)
    text = printed(short)
    assert text.count("not judged") == 2 and "nan" not in text


def test_without_rewards_on_the_card_those_of_the_settings_count(inspected: InspectedAgent) -> None:
    other = InspectedAgent.of("old", inspected.agent, {"sha256": "f00d"})
    assert other.weights.goal == load_config().reward.goal and "does not say" in other.notes[0]


def test_what_cannot_be_inspected_is_told(debug_config: Config) -> None:
    with pytest.raises(PlayerError, match="7 observations: it was not made for laser hockey"):
        InspectedAgent.of("cart", Dreamer(debug_config.dreamer, 7, 2), {"sha256": ""})
    with pytest.raises(CheckpointError, match="rewards that this version does not know"):
        InspectedAgent.of("new", Dreamer(debug_config.dreamer, 18, 4), {"sha256": "", "reward": {"style": 1.0}})


def test_scenes_hold_what_was_real_and_what_was_dreamed(drawn: DreamExamples, held_out: HeldOut) -> None:
    assert drawn.source == OWN and drawn.chosen
    starts = [episode.obs[start : start + CONTEXT] for episode in held_out.episodes[OWN] for start in range(0, 250, 10)]
    for example in drawn.chosen:
        assert any(np.array_equal(example.seen, start) for start in starts)
        assert np.array_equal(example.seen[-1], example.real[0])
        assert example.dreams.shape == (DREAMS, 31, 18) and example.goes_on.shape == (DREAMS, 31)
        # Each dream has a chance of its own; nothing moves in those of a model that has learned nothing.
        assert not np.array_equal(example.goes_on[0], example.goes_on[1])
        after = re.search(r"after (\d+) steps", example.title)
        assert after is None or int(after[1]) == example.steps_left
    low, median, high = drawn.errors["puck"]
    assert (low <= median).all() and (median <= high).all() and median.shape == (31,)


def test_a_dream_ends_where_it_expects_the_end(drawn: DreamExamples) -> None:
    goes_on = np.ones((3, 31), dtype=np.float32)
    goes_on[1, 12:] = 0.1
    example: DreamExample = replace(drawn.chosen[0], goes_on=goes_on)
    assert example.dream_ends(20) == [20, 12, 20] and example.dream_ends(5) == [5, 5, 5]


def test_rounds_without_goals_or_motion_give_a_scene_too(inspected: InspectedAgent) -> None:
    still = replace(round_of(40, terminal=False), obs=np.zeros((41, 18), dtype=np.float32))
    shown = choose_examples(inspected.agent, HeldOut({RECORDED: [still]}, {RECORDED: 1}), 1)
    assert [example.title for example in shown.chosen] == ["The longest round"]


def test_the_pictures_are_pictures(inspection: Inspection, drawn: DreamExamples, tmp_path: Path) -> None:
    write_png(inspection, drawn, tmp_path / "new" / "dream.png")
    with Image.open(tmp_path / "new" / "dream.png") as picture:
        assert picture.format == "PNG" and picture.width > 1000
    counted: list[tuple[int, int]] = []
    frames = write_gif(drawn.chosen[:1], tmp_path / "dream.gif", lambda *done: counted.append(done))
    with Image.open(tmp_path / "dream.gif") as movie:
        # Frames that look alike are stored as one that stays longer.
        assert movie.format == "GIF" and 1 < movie.n_frames <= frames <= CONTEXT + 30  # type: ignore[attr-defined]
    assert counted[-1] == (frames, frames)
