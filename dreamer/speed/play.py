"""A step of play in one call of compiled code (play.c): several times as fast as the modules, and no less exact."""

import ctypes
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dreamer.behavior import Policy
from dreamer.networks import RMSNorm
from dreamer.sequence_model import SequenceModel
from dreamer.speed.native import FLAGS, Code, load
from dreamer.world_model import TICK, WorldModel

State = dict[str, Tensor]
PLAY_ROWS = 8  # that go through a step together
PARTS = ("h", "z", "o", "action")
NUMBERS = ("epsilon", "unimix", "latent_min_std", "min_std", "max_std", "tick")
GIVEN = (*PARTS, "obs", "noise")
TAKEN = tuple(f"next_{part}" for part in PARTS)


class Sizes(NamedTuple):
    """The sizes of an agent; 0 groups and values: that of the seed document, 0 observed: no o in the state."""

    observations: int
    actions: int
    hidden: int
    units: int
    layers: int
    latent: int
    groups: int
    classes: int
    values: int
    observed: int

    @classmethod
    def of(cls, dynamics: SequenceModel, policy: Policy, observations: int = 0) -> "Sizes":
        """Those of an agent's parts."""
        model = dynamics.config
        kinds = (0, 0, 0) if model.is_seed else (model.groups, model.classes, len(policy.action_values))
        sizes = observations, policy.action_size, model.hidden, model.units, model.layers, dynamics.latent_size
        return cls(*sizes, *kinds, dynamics.observed_size)

    @property
    def width(self) -> int:
        """Of the widest table that a step fills."""
        known = self.latent + self.observed
        inputs = known + self.actions, self.hidden + known, self.units + self.hidden
        layers = self.observations, 2 * self.observed, self.units
        return max(*inputs, *layers, 3 * self.hidden, 2 * self.latent, self.actions * max(2, self.values))


PLAY = Code(
    "play.c",
    ("scalars.h",),
    (
        *FLAGS,
        "-ffp-contract=off",  # so that vector code and the code for what is left over beside whole vectors round alike
        f"-DPLAY_ROWS={PLAY_ROWS}",
        f"-DSIZES={', '.join(Sizes._fields)}",
        f"-DNUMBERS={', '.join(NUMBERS)}",
        f"-DGIVEN={', *'.join(GIVEN)}",
        f"-DTAKEN={', *'.join(TAKEN)}",
    ),
    {"play_step": "ippppipi"},
)


@cache
def load_play() -> ctypes.CDLL | None:
    """The step of play; None where it cannot be built."""
    return load(PLAY)


class NativePlay:
    """`Dreamer.play` of one agent on the CPU, with the weights that it has at each step."""

    def __init__(self, world: WorldModel, policy: Policy, library: ctypes.CDLL) -> None:
        self._library, self._sizes = library, Sizes.of(world.dynamics, policy, len(world.obs_mean))
        dynamics = world.dynamics
        self._sources = [world.obs_mean, world.obs_std, *_tensors(dynamics.input_net, dynamics.cell)]
        self._sources += [dynamics.next_observation.spread] if self._sizes.observed else []
        self._sources += [*_tensors(world.encoder, dynamics.posterior_net, policy.net), policy.action_values]
        model, limits = world.config.model, (policy.config.min_std, policy.config.max_std)
        numbers = RMSNorm.EPSILON, model.unimix, model.gaussian_min_std, *limits, TICK
        self._c_sizes = (ctypes.c_int64 * len(self._sizes))(*self._sizes)
        self._c_numbers = (ctypes.c_float * len(NUMBERS))(*numbers)
        sizes = self._sizes
        widths = zip(PARTS, (sizes.hidden, sizes.latent, sizes.observed, sizes.actions), strict=True)
        self._widths = {key: width for key, width in widths if width}
        self._versions: list[tuple[int, int]] = []
        self._weights = torch.empty(0)

    def __call__(self, state: State, obs: Tensor, is_first: Tensor, noise: Tensor | None) -> tuple[State, Tensor]:
        """See `Dreamer.play`."""
        rows, sizes, widths = len(obs), self._sizes, self._widths
        assert {key: tuple(table.shape) for key, table in state.items()} == {k: (rows, n) for k, n in widths.items()}
        assert obs.shape == (rows, sizes.observations) and is_first.shape == (rows,) and is_first.dtype == torch.bool
        given = {key: table.float().contiguous() for key, table in state.items()}
        given |= {"obs": obs.float().contiguous(), "is_first": is_first.contiguous()}
        given |= {} if noise is None else {"noise": noise.float().contiguous()}
        after = {key: torch.empty_like(given[key]) for key in widths}
        after |= {} if sizes.observed else {"o": torch.empty_like(given["obs"])}
        places = {**given, **{f"next_{key}": table for key, table in after.items()}}
        fields = ("is_first", *GIVEN, *TAKEN)
        batch = (ctypes.c_void_p * len(fields))(*(places[key].data_ptr() if key in places else None for key in fields))
        room = torch.empty(3 * PLAY_ROWS * sizes.width)
        self._library.play_step(
            *(rows, self._c_sizes, self._c_numbers, self._packed().data_ptr(), batch),
            *(0 if noise is None else noise.shape[1], room.data_ptr(), sizes.width),
        )
        return {key: after[key] for key in widths}, after["action"]

    def _packed(self) -> Tensor:
        """The weights in the order of play.c, matrices as (inputs, outputs); laid out anew when they have changed."""
        versions = [(tensor._version, tensor.data_ptr()) for tensor in self._sources]
        if versions != self._versions:
            with torch.no_grad():
                self._weights = torch.cat([tensor.detach().t().reshape(-1) for tensor in self._sources])
            self._versions = versions
        return self._weights


def native_play(world: WorldModel, policy: Policy) -> NativePlay | None:
    """The compiled step of an agent's two parts; None where there is no compiler."""
    library = load_play()
    return None if library is None else NativePlay(world, policy, library)


def _tensors(*modules: nn.Module) -> Iterator[Tensor]:
    for module in modules:
        yield from module.parameters()
