"""Settings that earlier versions had: their files and cards are read as long as they say what holds today."""

from collections.abc import Callable, Mapping
from typing import Any

from dreamer.config import BehaviorConfig, LossConfig, ModelConfig, OptimizerConfig

Values = dict[str, Any]
"""A table of settings for each section; whatever a file may hold."""
Former = Mapping[str, Mapping[str, Any]]
"""section -> former setting -> what holds today, or a function that tells it from all settings."""


class FormerSettingError(ValueError):
    """A setting that is gone says something else than what holds today."""

    def __init__(self, section: str, key: str, value: object, today: object) -> None:
        self.section, self.key, self.value, self.today = section, key, value, today
        super().__init__(f"{key} was a setting until version 0.3 and is fixed at {_shown(today)} now")


def same_as(section: str, key: str) -> Callable[[Values], Any]:
    """What holds today is the value of another setting."""
    return lambda values: values[section].get(key)


def of_kind(dreamerv3: object, seed: object) -> Callable[[Values], Any]:
    """What holds today follows from model.kind."""
    return lambda values: seed if _is_seed(values) else dreamerv3


def _is_seed(values: Values) -> bool:
    model = values.get("model")
    return isinstance(model, dict) and model.get("kind") == "seed"


def _constants(section: type, *names: str) -> dict[str, Any]:
    return {name: getattr(section, name) for name in names}


KINDS, LATENTS = ("dreamerv3", "seed"), ("categorical", "gaussian")

FORMER: Former = {
    "model": {
        "latent": of_kind(*LATENTS),
        **_constants(ModelConfig, "layers", "unimix", "gaussian_min_std", "gaussian_size"),
        "embedding": same_as("model", "units"),
        "head_units": same_as("model", "units"),
        "norm": of_kind("rms", "none"),
        "activation": of_kind("silu", "elu"),
        "normalize": of_kind(True, False),
        "input_constant": False,
        "input_waves": 0,
    },
    "loss": {
        **_constants(LossConfig, "decoder_min_std", "bins", "bin_limit"),
        "decoder": of_kind("gaussian", "mse"),
        "heads": of_kind("twohot", "mse"),
        "kl_dynamics": lambda values: values["loss"].get("kl_representation") if _is_seed(values) else 1.0,
        "free_nats": of_kind(1.0, 0.0),
    },
    "behavior": {
        **_constants(BehaviorConfig, "min_std", "max_std", "slow_rate"),
        "actor": of_kind("categorical", "tanh_normal"),
        "action_values": list(BehaviorConfig.action_values),
        "return_scale": of_kind("percentile", "none"),
        "slow_target": of_kind(False, True),
        "slow_regularization": of_kind(1.0, 0.0),
    },
    "optimizer": {
        **_constants(OptimizerConfig, "clip", "beta1", "beta2"),
        "epsilon": lambda values: 1e-8 if values["optimizer"].get("kind") == "adam" else 1e-20,
        "deviation_rate": same_as("optimizer", "world_rate"),
    },
    "replay": {"end_share": 0.0, "mirror": True},
}


def name_kind(values: Values) -> None:
    """Change `values` from before there was model.kind: the latent tells it."""
    model = values.get("model")
    if isinstance(model, dict) and model.get("latent") in LATENTS and "kind" not in model:
        model["kind"] = KINDS[LATENTS.index(model.pop("latent"))]


def drop_former(values: Values, former: Former = FORMER) -> None:
    """Take what was a setting once out of `values`. Raises FormerSettingError where it says what cannot be had now."""
    for section, keys in former.items():
        table = values.get(section)
        if not isinstance(table, dict):
            continue
        for key in sorted(keys.keys() & table.keys()):
            today = keys[key](values) if callable(keys[key]) else keys[key]
            if table[key] != today:
                raise FormerSettingError(section, key, table[key], today)
            del table[key]


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
