"""The systemd unit, the Dockerfile and docs/compete.md name commands, files and exit codes that exist."""

import json
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import click
import pytest

import cli
from competitor import errors

ROOT = Path(cli.__file__).parent
INSTALLED = Path("/opt/hockey-dreamer")
LONGEST_MATCH_S = 1004 * 10
CHECKPOINT = 4
OF_OTHER_COMMANDS = {kind.exit_code for kind in (errors.EngineError, errors.ResumeError, errors.BusyError)}


def unit() -> dict[str, list[str]]:
    """Settings of the unit by name, in order; continued lines are joined."""
    found: dict[str, list[str]] = {}
    text = (ROOT / "deploy/hockey-dreamer.service").read_text().replace("\\\n", " ")
    for line in text.splitlines():
        if line and line[0] not in "#[":
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


def docker() -> dict[str, list[str]]:
    """Arguments of the Dockerfile's instructions by name."""
    found: dict[str, list[str]] = {}
    for line in (ROOT / "Dockerfile").read_text().replace("\\\n", " ").splitlines():
        if line and line[0] != "#":
            name, _, rest = line.partition(" ")
            found.setdefault(name, []).append(rest)
    return found


def options_of(words: list[str]) -> dict[str, object]:
    """What click makes of a command line; raises for an unknown option."""
    name, *arguments = words
    command = cli.cli.commands[name]
    return dict(command.make_parser(click.Context(command, info_name=name)).parse_args(arguments)[0])


def seconds(text: str) -> int:
    number, unit = re.fullmatch(r"(\d+)(s|min|h)", text).groups()  # type: ignore[union-attr]
    return int(number) * {"s": 1, "min": 60, "h": 3600}[unit]


def test_the_unit_starts_a_command_that_exists() -> None:
    (command,) = unit()["ExecStart"]
    python, script, *words = shlex.split(command)
    assert Path(python).relative_to(INSTALLED) == Path(".venv/bin/python")
    assert (ROOT / Path(script).relative_to(INSTALLED)).is_file()
    options = options_of(words)
    assert options["checkpoint"] == "champion"
    assert str(options["token_file"]).startswith("${CREDENTIALS_DIRECTORY}/token")
    (credential,) = unit()["LoadCredential"]
    assert credential.startswith("token:")
    assert not {"Environment", "EnvironmentFile"} & unit().keys()


def test_the_unit_lets_a_match_end_and_is_not_started_again_in_vain() -> None:
    settings = unit()
    assert seconds(settings["TimeoutStopSec"][0]) > LONGEST_MATCH_S
    assert settings["KillMode"] == ["mixed"]
    assert "-HUP" in settings["ExecReload"][0]
    assert settings["Restart"] == ["on-failure"]
    fatal = {kind.exit_code for kind in vars(errors).values() if is_fatal(kind)} - OF_OTHER_COMMANDS
    codes = {int(code) for code in settings["RestartPreventExitStatus"][0].split()}
    assert codes == (fatal | {2, CHECKPOINT}) - {errors.CompetitorError.exit_code}
    assert settings["SuccessExitStatus"] == [str(errors.EXIT_INTERRUPTED)]


def is_fatal(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, errors.FatalError)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    text = (ROOT / "deploy/hockey-dreamer.service").read_text()
    installed = tmp_path / "hockey-dreamer.service"
    installed.write_text(text.replace(f"{INSTALLED}/.venv/bin/python", sys.executable))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(installed)], capture_output=True, text=True, timeout=60
    )
    assert [line for line in done.stderr.splitlines() if "hockey-dreamer" in line] == []


def test_the_container_starts_commands_that_exist() -> None:
    instructions = docker()
    (entry,), (command,) = instructions["ENTRYPOINT"], instructions["CMD"]
    assert json.loads(entry) == ["hockey-dreamer"]
    assert options_of(json.loads(command))["checkpoint"] == "champion"
    (health,) = instructions["HEALTHCHECK"]
    assert json.loads(health[health.index("[") :]) == ["hockey-dreamer", "status"]
    assert instructions["USER"] == ["player"]
    assert instructions["WORKDIR"][-1] == instructions["VOLUME"][0] == "/data"


def copied() -> list[str]:
    """Files and folders of the project that the Dockerfile copies."""
    return [name for line in docker()["COPY"] for name in line.split()[:-1]]


def test_the_container_gets_exactly_what_it_copies() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    allowed = {line[1:] for line in ignored if line.startswith("!")}
    assert "*" in ignored
    assert allowed == set(copied())
    assert all((ROOT / name).exists() for name in allowed)


def test_what_is_copied_is_enough_to_install(tmp_path: Path) -> None:
    for name in copied():
        source = ROOT / name
        shutil.copytree(source, tmp_path / name) if source.is_dir() else shutil.copy(source, tmp_path / name)
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(tmp_path / "wheel")]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(tmp_path)], check=True, timeout=120)
    (wheel,) = (tmp_path / "wheel").iterdir()
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    wanted = {"competitor/daemon/compete.py", "competitor/data/checkpoints/champion.safetensors", "cli.py"}
    assert wanted | {"competitor/data/config.toml"} <= names
    served = {
        str(path.relative_to(ROOT))
        for part in ("arena/pages", "viewer/static")
        for path in (ROOT / "competitor" / part).iterdir()
    }
    assert served and served <= names


def test_every_exit_code_of_compete_is_explained() -> None:
    table = re.findall(r"^\| (\d+) \|", (ROOT / "docs/compete.md").read_text(), re.MULTILINE)
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    own = {kind.exit_code for kind in kinds if issubclass(kind, errors.CompetitorError)}
    assert {int(code) for code in table} == {0, 2, CHECKPOINT, errors.EXIT_INTERRUPTED, *own} - OF_OTHER_COMMANDS


def test_the_first_example_is_five_commands() -> None:
    block = (ROOT / "docs/compete.md").read_text().split("```")[1].strip().splitlines()
    assert len(block) == 5
    assert options_of(shlex.split(block[3].split("cli.py ")[1]))["token_file"] == "token"
    assert "/token" in (ROOT / ".gitignore").read_text().splitlines()
