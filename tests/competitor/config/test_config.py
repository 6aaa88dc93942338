"""config.toml and its models agree, layers win in order, and a wrong setting is told in one line."""

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from competitor.config import Config, known_settings, load_config, parse_override, preset_names, shipped
from competitor.config.errors import keys
from competitor.config.loading import TABLES
from competitor.errors import ConfigError
from dreamer.config import DreamerConfig

SETTING = re.compile(r"^(?P<key>\w+) = (?P<value>[^#]+?) *(?P<comment># .+)?$")


def settings_in_file() -> dict[str, str]:
    """`section.key` -> comment (or an empty string) of every setting above the presets of config.toml."""
    found: dict[str, str] = {}
    section = ""
    for line in shipped("config.toml").read_text().split("# --- presets")[0].splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif match := SETTING.match(line):
            found[f"{section}.{match['key']}"] = match["comment"] or ""
    return found


def all_keys() -> set[str]:
    names = {f"{section}.{key}" for section in Config.model_fields for key in keys(Config, section)}
    return names - set(TABLES) | {f"league.opponents.{name}" for name in load_config().league.opponents}


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_every_setting_stands_in_the_file_with_a_comment() -> None:
    found = settings_in_file()
    assert set(found) == all_keys()
    assert [key for key, comment in found.items() if len(comment) < 12] == []


def test_no_comment_is_used_twice() -> None:
    comments = list(settings_in_file().values())
    assert len(comments) == len(set(comments))


def test_file_and_agent_have_the_same_defaults() -> None:
    assert load_config().dreamer == DreamerConfig()


@pytest.mark.parametrize("preset", preset_names())
def test_presets_are_valid(preset: str) -> None:
    assert isinstance(load_config(preset=preset), Config)


def test_the_promised_presets_exist() -> None:
    assert {"default", "seed", "debug"} <= set(preset_names())


def test_seed_preset_has_the_sizes_of_the_seed_document() -> None:
    config = load_config(preset="seed")
    assert (config.model.kind, config.model.hidden, config.model.units, config.model.gaussian_size) == (
        *("seed", 256, 256),
        64,
    )
    assert (config.behavior.horizon, config.behavior.lambda_) == (15, 0.95)


@pytest.mark.parametrize("preset", preset_names())
def test_written_settings_are_read_back_equal(preset: str, tmp_path: Path) -> None:
    config = load_config(preset=preset)
    assert load_config(write(tmp_path / "config.toml", config.to_toml())) == config


def test_later_layers_win(tmp_path: Path) -> None:
    mine = write(
        tmp_path / "mine.toml",
        "[training]\nrinks = 5\nwarmup_rounds = 6\nevaluate_rounds = 7\n"
        "[presets.quick.training]\nwarmup_rounds = 60\nevaluate_rounds = 70\n",
    )
    training = load_config(mine, "quick", ["training.evaluate_rounds=700"]).training
    assert (training.rinks, training.warmup_rounds, training.evaluate_rounds) == (5, 60, 700)
    assert training.train_ratio == load_config().training.train_ratio
    assert "quick" in preset_names(mine)


def test_a_file_of_ones_own_may_change_a_shipped_preset(tmp_path: Path) -> None:
    mine = write(tmp_path / "mine.toml", "[presets.debug.training]\nrinks = 3\n")
    config = load_config(mine, "debug")
    assert config.training.rinks == 3
    assert config.model == load_config(preset="debug").model


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("run.seed=3", {"run": {"seed": 3}}),
        ("rink.engine=hockey", {"rink": {"engine": "hockey"}}),
        ("rink.engine='hockey'", {"rink": {"engine": "hockey"}}),
        (" rink.keep_mode = false ", {"rink": {"keep_mode": False}}),
        ("replay.capacity=1_000", {"replay": {"capacity": 1000}}),
        ("a.b=[weak, 1]", {"a": {"b": "[weak, 1]"}}),
        ("a.b=['weak']", {"a": {"b": ["weak"]}}),
        ("rink.engine=a\nseed=3", {"rink": {"engine": "a\nseed=3"}}),
        ("reward.goal=", {"reward": {"goal": ""}}),
        ('league.opponents. "sb3:lr=0.1/a.zip" =0.5', {"league": {"opponents": {"sb3:lr=0.1/a.zip": 0.5}}}),
        ("league.opponents.runs/a.b=1", {"league": {"opponents": {"runs/a.b": 1}}}),
        ("training.teacher=runs/lr=0.1", {"training": {"teacher": "runs/lr=0.1"}}),
    ],
)
def test_overrides(text: str, expected: dict[str, dict[str, object]]) -> None:
    assert parse_override(text) == expected


