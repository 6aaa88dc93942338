"""Does it learn? A task so small that minutes suffice, and the first steps on the real rink.

The task has the shape of hockey on a small scale: no reward but at the end of an episode that succeeds.
A dot in a square has to reach a mark; uniformly random moves rarely do within the time limit.
"""

from pathlib import Path

import numpy as np
import pytest
import torch

from competitor.config import Config, load_config
from competitor.train.metrics import read_lines
from competitor.train.selfplay import Trainer
from dreamer.agent import Dreamer
from dreamer.replay import Episode, EpisodeBuffer
from dreamer.update import Updater

DOTS = 16
TIME_LIMIT = 16
STRIDE = 0.25
NEAR = 0.2
ROUNDS, UPDATES_PER_ROUND = 40, 20

SMALL = (
    "model.hidden=64",
    "model.units=64",
    "model.groups=8",
    "model.classes=8",
    "behavior.starts=64",
    "behavior.horizon=10",
    "behavior.discount=0.95",
    "optimizer.world_rate=0.002",
    "optimizer.actor_rate=0.001",
    "optimizer.critic_rate=0.001",
    "optimizer.warmup=20",
    "replay.batch_size=16",
    "replay.sequence_length=16",
)


class Square:
    """Many dots at once in the square [-1, 1]^2, each with a mark of its own to reach."""

    def __init__(self, seed: int) -> None:
        generator = np.random.default_rng(seed)
        self.dots = generator.uniform(-1.0, 1.0, (DOTS, 2))
        self.marks = generator.uniform(-1.0, 1.0, (DOTS, 2))
        far = np.abs(self.dots - self.marks).max(axis=1) < 2 * NEAR
        self.marks[far] -= np.sign(self.marks[far]) * 0.8

    def obs(self) -> np.ndarray:
        """Dots and marks (dots, 4)."""
        return np.concatenate([self.dots, self.marks], axis=1).astype(np.float32)

    def step(self, actions: np.ndarray) -> np.ndarray:
        """Move the dots by actions (dots, 2); returns which have reached their marks."""
        self.dots = np.clip(self.dots + STRIDE * actions, -1.0, 1.0)
        return np.asarray(np.abs(self.dots - self.marks).max(axis=1) < NEAR)


def play(agent: Dreamer, seed: int, *, random: bool = False, deterministic: bool = False) -> list[Episode]:
    """One episode per dot."""
    square, generator = Square(seed), np.random.default_rng(seed)
    state, is_first = agent.initial_state(DOTS), torch.ones(DOTS, dtype=torch.bool)
    seen, moves, reached_at = [square.obs()], [], np.full(DOTS, -1)
    for step in range(TIME_LIMIT):
        state, chosen = agent.act(state, torch.from_numpy(seen[-1]), is_first, deterministic=deterministic)
        action = generator.uniform(-1.0, 1.0, (DOTS, 2)).astype(np.float32) if random else chosen.numpy()
        reached = square.step(action)
        seen.append(square.obs())
        moves.append(action)
        reached_at[(reached_at < 0) & reached] = step
        is_first = torch.zeros(DOTS, dtype=torch.bool)
    return [_episode(np.stack(seen)[:, dot], np.stack(moves)[:, dot], int(reached_at[dot])) for dot in range(DOTS)]


def _episode(obs: np.ndarray, moves: np.ndarray, reached_at: int) -> Episode:
    steps = TIME_LIMIT if reached_at < 0 else reached_at + 1
    reward = np.zeros(steps, np.float32)
    reward[-1] = float(reached_at >= 0)
    return Episode(obs[: steps + 1].copy(), moves[:steps].copy(), reward, terminal=reached_at >= 0)


def success(agent: Dreamer, *, random: bool = False) -> float:
    """Share of 128 new episodes in which the dot reaches its mark."""
    episodes = [episode for seed in range(8) for episode in play(agent, 1000 + seed, random=random, deterministic=True)]
    return sum(episode.terminal for episode in episodes) / len(episodes)


def learn(config: Config) -> tuple[Dreamer, list[dict[str, float]]]:
    """Loops 1 to 3 on the square; returns the agent and the metrics of all updates."""
    agent = Dreamer(config.dreamer, obs_size=4, action_size=2, seed=0)
    replay = EpisodeBuffer(config.replay, 4, 2, mirror=None, seed=0)
    for episode in [episode for seed in range(8) for episode in play(agent, seed, random=True)]:
        replay.add(episode)
    agent.fit_normalizer(replay.observations(len(replay)))
    updater, metrics = Updater(agent), []
    for number in range(ROUNDS):
        for episode in play(agent, 100 + number):
            replay.add(episode)
        metrics += [updater.train_step(replay.sample()) for _ in range(UPDATES_PER_ROUND)]
    return agent, metrics


@pytest.mark.slow
def test_a_dot_learns_to_reach_its_mark() -> None:
    agent, metrics = learn(load_config(overrides=SMALL))
    chance, learned = success(agent, random=True), success(agent)
    assert chance < 0.2
    assert learned > 0.7, f"{learned:.0%} of the dots reach their marks, {chance:.0%} do by chance"
    world = [update["loss/recon"] + update["loss/reward"] for update in metrics]
    assert np.mean(world[-50:]) < np.mean(world[:50]) - 0.5  # likelihoods count less where they are sharp
    assert np.mean([update["return/mean"] for update in metrics[-50:]]) > 0.1


@pytest.mark.slow
def test_on_the_rink_the_world_model_improves_by_self_play(tmp_path: Path) -> None:
    overrides = (
        "training.environment_steps=5000",
        "training.train_ratio=10.0",
        "training.evaluate_every_steps=100000",
        "training.warmup_rounds=12",
        "optimizer.world_rate=0.002",
        "replay.batch_size=16",
        "replay.sequence_length=8",
    )
    trainer = Trainer.start(load_config(preset="debug", overrides=overrides), tmp_path / "run")
    trainer.train()
    lines = [line for line in read_lines(tmp_path / "run" / "metrics.jsonl") if line["kind"] == "train"]
    first, last = lines[0], lines[-1]
    assert last["updates"] >= 100 and last["skipped_updates"] == 0
    assert last["loss/recon"] < 0.6 * first["loss/recon"]
    assert last["loss/reward"] < 0.5 * first["loss/reward"]
