"""Every setting of a run: `load_config` reads them, `Config` holds them."""

from competitor.config.loading import (
    as_overrides,
    known_settings,
    load_config,
    parse_override,
    preset_names,
    read_toml,
    shipped,
)
from competitor.config.models import (
    PAST,
    SELF,
    ArenaConfig,
    CompeteConfig,
    Config,
    LeagueConfig,
    RewardWeights,
    RunConfig,
    TrainingConfig,
)

__all__ = [
    "PAST",
    "SELF",
    "ArenaConfig",
    "CompeteConfig",
    "Config",
    "LeagueConfig",
    "RewardWeights",
    "RunConfig",
    "TrainingConfig",
    "as_overrides",
    "known_settings",
    "load_config",
    "parse_override",
    "preset_names",
    "read_toml",
    "shipped",
]
