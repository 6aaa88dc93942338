"""Many rinks as a vector environment of gymnasium: any opponent, seeds, rounds that begin anew by themselves."""

from typing import Any

import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers.vector import DictInfoToList, RecordEpisodeStatistics

from competitor.errors import PlayerError
from competitor.play.rounds import RoundSetup, play_rounds
from competitor.play.vector_env import HockeyVectorEnv
from competitor.players import make_player
from competitor.rink import Mode


class Replays:
    """Plays what was recorded, to compare whole rounds."""

    name = "replays"

    def __init__(self, actions: np.ndarray) -> None:
        self.actions, self.step = actions, 0

    def reset(self, slots: int) -> None:
        self.slots = slots

    def act(self, obs: np.ndarray, is_first: np.ndarray) -> np.ndarray:
        self.step += 1
        return self.actions[self.step - 1][None]


def actions_of(env: HockeyVectorEnv, chance: np.random.Generator) -> np.ndarray:
    return chance.uniform(-1, 1, env.action_space.shape).astype(np.float32)


def played(env: HockeyVectorEnv, seed: int | None, steps: int = 300) -> np.ndarray:
    """Observations of so many steps with random actions that are always the same."""
    chance = np.random.default_rng(0)
    seen = [env.reset(seed=seed)[0]]
    seen += [env.step(actions_of(env, chance))[0] for _ in range(steps)]
    return np.array(seen)


def test_a_round_is_the_one_that_play_rounds_plays() -> None:
    """With the seed that the environment draws, the same opponent and the same actions."""
    seed = int(np.random.default_rng(11).integers(2**31))
    chance = np.random.default_rng(5)
    actions = chance.uniform(-1, 1, (251, 4)).astype(np.float32)
    strong = make_player("strong", seed=0)
    (reference,) = play_rounds(Replays(actions), strong, [RoundSetup(one_starting=True, seed=seed)], rinks=1)
    env = HockeyVectorEnv(1, Replays(reference.actions[1]))
    obs, _ = env.reset(seed=11)
    seen, done, rewards = [obs[0]], False, 0.0
    for own in reference.actions[0]:
        assert not done
        obs, reward, terminated, truncated, infos = env.step(own[None])
        seen.append(obs[0])
        rewards += reward[0]
        done = bool(terminated[0])
    assert done and not truncated[0] and infos["winner"][0] == reference.result
    assert np.array_equal(np.array(seen), reference.obs[0])
    assert rewards == pytest.approx(10 * reference.result + reference.info[0, :, 0].sum())


@pytest.mark.parametrize("opponent", ["weak", "strong", "random"])
def test_a_seed_decides_everything_that_follows(opponent: str) -> None:
    used = HockeyVectorEnv(3, opponent)
    played(used, seed=4)
    one, other = played(used, seed=np.int64(9)), played(HockeyVectorEnv(3, opponent), seed=[9, 10, 11])
    assert one.shape == (301, 3, 18) and np.array_equal(one, other)
    assert not np.array_equal(one, played(used, seed=None))


def test_a_round_begins_anew_at_the_step_after_its_end() -> None:
    env = HockeyVectorEnv(4, "strong", mode=Mode.TRAIN_SHOOTING)
    assert env.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    env.reset(seed=1)
    chance, ended, ends = np.random.default_rng(2), np.zeros(4, bool), []
    for _ in range(200):
        obs, rewards, terminated, truncated, infos = env.step(actions_of(env, chance))
        assert obs in env.observation_space
        assert (rewards[ended] == 0).all() and (obs[ended, 0] == -3.0).all()  # new rounds: the racket at its start
        assert (truncated == ((terminated | truncated) & (infos["winner"] == 0))).all()  # the clock cuts off
        ended = terminated | truncated
        ends.append(ended)
    assert (np.sum(ends, axis=0) >= 2).all()


def test_the_wrappers_of_gymnasium_work() -> None:
    env: Any = DictInfoToList(RecordEpisodeStatistics(HockeyVectorEnv(2, "weak", keep_mode=False)))
    env.reset(seed=0)
    lengths = []
    for _ in range(260):
        infos = env.step(env.action_space.sample())[-1]
        lengths += [info["episode"]["l"] for info in infos if "episode" in info]
    assert lengths and max(lengths) <= 251


def test_mistakes_are_said() -> None:
    with pytest.raises(PlayerError, match="unknown player 'nobody'"):
        HockeyVectorEnv(2, "nobody")
    for wrong in (0, -1):
        with pytest.raises(ValueError, match=f"num_envs must be at least 1, not {wrong}"):
            HockeyVectorEnv(wrong)
    env = HockeyVectorEnv(2)
    with pytest.raises(ResetNeeded, match=r"reset\(\) before step"):
        env.step(np.zeros((2, 4)))
    with pytest.raises(ValueError, match="one seed for each of 2 rinks was expected, not 3"):
        env.reset(seed=[1, 2, 3])
    env.reset(seed=0)
    with pytest.raises(PlayerError, match=r"shape \(2, 4\)"):
        env.step(np.zeros((3, 4)))
    with pytest.raises(ValueError, match="NaN"):
        env.step(np.full((2, 4), np.nan))
