"""Everything a training goes on from, in memory and on the disk.

A save holds the weights, optimisers and generators of the agent, the replay, the league, the counters, the
rounds in play (as the actions played so far: the rink is deterministic, so they are simply played again) and
what each dreamer remembers of them. A run continued from it makes exactly the updates that the unbroken run
would have made.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file as load_arrays
from safetensors.numpy import save as array_bytes
from safetensors.torch import load_file as load_tensors
from safetensors.torch import save as tensor_bytes

from competitor.config import SELF, Config
from competitor.errors import PlayerError, ResumeError
from competitor.play.rounds import RoundRunner, RoundSetup, RunningRound
from competitor.play.sizes import mirror, sizes
from competitor.players import DreamerPlayer, Player
from competitor.rink import Mode
from competitor.train.facts import FORMAT, Counters, SavedRound, read_facts
from competitor.train.league import League
from competitor.train.matchmaker import Matchmaker
from competitor.train.metrics import Averages
from competitor.train.placement import FORMER, Placement
from competitor.train.roster import Roster, listed_players
from competitor.train.run_directory import RunDirectory
from dreamer.agent import Dreamer
from dreamer.checkpoint import load_checkpoint, load_training_state, save_checkpoint, save_training_state
from dreamer.errors import DreamerError
from dreamer.files import atomic_write_bytes, atomic_write_text
from dreamer.pipeline import Pipeline
from dreamer.replay import EpisodeBuffer

DAMAGED = SafetensorError, OSError, LookupError, TypeError, ValueError, ArithmeticError, AttributeError, RuntimeError
"""What reading a damaged file raises."""


@dataclass
class TrainingState:
    """The parts of a training; `runner` is None until the warm-up is over."""

    agent: Dreamer
    pipeline: Pipeline
    replay: EpisodeBuffer
    league: League
    roster: Roster
    matchmaker: Matchmaker
    learner: DreamerPlayer
    warmup_generator: np.random.Generator
    counters: Counters = field(default_factory=Counters)
    averages: Averages = field(default_factory=lambda: Averages({}, {}))
    runner: RoundRunner | None = None

    def open_runner(self, config: Config, running: list[RunningRound] | None = None) -> RoundRunner:
        """Begin the first rounds of the learner and its opponents, or the rounds that were in play."""
        who = self.learner, self.roster, self.matchmaker
        self.runner = RoundRunner(config.training.rinks, *who, **config.rink.model_dump(), running=running)
        return self.runner


def new_state(
    config: Config, run: RunDirectory, listed: Mapping[str, Player], placement: Placement = FORMER
) -> TrainingState:
    """A training that has not begun; every chance in it comes from [run] seed. listed: see `listed_players`."""
    seeds = np.random.SeedSequence(config.run.seed).generate_state(4)
    obs_size, action_size = sizes(config)
    agent = Dreamer(config.dreamer, obs_size, action_size, seed=int(seeds[0]) % 2**31)
    if run.start is not None:
        agent.load_state_dict(load_checkpoint(run.start)[0].state_dict())
    agent.settle(torch.device(placement.device))
    replay = EpisodeBuffer(config.replay, obs_size, action_size, mirror=mirror(config), seed=int(seeds[1]))
    state = _assemble(config, run, listed, agent, replay, np.random.default_rng(seeds[2]))
    state.warmup_generator = np.random.default_rng(seeds[3])
    return state


def _assemble(
    config: Config,
    run: RunDirectory,
    listed: Mapping[str, Player],
    agent: Dreamer,
    replay: EpisodeBuffer,
    generator: np.random.Generator,
) -> TrainingState:
    league = League(config.league.shares, config.league.pool_size)
    pipeline = Pipeline(agent, overlap=config.training.overlap)
    roster = Roster(pipeline.player, listed, lambda name: load_checkpoint(run.league / name)[0].settle(agent.device))
    return TrainingState(
        agent=agent,
        pipeline=pipeline,
        replay=replay,
        league=league,
        roster=roster,
        matchmaker=Matchmaker(config, league, roster, generator),
        learner=DreamerPlayer(pipeline.player, "learner", deterministic=False),
        warmup_generator=generator,
    )


def write_state(directory: Path, state: TrainingState) -> None:
    """Fill `directory` with a save. Raises OSError or CheckpointError when the disk refuses."""
    assert state.runner is not None, "there is nothing to save before the warm-up is over"
    state.pipeline.finish()
    save_checkpoint(directory / "agent", state.agent, {})
    state.pipeline.save(directory)
    save_training_state(directory, state.pipeline.updater)
    state.replay.save(directory)
    running = state.runner.running_rounds()
    tensors = {f"learner/{key}": value for key, value in state.learner.memory().items()}
    for name, player in state.roster.dreamers().items():
        tensors |= {f"{name}/{key}": value for key, value in player.memory().items()}
        if name != SELF:  # who draws from the generator of the agent that learns
            tensors[f"{name}/generator"] = player.agent.generator.get_state()
    data = tensor_bytes({key: value.contiguous() for key, value in tensors.items()})
    atomic_write_bytes(directory / "players.safetensors", data)
    arrays = {str(played.rink): np.ascontiguousarray(played.actions) for played in running}
    atomic_write_bytes(directory / "rounds.safetensors", array_bytes(arrays))
    facts = {
        "format": FORMAT,
        "device": state.agent.device.type,
        "counters": asdict(state.counters),
        "league": state.league.to_json(),
        "matchmaker": state.matchmaker.to_json(),
        "averages": asdict(state.averages),
        "past": list(state.roster.past),
        "rounds": [{"rink": one.rink, **asdict(one.setup), "mode": one.setup.mode.name} for one in running],
    }
    atomic_write_text(directory / "trainer.json", json.dumps(facts))


def read_state(directory: Path, config: Config, run: RunDirectory, placement: Placement = FORMER) -> TrainingState:
    """Read what `write_state` wrote.

    Raises ResumeError when the save is damaged, incomplete, or of a model of other sizes than `config` says, and when
    an opponent cannot be loaded.
    """
    try:
        return _read_state(directory, config, run, placement)
    except (PlayerError, DreamerError) as error:
        raise ResumeError(f"{run.path} cannot be continued: {error}") from error
    except DAMAGED as error:
        raise ResumeError(f"{run.path} cannot be continued: its save {directory.name} is damaged ({error})") from error


def _read_state(directory: Path, config: Config, run: RunDirectory, placement: Placement) -> TrainingState:
    facts = read_facts(directory / "trainer.json")
    agent = _read_agent(directory, config).settle(torch.device(placement.device))
    obs_size, action_size = sizes(config)
    replay = EpisodeBuffer.load(directory, config.replay, obs_size, action_size, mirror=mirror(config))
    in_play = [played.opponent for played in facts.rounds if played.opponent not in facts.past]
    state = _assemble(config, run, listed_players(config, in_play), agent, replay, np.random.default_rng(0))
    for name in facts.past:
        state.roster.bring_past(name)
    state.counters = facts.counters
    state.averages = facts.averages
    state.league.restore(facts.league.model_dump())
    state.open_runner(config, _read_rounds(directory, facts.rounds))
    state.matchmaker.restore(facts.matchmaker.model_dump())
    _restore_players(directory, state, config.training.rinks, same_device=facts.device == agent.device.type)
    # Last of all: taking up the rounds has asked the players, who drew from the agent's generator.
    load_training_state(directory, state.pipeline.updater)
    state.pipeline.load(directory)
    return state


def _read_agent(directory: Path, config: Config) -> Dreamer:
    """An agent of the settings in `config` with the saved weights; they must have the same shapes."""
    saved, _ = load_checkpoint(directory / "agent")
    agent = Dreamer(config.dreamer, *sizes(config))
    weights = saved.state_dict()
    own = agent.state_dict()
    fits = own.keys() == weights.keys() and all(own[key].shape == weights[key].shape for key in own)
    if saved.config.model != config.model or not fits:
        raise ResumeError("the saved model has other sizes than the settings say; sizes cannot change on resume")
    agent.load_state_dict(weights)
    return agent


def _restore_players(directory: Path, state: TrainingState, rinks: int, *, same_device: bool) -> None:
    tensors = load_tensors(directory / "players.safetensors")
    for name, player in {"learner": state.learner, **state.roster.dreamers()}.items():
        memory = {key.removeprefix(f"{name}/"): value for key, value in tensors.items() if key.startswith(f"{name}/")}
        memory = {key: value for key, value in memory.items() if "/" not in key}  # the name may be a path's beginning
        generator = memory.pop("generator", None)
        if generator is not None and same_device:  # states of generators do not carry over to another
            player.agent.generator.set_state(generator)
        if memory and len(memory["is_fresh"]) not in (0, rinks):
            raise ValueError(f"players.safetensors does not hold the memory of {name} on {rinks} rinks")
        if memory:  # else it has come to the list since
            player.remember(memory)


def _read_rounds(directory: Path, saved: list[SavedRound]) -> list[RunningRound]:
    actions = load_arrays(directory / "rounds.safetensors")
    setups = [RoundSetup(**one.model_dump(exclude={"rink"}) | {"mode": Mode[one.mode]}) for one in saved]
    pairs = zip(saved, setups, strict=True)
    return [RunningRound(one.rink, setup, actions[str(one.rink)]) for one, setup in pairs]
