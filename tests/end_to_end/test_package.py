"""An installed wheel gives the same commands as the checkout, with the settings and the agent that ship."""

import os
import subprocess
import sys
import zipfile
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import cli

ROOT = Path(cli.__file__).parent
SAY_WHERE = """
import cli
from competitor.config import load_config, shipped
load_config(preset="seed")
print(cli.__file__, shipped("config.toml"), shipped("checkpoints"), sep="\\n")
one_step = ["--preset", "debug", "--set", "training.environment_steps=1", "--run", "one"]
raise SystemExit(cli.run(["train", *one_step]))
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked wheel, as pip would lay it into site-packages."""
    folder = tmp_path_factory.mktemp("wheel")
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(ROOT)], check=True)
    (wheel,) = folder.glob("hockey_dreamer-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_wheel_brings_settings_and_checkpoints(site: Path) -> None:
    for file in [ROOT / "config.toml", *filter(Path.is_file, (ROOT / "checkpoints").rglob("*"))]:
        assert (site / "competitor/data" / file.relative_to(ROOT)).read_bytes() == file.read_bytes()
    assert all((site / package / "py.typed").is_file() for package in ("competitor", "dreamer"))


def test_wheel_runs_without_the_checkout(site: Path, tmp_path: Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", SAY_WHERE], cwd=tmp_path, env=env, capture_output=True, text=True, check=True
    )
    packaged = site / "competitor" / "data"
    assert done.stdout.splitlines()[:3] == [
        str(site / "cli.py"),
        str(packaged / "config.toml"),
        str(packaged / "checkpoints"),
    ]
    assert (tmp_path / "runs/one/checkpoints/latest.safetensors").is_file()


def test_the_command_is_installed() -> None:
    (script,) = entry_points(group="console_scripts", name="hockey-dreamer")
    assert script.value == "cli:main"