def test_whole_numbers_are_taken_for_fractions() -> None:
    assert load_config(overrides=["reward.goal=1"]).reward.goal == 1.0


WRONG = [
    ("training.rink=4", "unknown key training.rink = 4; did you mean 'training.rinks'?"),
    ("trainnig.rinks=4", "unknown section [trainnig]; did you mean 'training'?"),
    ("behavior.lamda=0.9", "unknown key behavior.lamda = 0.9; did you mean 'behavior.lambda'?"),
    ("training.rinks=four", 'training.rinks = "four", expected an integer of at least 1'),
    ("training.rinks=0", "training.rinks = 0, expected an integer of at least 1"),
    ("training.rinks=2.5", "training.rinks = 2.5, expected an integer of at least 1"),
    ("training.rinks='4'", 'training.rinks = "4", expected an integer of at least 1'),
    ("training.rinks=true", "training.rinks = true, expected an integer of at least 1"),
    ("rink.keep_mode=1", "rink.keep_mode = 1, expected true or false"),
    ("rink.engine=hokey", 'rink.engine = "hokey", expected one of "builtin", "hockey"'),
    ("model.hidden='256'", 'model.hidden = "256", expected an integer of at least 1'),
    ("behavior.lambda=2", "behavior.lambda = 2, expected a number of at least 0.0 and at most 1.0"),
    ("arena.bots=['a', 1]", "is fixed at ['weak', 'strong', 'champion'] now: give --bots to `arena`"),
    ("arena.host=0.0.0.0", "is fixed at 127.0.0.1 now: give --host to `arena`"),
    ("reward.goal=nan", "reward.goal = nan, expected a finite number"),
    ("league.opponents.weak=nan", "league.opponents.weak = nan, expected a finite number"),
    ('league.opponents.""=1', "expected section.key=value"),
    ("behavior.horizon=5", "lookahead = 5 must be smaller than horizon = 5"),
    ("behavior.siblings=3", "starts = 256 must be a multiple of siblings = 3"),
    ("optimizer.clip=inf", "optimizer.clip = inf, expected a finite number"),
    ("optimizer.clip=0.5", "optimizer.clip = 0.5: clip was a setting until version 0.3 and is fixed at 0.3 now"),
    ("evaluation.rounds=90", "was a setting until version 0.3 and is fixed at 200 now: give --rounds to `evaluate`"),
    ("loss.heads=mse", "heads was a setting until version 0.3 and is fixed at twohot now: leave it out"),
    ("behavior.action_values=[-1, 1]", "is fixed at [-1.0, 0.0, 1.0] now"),
    ("run.seed=2020-01-01", "expected an integer of at least 0 and below 2147483648"),
    ("training.rinks", "expected section.key=value"),
    ("rinks=3", "expected section.key=value"),
    ("a.b.c=3", "expected section.key=value"),
]


