"""The gauntlet: all sparring partners, and what a player takes from them altogether."""

from collections.abc import Sequence
from dataclasses import dataclass

from competitor.errors import PlayerError
from competitor.evaluate.results import OpponentResult
from competitor.players.sparring import PREFIX, partner_names, partner_path, read_card

GAUNTLET = "gauntlet"


@dataclass(frozen=True)
class Gauntlet:
    """Points per round, a draw is half a point: the mean of the partners, and of those that are held out.

    worst: the partner that gave the fewest. own_start, other_start: the mean in rounds that the player started, and in
    those that the partner started.
    """

    partners: int
    points: float
    held_out_points: float | None
    worst: str
    worst_points: float
    own_start: float
    other_start: float

    @property
    def line(self) -> str:
        held_out = self.held_out_points
        return (
            f"gauntlet of {self.partners}: {100 * self.points:.1f} % of the points"
            f"{'' if held_out is None else f', {100 * held_out:.1f} % from those held out'}; "
            f"worst {100 * self.worst_points:.1f} % against {self.worst.removeprefix(PREFIX)}; "
            f"own start {100 * self.own_start:.1f} %, the other's {100 * self.other_start:.1f} %"
        )


def with_gauntlet(names: Sequence[str]) -> list[str]:
    """`names` with every partner that ships in place of "gauntlet", nobody twice. Raises PlayerError without any."""
    partners = shipped_partners() if GAUNTLET in names else []
    if GAUNTLET in names and not partners:
        raise PlayerError("there is no gauntlet: checkpoints/sparring holds no sparring partners")
    spread = [partner for name in names for partner in (partners if name == GAUNTLET else [name])]
    return list(dict.fromkeys(spread))


def shipped_partners() -> list[str]:
    """The partners that ship, as players; another one, `sparring:PATH`, is none of the gauntlet."""
    return [PREFIX + name for name in partner_names()]


def gauntlet_of(results: Sequence[OpponentResult]) -> Gauntlet:
    """The summary of the results against sparring partners that ship, of which there must be one at least."""
    shipped = shipped_partners()
    partners = [result for result in results if result.opponent in shipped]
    held_out = [result.score for result in partners if _is_held_out(result.opponent)]
    worst = min(partners, key=lambda result: result.score)
    return Gauntlet(
        partners=len(partners),
        points=_mean([result.score for result in partners]),
        held_out_points=_mean(held_out) if held_out else None,
        worst=worst.opponent,
        worst_points=worst.score,
        own_start=_mean([result.by_starter["own"].score for result in partners]),
        other_start=_mean([result.by_starter["other"].score for result in partners]),
    )


def _is_held_out(opponent: str) -> bool:
    return read_card(partner_path(opponent.removeprefix(PREFIX))).held_out


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
