"""How strong the players are, from their matches: Plackett-Luce of the openskill package, as on the course's server."""

from dataclasses import dataclass

from openskill.models import PlackettLuce

MODEL = PlackettLuce()


@dataclass(frozen=True)
class Rating:
    """A belief about a player's strength: mean `mu` and deviation `sigma`. Every account starts with the defaults."""

    mu: float = 25.0
    sigma: float = 25.0 / 3.0

    @property
    def shown(self) -> float:
        """The number that ranks players: mu - 3 sigma, so that it takes matches to climb."""
        return self.mu - 3.0 * self.sigma


def rate(first: Rating, second: Rating, scores: tuple[int, int]) -> tuple[Rating, Rating]:
    """The ratings of both players after a match that ended with `scores`. Who has more counts, not the margin."""
    # openskill may take two equal floats for a win of the first player: only whole numbers are sure to be a draw.
    goals: list[float] = [int(score) for score in scores]
    teams = [[MODEL.rating(mu=side.mu, sigma=side.sigma)] for side in (first, second)]
    after = [Rating(side.mu, side.sigma) for (side,) in MODEL.rate(teams, scores=goals)]
    return after[0], after[1]
