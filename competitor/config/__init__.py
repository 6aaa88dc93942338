"""Every setting of a run: `load_config` reads them, `Config` holds them."""

from competitor.config.former import BEFORE as BEFORE
from competitor.config.loading import as_overrides as as_overrides
from competitor.config.loading import known_settings as known_settings
from competitor.config.loading import load_config as load_config
from competitor.config.loading import load_run_config as load_run_config
from competitor.config.loading import parse_override as parse_override
from competitor.config.loading import preset_names as preset_names
from competitor.config.loading import read_toml as read_toml
from competitor.config.loading import shipped as shipped
from competitor.config.models import PAST as PAST
from competitor.config.models import SELF as SELF
from competitor.config.models import ArenaConfig as ArenaConfig
from competitor.config.models import CompeteConfig as CompeteConfig
from competitor.config.models import Config as Config
from competitor.config.models import RewardWeights as RewardWeights
from competitor.config.models import RunConfig as RunConfig
from competitor.config.models import TrainingConfig as TrainingConfig
