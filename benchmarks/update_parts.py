"""The parts of an update and the play that pays for it, each run by itself, and how much arithmetic an update is."""

import statistics
import time
from collections.abc import Callable, Iterator
from itertools import count

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from competitor.config import load_config
from competitor.play.rounds import RoundRunner, RoundSetup
from competitor.players import BasicPlayer, DreamerPlayer, Player
from dreamer import fast
from dreamer.agent import Dreamer
from dreamer.replay import EpisodeBuffer
from dreamer.sequence_model import State, features
from dreamer.update import Updater


def median_ms(work: Callable[[], object], repeats: int) -> list[float]:
    """[median, least, most] milliseconds of ``work`` after two warm-up calls."""
    times = []
    for _ in range(repeats + 2):
        start = time.perf_counter()
        work()
        times.append(1e3 * (time.perf_counter() - start))
    return [statistics.median(times[2:]), min(times[2:]), max(times[2:])]


def peak_gflops(device: torch.device) -> float:
    """Speed of a large matrix product there, with the current number of threads, in 10^9 operations a second."""
    size = 8192 if device.type == "cuda" else 768
    a, b = torch.randn(size, size, device=device), torch.randn(size, size, device=device)
    return 2 * size**3 / (median_ms(lambda: float((a @ b)[0, 0]), 10)[0] * 1e6)


def update_gflop(updater: Updater, replay: EpisodeBuffer) -> float:
    """Operations of all matrix products of one update by the plain modules, forward and backward, in 10^9."""
    with fast.plainly(), FlopCounterMode(display=False) as counter:
        updater.train_step(replay.sample())
    return float(counter.get_total_flops()) / 1e9


def parts(updater: Updater, replay: EpisodeBuffer, repeats: int) -> dict[str, float]:
    """Median milliseconds of the parts of an update in float32; some are parts of others."""
    return {name: median_ms(part, repeats)[0] for name, part in work(updater, replay).items()}


def work(updater: Updater, replay: EpisodeBuffer) -> dict[str, Callable[[], object]]:
    """The parts of an update by name, each to be called by itself."""
    return _world_parts(updater, replay) | _behavior_parts(updater, replay) | _other_parts(updater, replay)


def _world_parts(updater: Updater, replay: EpisodeBuffer) -> dict[str, Callable[[], object]]:
    world, random, batch = updater.agent.world_model, updater.learning_generator, replay.sample()
    given = (batch["obs"], batch["action"], batch["is_first"], updater.context, random)
    seen = features(world.observe_sequence(*given)[0]).detach()
    decoders = [] if world.config.model.observed else [world.obs_decoder]

    def heads() -> list[Tensor]:
        return [head(seen) for head in (*decoders, world.reward_head, world.continue_head)]

    return {
        "sequence loop, forward": lambda: world.observe_sequence(*given),
        "heads, forward": heads,
        "world model, forward": lambda: world.compute_loss(batch, updater.context, random),
        "world model, whole": lambda: updater.world_learner.apply(
            world.compute_loss(batch, updater.context, random)[0]
        ),
    }


def _behavior_parts(updater: Updater, replay: EpisodeBuffer) -> dict[str, Callable[[], object]]:
    agent, random = updater.agent, updater.learning_generator
    world, behavior = agent.world_model, agent.behavior
    settings, batch = agent.config.behavior, replay.sample()
    _, posteriors, _ = world.compute_loss(batch, updater.context, random)
    posteriors = {key: value.detach() for key, value in posteriors.items()}
    start = world.get_start_states(posteriors, batch, settings.starts // settings.siblings, random)

    def imagine() -> tuple[State, Tensor, Tensor, Tensor]:
        return world.imagine(behavior.policy, start, settings.horizon, random, settings.siblings)

    dream = imagine()

    def actor_critic() -> None:
        actor_loss, critic_loss, *_ = behavior.train_step(*dream, random)
        updater.behavior_learner.apply(actor_loss + critic_loss + behavior.replay_value_loss(posteriors, batch))

    return {"dream": imagine, "actor and critic, whole": actor_critic}


def _other_parts(updater: Updater, replay: EpisodeBuffer) -> dict[str, Callable[[], object]]:
    """The optimisers step along the gradients that the parts before left behind."""
    agent = updater.agent
    learners, runner = (updater.world_learner, updater.behavior_learner), _runner(agent)
    steps = _steps_per_update(agent)
    return {
        "optimisers": lambda: [learner.optimizer.step() for learner in learners],
        "sampling": replay.sample,
        "collection": lambda: [runner.step() for _ in range(steps)],
    }


def _runner(agent: Dreamer) -> RoundRunner:
    """The rinks of a training: half of the rounds against the strong opponent, half against the agent itself."""
    learner, twin = (DreamerPlayer(agent, name, deterministic=False) for name in ("learner", "self"))
    opponents: dict[str, Player] = {"strong": BasicPlayer(weak=False), "self": twin}
    return RoundRunner(load_config().training.rinks, learner, opponents, _rounds())


def _rounds() -> Iterator[RoundSetup]:
    for number in count():
        yield RoundSetup(number % 4 < 2, seed=number, opponent=("strong", "self")[number % 2])


def _steps_per_update(agent: Dreamer) -> int:
    """Steps of all rinks that earn one update."""
    training, replay = load_config().training, agent.config.replay
    return max(1, round(replay.batch_size * replay.sequence_length / training.train_ratio / training.rinks))
