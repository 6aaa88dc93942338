"""The commands `sparring ...` as a user types them."""

import importlib.util
from pathlib import Path

import pytest

import cli
from competitor.sparring import commands
from competitor.sparring.recipes import load_recipe
from competitor.sparring.run import Run, held

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def narrow_screen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)


def test_the_recipes_are_listed(capsys: Captured) -> None:
    assert cli.run(["sparring", "recipes"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "veteran" in shown and "TQC" in shown and "hours of gated self-play" in shown


def test_the_partners_are_listed_with_their_results(capsys: Captured) -> None:
    assert cli.run(["sparring", "list"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "striker" in shown and "champion" in shown and "steps since the catch" in shown


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 2, "give a RECIPE to begin, or --resume RUN"),
        (["striker", "--resume", "runs/x"], 2, "give a RECIPE to begin, or --resume RUN"),
        (["--resume", "runs/x", "--set", "seed=1"], 2, "--resume uses the run's own recipe"),
    ],
)
def test_contradictions_are_usage_errors(arguments: list[str], code: int, said: str, capsys: Captured) -> None:
    assert cli.run(["sparring", "train", *arguments]) == code
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "striker", "--run", "../../x"],
        ["train", "striker", "--run", ""],
        ["train", "striker", "--minutes", "nan"],
        ["train", "striker", "--minutes", "inf"],
        ["export", "runs/x", "--rounds", "99999999999999999999"],
        ["export", "runs/x", "--seed", "18446744073709551616"],
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_made(arguments: list[str], capsys: Captured) -> None:
    assert cli.run(["sparring", *arguments]) == 2
    assert arguments[-2] in capsys.readouterr().err and not list(Path().iterdir())


def test_the_place_of_an_export_is_tried_before_the_rounds(capsys: Captured) -> None:
    Path("taken").touch()
    assert cli.run(["sparring", "export", "runs/x", "--to", "taken/partners"]) == 7
    assert "taken/partners cannot be written" in capsys.readouterr().err


@pytest.mark.skipif(importlib.util.find_spec("sbx") is not None, reason="sbx-rl is installed here")
def test_without_sbx_training_says_what_to_install(capsys: Captured) -> None:
    assert cli.run(["sparring", "train", "striker"]) == 18
    err = capsys.readouterr().err
    assert err.startswith("error: training sparring partners needs the extra 'sparring': ")
    assert err.endswith("pip install 'hockey-dreamer[sparring]'\n") and err.count("\n") == 1
    assert not Path("runs").exists()


def test_a_new_run_that_another_process_holds_is_not_written(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    monkeypatch.setattr(commands, "need_sbx", lambda what: None)
    path = Path("runs/sparring/striker")
    with held(path):
        assert cli.run(["sparring", "train", "striker"]) == 19
    assert "the run runs/sparring/striker is in use" in capsys.readouterr().err
    assert [file.name for file in path.iterdir()] == [".lock"]


def test_a_run_without_a_policy_cannot_be_exported(capsys: Captured) -> None:
    Run.create(Path("runs/sparring/new"), load_recipe("striker"))
    assert cli.run(["sparring", "export", "runs/sparring/new"]) == 4
    assert "best.json cannot be read" in capsys.readouterr().err
    assert cli.run(["sparring", "export", "runs/sparring/none"]) == 9


def test_what_is_exported_plays_as_it_was_measured(capsys: Captured) -> None:
    from competitor.players.sparring import partner_names, partner_path, read_partner, write_partner

    run = Run.create(Path("runs/sparring/copy"), load_recipe("striker"))
    policy, card = read_partner(partner_path(partner_names()[0]))
    bare = card.model_copy(update={"name": "copy", "results": {}, "plays": {}, "made": {"updates": 5}})
    write_partner(run.path / "best.safetensors", policy, bare)
    assert cli.run(["sparring", "export", "runs/sparring/copy", "--to", "out", "--rounds", "8"]) == 0
    assert "written to out/copy.safetensors" in capsys.readouterr().out
    _, written = read_partner(Path("out/copy.safetensors"))
    assert written.made["updates"] == 5 and written.made["recipe"]["algorithm"] == "SAC"
    assert cli.run(["evaluate", "sparring:out/copy", "--against", "strong", "--rounds", "8", "--json", "r.json"]) == 0
    import json

    strong = json.loads(Path("r.json").read_text())["results"][0]
    assert [strong[key] for key in ("wins", "draws", "losses")] == [
        written.results["strong"][key] for key in ("won", "drawn", "lost")
    ]
