"""Who is matched with whom."""

from collections import Counter
from itertools import count
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from competitor.arena.matchmaking import THRESHOLD, Waiting, pair_up, quality

Place = Waiting[int]

numbers = count()


def person(user: str, value: float = 0.0, ticks: int = 0) -> Place:
    return Waiting(next(numbers), user, False, value, ticks)


def bot(user: str, value: float = 0.0, ticks: int = 0) -> Place:
    return Waiting(next(numbers), user, True, value, ticks)


places = st.builds(
    lambda user, is_bot, value, ticks: Waiting(next(numbers), f"bot {user}" if is_bot else user, is_bot, value, ticks),
    st.sampled_from("abcd"),
    st.booleans(),
    st.floats(-30, 80),
    st.integers(0, 10),
)


@given(st.lists(places, max_size=30), st.integers(0, 1000))
def test_nobody_plays_twice_or_himself_and_bots_only_play_people(queue: list[Place], seed: int) -> None:
    by_who = {place.who: place for place in queue}
    pairs = pair_up(queue, Random(seed))
    players = [who for pair in pairs for who in pair]
    assert len(players) == len(set(players))
    for first, second in pairs:
        one, two = by_who[first], by_who[second]
        assert one.user != two.user
        assert not (one.is_bot and two.is_bot)
        if not one.is_bot and not two.is_bot:
            assert quality(one, two) >= THRESHOLD
    assert pair_up(queue, Random(seed)) == pairs


@given(st.lists(places, max_size=30), st.integers(0, 1000))
def test_nobody_is_left_who_could_be_matched(queue: list[Place], seed: int) -> None:
    matched = {who for pair in pair_up(queue, Random(seed)) for who in pair}
    left = [place for place in queue if place.who not in matched]
    people, bots = [place for place in left if not place.is_bot], [place for place in left if place.is_bot]
    for one in people:
        others = [two for two in people if two.user != one.user]
        assert all(quality(one, two) < THRESHOLD for two in others)
        assert others or one.ticks == 0 or not bots


def test_people_come_before_bots() -> None:
    queue = [bot("strong", ticks=50), bot("weak", ticks=50), person("ada", ticks=3), person("bob", ticks=3)]
    ((first, second),) = pair_up(queue, Random(0))
    assert {first, second} == {queue[2].who, queue[3].who}


def test_a_bot_fills_in_for_somebody_alone_after_a_tick() -> None:
    house = [bot("weak"), bot("strong")]
    assert pair_up([*house, person("ada")], Random(0)) == []
    ada, again = person("ada", ticks=1), person("ada", ticks=1)
    pairs = pair_up([*house, ada, again], Random(0))
    assert len(pairs) == 2 and all({ada.who, again.who} & set(pair) for pair in pairs)


def test_far_apart_players_have_to_wait_but_not_for_ever() -> None:
    def far(ticks: int) -> list[Place]:
        return [person("ada", 0.0, ticks), person("bob", 60.0, ticks), bot("weak", ticks=ticks)]

    assert pair_up(far(1), Random(0)) == []
    queue = far(3)
    ((first, second),) = pair_up(queue, Random(0))
    assert {first, second} == {queue[0].who, queue[1].who}


def test_near_partners_are_likelier_and_sides_are_drawn() -> None:
    random = Random(1)
    ada, near, far = person("ada", 10.0), person("bob", 12.0), person("cyd", 28.0)
    pairs = [pair_up([ada, near, far], random)[0] for _ in range(2000)]
    partners = Counter(second if first == ada.who else first for first, second in pairs)
    expected = quality(ada, near) / (quality(ada, near) + quality(ada, far))
    assert abs(partners[near.who] / 2000 - expected) < 0.04 and expected > 0.55
    assert 850 < sum(first == ada.who for first, _ in pairs) < 1150


def test_who_waits_longest_chooses_first() -> None:
    queue = [person("ada", ticks=9), person("bob"), person("cyd")]
    for seed in range(20):
        ((first, second),) = pair_up(queue, Random(seed))
        assert queue[0].who in (first, second)