@pytest.mark.parametrize(("override", "message"), WRONG)
def test_wrong_overrides_are_told(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(overrides=[override])
    assert str(caught.value).startswith(f"--set {override}: ")
    assert message in str(caught.value)


def test_nobody_to_play_against_is_an_error() -> None:
    nobody = ["league.opponents={weak=0, strong=0}", "league.opponents.self=0"]
    with pytest.raises(ConfigError, match="at least one of the opponents besides 'past' must have a share above 0"):
        load_config(overrides=nobody)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[training]\nrink = 4", "mine.toml: unknown key training.rink = 4"),
        ("training = 4", "mine.toml: training = 4, expected a section, such as [training]"),
        ("[training\n", "is not valid TOML"),
        ("presets = 3", "presets must be tables"),
        ("[presets.default.run]\nseed = 3", "'default' is the file itself"),
        ("[presets.debug.training]\nrinks = 'x'", 'preset debug in mine.toml: training.rinks = "x"'),
        ("[league]\nweak = 0.5\nopponents = 3", "league.opponents = 3, expected a table of opponents"),
        ("[training]\nminutes = -1\ncheckpoint_every_minutes = 0", "(and 1 more)"),
    ],
)
def test_wrong_files_are_told(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(write(tmp_path / "mine.toml", text), "debug")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_and_unreadable_files_are_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no configuration file"):
        load_config(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path)
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="is not valid TOML"):
        load_config(tmp_path / "binary.toml")


def test_unknown_preset_is_told_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="unknown preset 'sed'; did you mean 'seed'"):
        load_config(preset="sed")
    with pytest.raises(ConfigError, match="unknown preset 'xyz'; there are debug, default"):
        load_config(preset="xyz")


def test_a_file_that_begins_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_bytes(b"\xef\xbb\xbf[training]\r\nrinks = 5\r\n")
    assert load_config(mine).training.rinks == 5


@pytest.mark.parametrize("text", ["a = " + "[" * 100_000, "[training]\nrinks = " + "9" * 5000])
def test_absurd_files_are_one_line(text: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not valid TOML") as caught:
        load_config(write(tmp_path / "mine.toml", text))
    assert len(str(caught.value)) < 300


def numbers(section: str) -> list[str]:
    """The settings of a section that are numbers."""
    properties = Config.model_fields[section].annotation.model_json_schema()["properties"]  # type: ignore[union-attr]
    return [f"{section}.{key}" for key, about in properties.items() if about.get("type") in ("integer", "number")]


@pytest.mark.parametrize("key", [key for section in Config.model_fields for key in numbers(section)])
@pytest.mark.parametrize("value", ["1e300", "-1e300", "9" * 30, "9" * 5000, "inf", "nan"])
def test_every_number_has_a_range(key: str, value: str) -> None:
    with pytest.raises(ConfigError, match=key) as caught:
        load_config(overrides=[f"{key}={value}"])
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("section", ["model", "behavior", "replay"])
def test_no_size_is_taken_that_no_machine_holds(section: str) -> None:
    properties = Config.model_fields[section].annotation.model_json_schema()["properties"]  # type: ignore[union-attr]
    sizes = [key for key, about in properties.items() if about.get("maximum") and about["type"] == "integer"]
    assert sizes
    for key in sizes:
        with pytest.raises(ConfigError, match=f"{section}.{key} = 10000000000, expected an integer"):
            load_config(overrides=[f"{section}.{key}=10_000_000_000"])
    with pytest.raises(
        ConfigError, match="model.hidden = 10000000, expected an integer of at least 1 and at most 4096"
    ):
        load_config(overrides=["model.hidden=10000000"])


@pytest.mark.parametrize("value", ["\udc80", "a\udcffb"])
def test_text_that_is_none_is_told(value: str) -> None:
    with pytest.raises(ConfigError, match="expected text in UTF-8"):
        load_config(overrides=[f"rink.engine={value}"])


def test_opponents_are_a_table_that_is_laid_over(tmp_path: Path) -> None:
    mine = write(tmp_path / "mine.toml", '[league.opponents]\nweak = 0\n"sparring:striker" = 0.4\n')
    league = load_config(mine, overrides=["league.opponents.runs/a.b=2"]).league
    assert league.opponents["weak"] == 0 and league.opponents["runs/a.b"] == 2.0
    assert list(league.shares) == ["strong", "self", "past", "sparring:striker", "runs/a.b"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("league.opponents.weak=-1", "league.opponents.weak = -1, expected a number of at least 0.0"),
        ("league.opponents.weak=much", 'league.opponents.weak = "much", expected a number of at least 0.0'),
        ("league.opponents.weak=nan", "expected a finite number"),
        ("league.opponents=3", "league.opponents = 3, expected a table of opponents and their shares"),
        ("league.opponents.=3", "expected section.key=value"),
    ],
)
def test_wrong_shares_are_told(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(overrides=[override])
    assert message in str(caught.value)


def test_files_of_earlier_versions_are_read(tmp_path: Path) -> None:
    text = "[league]\nweak = 0.5\npast = 0\nactive_snapshots = 3\nredraw_rounds = 8\npfsp = 'variance'\npfsp_power = 1"
    league = load_config(write(tmp_path / "old.toml", text)).league
    assert league.opponents == {"weak": 0.5, "past": 0.0, "strong": 0.3, "self": 0.2}
    assert known_settings(tmp_path / "old.toml") == {"league.opponents"}


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError):
        load_config().run.seed = 3  # type: ignore[misc]


