"""What comes before the first own step: rounds that others play, and the weights that a run may start from."""

from collections.abc import Callable
from itertools import chain
from typing import Any

import numpy as np

from competitor.config import Config
from competitor.errors import ConfigError
from competitor.play.rounds import Round
from competitor.play.sizes import sizes
from competitor.play.warmup import play_lessons, play_warmup
from competitor.players import Player, checkpoint_path
from competitor.rink import RinkBatch
from competitor.train.roster import listed_players, sampling_player
from competitor.train.savepoint import TrainingState
from dreamer.agent import Dreamer
from dreamer.checkpoint import load_checkpoint


def play_opening(
    state: TrainingState, config: Config, *, on_round: Callable[[Round], None], on_step: Callable[[], None]
) -> None:
    """Fill the replay with rounds between basic opponents, then with lessons, and count their steps.

    on_step is called before every step; what it raises ends the play.
    """
    where: dict[str, Any] = config.rink.model_dump()
    where |= {"rinks": config.training.rinks, "on_round": on_round, "on_step": on_step}
    count, chance = config.training.lesson_rounds, state.warmup_generator
    plain = play_warmup(config.training.warmup_rounds, chance, **where)
    lessons = play_lessons(count, chance, *lesson_players(config), **where) if count else []
    steps = 0
    for played, taught in chain(((played, ()) for played in plain), lessons):
        for view in (0, 1):
            state.replay.add(played.episode(view, config.reward, lesson=view in taught))
        steps += played.steps
    counters = state.counters
    counters.warmup_steps = counters.environment_steps = steps
    # Counted from here on: who has not learned yet has no place in the league.
    counters.next_evaluation = steps + config.training.evaluate_every_steps
    counters.next_snapshot = steps + config.league.snapshot_every_steps


def lesson_players(config: Config) -> tuple[Player, list[Player]]:
    """The teacher, and whom it plays in its lessons: its like, and the others that [league.opponents] names.

    Raises PlayerError and the like when one of them is nobody or cannot be loaded; see `make_player`.
    """
    name = config.training.teacher
    others = listed_players(config, [name])
    return sampling_player(name, config), [others.pop(name), *others.values()]


def try_players(config: Config) -> None:
    """Let everybody whom a run of these settings meets act once, before there is a run.

    Raises PlayerError and the like when one of them cannot be loaded or cannot play on this rink; EngineError.
    """
    players = lesson_players(config)[1] if config.training.lesson_rounds else listed_players(config).values()
    rink = RinkBatch(1, **config.rink.model_dump())
    rink.reset(0, one_starting=True, seed=0)
    for player in players:
        player.reset(1)
        player.act(rink.obs[0], np.ones(1, dtype=np.bool_))


def read_start(spec: str, config: Config) -> tuple[Dreamer, dict[str, Any]]:
    """The checkpoint `spec` (as for `evaluate`) with its card, to begin a run of these settings with.

    Raises CheckpointError when it cannot be read, ConfigError, which names the settings, when its sizes do not fit.
    """
    agent, card = load_checkpoint(checkpoint_path(spec))
    differ = [] if (agent.obs_size, agent.action_size) == sizes(config) else ["rink.keep_mode"]
    theirs, ours = agent.config.model, config.model
    for key in type(ours).model_fields:
        there, here = getattr(theirs, key), getattr(ours, key)
        if there != here:
            differ.append(f"model.{key} ({there} there, {here} here)")
    if differ:
        raise ConfigError(f"a run of these settings cannot start from {spec}: it differs in {', '.join(differ)}")
    return agent, card


def without_prelude(config: Config) -> Config:
    """The settings of a run that starts from weights: they know already what the prelude teaches."""
    training = config.training.model_copy(update={"lesson_rounds": 0, "prelude_updates": 0})
    return config.model_copy(update={"training": training})
