"""A step of play in one call of compiled code (play.c): several times as fast as the modules, and no less exact."""

import ctypes
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dreamer.behavior import Policy
from dreamer.networks import RMSNorm
from dreamer.speed.native import PLAY_ROWS, load_play, pointers
from dreamer.world_model import WorldModel

State = dict[str, Tensor]


class Sizes(NamedTuple):
    """The sizes and kinds of an agent, in the order of sizes_t in play.c; 0 groups or values: not categorical."""

    observations: int
    actions: int
    hidden: int
    units: int
    embedding: int
    head_units: int
    layers: int
    latent: int
    groups: int
    classes: int
    values: int
    is_normalized: int
    has_norm: int
    is_silu: int

    @classmethod
    def of(cls, world: WorldModel, policy: Policy) -> "Sizes":
        """Those of an agent's two parts."""
        model, behavior = world.config.model, policy.config
        categorical = model.latent == "categorical"
        return cls(
            observations=len(world.obs_mean),
            actions=policy.action_size,
            hidden=model.hidden,
            units=model.units,
            embedding=model.embedding,
            head_units=model.head_units,
            layers=model.layers,
            latent=world.dynamics.latent_size,
            groups=model.groups if categorical else 0,
            classes=model.classes if categorical else 0,
            values=len(behavior.action_values) if behavior.actor == "categorical" else 0,
            is_normalized=model.normalize,
            has_norm=model.norm == "rms",
            is_silu=model.activation == "silu",
        )

    @property
    def width(self) -> int:
        """Of the widest table that a step fills."""
        latent_inputs = max(self.latent + self.actions, self.hidden + self.embedding, self.hidden + self.latent)
        layers = max(self.observations, self.units, self.head_units, self.embedding, self.units + self.hidden)
        return max(latent_inputs, layers, 3 * self.hidden, 2 * self.latent, self.actions * max(2, self.values))


class NativePlay:
    """`Dreamer.play` of one agent on the CPU, with the weights that it has at each step."""

    def __init__(self, world: WorldModel, policy: Policy, library: ctypes.CDLL) -> None:
        self._library, self._sizes = library, Sizes.of(world, policy)
        dynamics, normalizer = world.dynamics, (world.obs_mean, world.obs_std)
        self._sources = [*_tensors(dynamics.input_net, dynamics.cell), *normalizer]
        self._sources += [*_tensors(world.encoder, dynamics.posterior_net, policy.net), policy.action_values]
        model = world.config.model
        numbers = RMSNorm.EPSILON, model.unimix, model.gaussian_min_std, policy.config.min_std, policy.config.max_std
        self._c_sizes = (ctypes.c_int64 * len(self._sizes))(*self._sizes)
        self._c_numbers = (ctypes.c_float * len(numbers))(*numbers)
        self._versions: list[tuple[int, int]] = []
        self._weights = torch.empty(0)

    def __call__(self, state: State, obs: Tensor, is_first: Tensor, noise: Tensor | None) -> tuple[State, Tensor]:
        """See `Dreamer.play`."""
        rows, sizes = len(obs), self._sizes
        given = [state[key].float().contiguous() for key in ("h", "z", "action")]
        assert [table.shape for table in given] == [(rows, n) for n in (sizes.hidden, sizes.latent, sizes.actions)]
        assert obs.shape == (rows, sizes.observations) and is_first.shape == (rows,) and is_first.dtype == torch.bool
        chance = [] if noise is None else [noise.float().contiguous()]
        after = {key: torch.empty_like(table) for key, table in zip(("h", "z", "action"), given, strict=True)}
        tables = [*given, obs.float().contiguous(), *(chance or [obs.new_empty(0)]), is_first.contiguous()]
        batch = pointers([*tables, *after.values()])
        if not chance:
            batch[4] = None
        room = torch.empty(3 * PLAY_ROWS * sizes.width)
        self._library.play_step(
            *(rows, self._c_sizes, self._c_numbers, self._packed().data_ptr(), batch),
            *(0 if noise is None else noise.shape[1], room.data_ptr(), sizes.width),
        )
        return after, after["action"]

    def _packed(self) -> Tensor:
        """The weights in the order of play.c, matrices as (inputs, outputs); laid out anew when they have changed."""
        versions = [(tensor._version, tensor.data_ptr()) for tensor in self._sources]
        if versions != self._versions:
            with torch.no_grad():
                self._weights = torch.cat([tensor.detach().t().reshape(-1) for tensor in self._sources])
            self._versions = versions
        return self._weights


def native_play(world: WorldModel, policy: Policy) -> NativePlay | None:
    """The compiled step of an agent's two parts; None where there is no compiler, or a state holds what was seen."""
    library = load_play()
    return None if library is None or world.config.model.observed else NativePlay(world, policy, library)


def _tensors(*modules: nn.Module) -> Iterator[Tensor]:
    for module in modules:
        yield from module.parameters()