@pytest.mark.parametrize("depth", [9, 250, 3000])
@pytest.mark.parametrize("name", ["run.seed", "league.opponents", "x.y"])
def test_settings_nested_too_deeply(name: str, depth: int) -> None:
    with pytest.raises(ConfigError, match="nested too deeply"):
        load_config(overrides=[f"{name}={{{'.'.join('a' * depth)}=1}}"])


def test_a_latent_that_never_was() -> None:
    with pytest.raises(ConfigError, match='model.latent = "x": latent was a setting until'):
        load_config(overrides=['model.latent="x"'])


FORMER = """
[evaluation]
rounds = 200
rinks = 128
[training]
shooting_share = 0.05
[compete]
retry_most_s = 60.0
[model]
latent = "{latent}"
norm = "{norm}"
normalize = {normalize}
gaussian_size = 64
layers = 2
embedding = {units}
head_units = {units}
activation = "{activation}"
[loss]
decoder = "{decoder}"
heads = "{heads}"
kl_dynamics = {kl}
free_nats = {free}
[behavior]
actor = "{actor}"
action_values = [-1, 0, 1]
return_scale = "{scale}"
slow_target = {target}
slow_regularization = {slow}
[optimizer]
deviation_rate = 1.2e-3
epsilon = {epsilon}
clip = 0.3
[replay]
mirror = true
"""


DREAMERV3 = {
    "units": 128, "latent": "categorical", "norm": "rms", "normalize": "true", "activation": "silu",
    "decoder": "gaussian", "heads": "twohot", "kl": 1.0, "free": 1.0,
    "actor": "categorical", "scale": "percentile", "target": "false", "slow": 1.0, "epsilon": 1e-20,
}  # fmt: skip
SEED = {
    "units": 256, "latent": "gaussian", "norm": "none", "normalize": "false", "activation": "elu",
    "decoder": "mse", "heads": "mse", "kl": 0.02, "free": 0.0,
    "actor": "tanh_normal", "scale": "none", "target": "true", "slow": 0.0, "epsilon": 1e-8,
}  # fmt: skip


@pytest.mark.parametrize(("preset", "said", "other"), [("default", DREAMERV3, SEED), ("seed", SEED, DREAMERV3)])
def test_former_settings_that_say_what_holds_today_are_left_out(
    preset: str, said: dict[str, object], other: dict[str, object], tmp_path: Path
) -> None:
    older = write(tmp_path / "older.toml", FORMER.format(**said))
    assert load_config(older, preset) == load_config(preset=preset)
    changed = ("norm", "normalize", "activation", "decoder", "heads", "kl", "free", "actor", "target", "epsilon")
    for name in changed:
        mixed = write(tmp_path / "mixed.toml", FORMER.format(**said | {name: other[name]}))
        with pytest.raises(ConfigError, match=r"^mixed.toml: \w+\.\w+ = .* was a setting until version 0\.3"):
            load_config(mixed, preset)
