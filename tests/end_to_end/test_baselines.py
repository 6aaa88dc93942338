"""`benchmarks/baselines.py`: a stock learner meets what the dreamer meets, and curves of both are drawn together."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from PIL import Image

from benchmarks import baselines
from competitor.config import load_config


def test_a_stock_learner_has_the_dreamer_s_opponents_and_rewards() -> None:
    config = load_config(overrides=["reward.goal=7.0", "league.opponents.weak=0.4"])
    recipe = baselines.stock("TD3", 3, 1, config)
    assert recipe.opponents == {"weak": 0.4, "strong": 0.3, "self": 0.2, "pool": 0.3}
    assert (recipe.reward.goal, recipe.reward.conceded, recipe.reward.bank) == (7.0, 7.0, 0.0)
    assert recipe.reward.direction == config.reward.direction
    assert (recipe.algorithm, recipe.steps, recipe.begins_from) == ("TD3", 1, "")


def curve(path: Path, **about: Any) -> Path:
    won = {"wins": 1, "draws": 0, "losses": 1, "win_rate": 0.5, "ci95": [0.1, 0.9]}
    points = [
        {"minutes": 10.0 * at, "updates": 5 * at, "environment_steps": 50 * at, "against": {"weak": won, "strong": won}}
        for at in (1, 2)
    ]
    path.write_text(json.dumps(about | {"seed": 1, "points": points}))
    return path


def test_curves_of_both_are_drawn_beside_each_other(tmp_path: Path) -> None:
    files = [curve(tmp_path / "sac.json", learner="SAC"), curve(tmp_path / "dream.json")]
    drawn = tmp_path / "comparison.png"
    shown = CliRunner().invoke(baselines.main, ["draw", *map(str, files), "--plot", str(drawn)])
    assert shown.exit_code == 0 and "SAC (sac)" in shown.output and "dreamer (dream)" in shown.output
    with Image.open(drawn) as picture:
        assert picture.format == "PNG"


def test_a_baseline_is_measured_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sbx", reason="sbx-rl is not installed: pip install 'hockey-dreamer[sparring]'")
    monkeypatch.setattr(baselines, "RUNS", tmp_path)
    out = tmp_path / "points.json"
    words = ["train", "SAC", "--seed", "3", "--every", "0.001", "--rounds", "2", "--json", str(out)]
    minutes, points = 0.001, list[Any]()
    for count in (1, 2):
        result = CliRunner().invoke(baselines.main, [*words, "--minutes", str(minutes)])
        assert result.exit_code == 0, result.output
        before, points = points, json.loads(out.read_text())["points"]
        assert points[: len(before)] == before and len(points) == count
        assert points[-1]["against"]["weak"]["rounds"] == 2
        minutes = points[-1]["minutes"] + 0.001
