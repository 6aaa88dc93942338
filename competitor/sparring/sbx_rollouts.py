"""PPO: a learner that imitates the first rounds, then learns from its newest ones and forgets them.

Without lessons it won 12 % against strong after two million frames, with them 52 %, and 77 % after 3.6 million.
"""

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import torch
from jax.scipy.special import ndtr, ndtri
from numpy.typing import NDArray
from stable_baselines3.common.type_aliases import RolloutBufferSamples

from competitor.sparring.actor import Actor, normalized
from competitor.sparring.recipes import Recipe
from competitor.sparring.sbx_model import SbxLearner, dense_layers, make_model

Array = NDArray[np.float32]

FRAMES = 16_384  # frames of own play that are learned from at once
BATCH = 1024
EPOCHS = 4
ENTROPY = 0.002
LESSON_STEPS = 5_000  # of imitation, each with BATCH decisions; enough to begin with, not tuned
LOG_STD = -1.0  # logarithm of the first actions' deviation: with 0 a third lies beyond the bounds, and noise plays
LONGEST = 252  # observations of the longest round; JAX compiles anew for every shape, so all rounds get this one


def _imitated(state: Any, obs: Array, action: Array) -> Any:
    """The actor after a step towards these actions, by the squared error of its mean."""

    def error(params: Any) -> Any:
        return ((state.apply_fn(params, obs).mean() - action) ** 2).mean()

    return state.apply_gradients(grads=jax.grad(error)(state.params))


class RolloutLearner(SbxLearner):
    """Collects own views until there are enough of them, then makes a few passes over them."""

    def __init__(self, recipe: Recipe) -> None:
        policy = {"log_std_init": LOG_STD}
        model = make_model(recipe, policy=policy, n_epochs=EPOCHS, batch_size=BATCH, ent_coef=ENTROPY)
        super().__init__(recipe, model)
        self.model.rollout_buffer = self
        self._chance = np.random.default_rng(recipe.seed)
        self._views: list[tuple[Array, Array, Array, bool]] = []
        self._frames = 0
        self._lessons: list[tuple[Array, Array]] | None = None if recipe.begins_from else []
        self._columns: list[Array] = []
        self.values = self.returns = np.zeros(0, np.float32)

    def enter(self, obs: Array, action: Array, reward: Array, *, terminal: bool, own: bool) -> None:
        """Take in one own view, decision by decision; others' views are lessons until there is a policy."""
        if not own and self._lessons is not None:
            self._lessons.append((obs[:-1], action))
        if own:
            begin = np.arange(0, len(action), self.recipe.repeat)
            rewards = np.add.reduceat(reward, begin)
            self._views.append((obs[np.append(begin, len(action))], action[begin], rewards, terminal))
            self._frames += len(begin)

    def learn(self, frames: int) -> bool:
        """Learn once enough own play has come together."""
        if self._frames < FRAMES:
            return False
        self._prepare()
        self.model.train()
        self.updates += EPOCHS * (FRAMES // BATCH)
        self._views, self._frames = [], 0
        return True

    def _imitate(self, lessons: list[tuple[Array, Array]]) -> None:
        """Take over what others did in these views."""
        obs, action = (np.concatenate(column) for column in zip(*lessons, strict=True))
        state, obs = self.model.policy.actor_state, normalized(obs)
        step = jax.jit(_imitated)
        for _ in range(LESSON_STEPS):
            rows = self._chance.integers(len(obs), size=BATCH)
            state = step(state, obs[rows], action[rows])
        self.model.policy.actor_state = state

    def _prepare(self) -> None:
        """Turn the views into columns: observation, action, value, log probability, advantage, return."""
        judged = [self._advantages(obs, reward, terminal) for obs, _, reward, terminal in self._views]
        obs = np.concatenate([normalized(view[0][:-1]) for view in self._views])[:FRAMES]
        action = self._as_drawn(obs, np.concatenate([view[1] for view in self._views])[:FRAMES])
        self.values = np.concatenate([values for values, _ in judged])[:FRAMES]
        advantages = np.concatenate([gained for _, gained in judged])[:FRAMES]
        self.returns = self.values + advantages
        state = self.model.policy.actor_state
        chances = np.array(state.apply_fn(state.params, obs).log_prob(action))
        self._columns = [obs, action, self.values, chances, advantages, self.returns]

    def _as_drawn(self, obs: Array, action: Array) -> Array:
        """Actions (n, 4) as they were before the rink's bounds cut them, drawn anew where they were cut.

        What lies beyond a bound plays alike, so any of it is as likely as it was. Taken for draws, the bounds
        themselves would pull the policy to them whatever they bring (Fujita & Maeda 2018, arXiv 1802.07564).
        """
        state = self.model.policy.actor_state
        chances = state.apply_fn(state.params, obs)
        mean, spread, sign = np.asarray(chances.mean()), np.asarray(chances.stddev()), np.sign(action)
        beyond = np.asarray(ndtr((sign * mean - 1.0) / spread)) * (1.0 - self._chance.random(action.shape))
        drawn = sign * mean - spread * np.asarray(ndtri(np.maximum(beyond, 1e-30)))
        return np.where(np.abs(action) < 1.0, action, sign * np.maximum(drawn, 1.0)).astype(np.float32)

    def _advantages(self, obs: Array, reward: Array, terminal: bool) -> tuple[Array, Array]:
        """Values and generalised advantages of one view (Schulman et al. 2016, arXiv 1506.02438, equation 16)."""
        state, discount = self.model.policy.vf_state, self.recipe.discount
        padded = np.pad(normalized(obs), ((0, LONGEST - len(obs)), (0, 0)))
        values = np.asarray(state.apply_fn(state.params, padded)).reshape(-1)[: len(obs)]
        later = np.append(values[1:-1], 0.0 if terminal else values[-1])
        errors = reward + discount * later - values[:-1]
        advantages = np.zeros_like(values[:-1])
        gained = 0.0
        for place in range(len(errors) - 1, -1, -1):
            gained = float(errors[place]) + discount * self.model.gae_lambda * gained
            advantages[place] = gained
        return values[:-1], advantages

    def get(self, batch_size: int) -> Iterator[RolloutBufferSamples]:
        """What sbx-rl asks its rollouts for: batches in a chance order."""
        order = self._chance.permutation(FRAMES)
        for rows in order.reshape(-1, batch_size):
            yield RolloutBufferSamples(*(torch.from_numpy(column[rows]) for column in self._columns))

    def actor(self) -> Actor:
        if self._lessons:
            self._imitate(self._lessons)
        self._lessons = None
        tree = jax.tree.map(np.asarray, self.model.policy.actor_state.params)["params"]
        *hidden, mean = dense_layers(tree)
        log_std = np.zeros_like(mean[0]), tree["log_std"].copy()
        return Actor(hidden, mean, log_std, tanh_layers=True, squash=False, noise_after_squash=False)
