"""Roles, turns and what follows from them: real checkpoints, matches and files; the trainings are made by hand."""

import socket
import sys
from collections.abc import Callable
from concurrent.futures import Future
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import pytest

import cli
from competitor.config import Config
from competitor.errors import CompetitorError, ResumeError, StorageError, UnreachableError
from competitor.population import judge as judging
from competitor.population import population as module
from competitor.population.book import NEWEST, Book, Learner, Member
from competitor.population.cluster import RayWorkers
from competitor.population.judge import Judge, choose_met
from competitor.population.population import Population
from competitor.population.roles import add_exploiters, begin_again, opponents_of, turn_of
from competitor.population.workers import LOST, Turn
from competitor.system import sole_writer
from dreamer.agent import Dreamer
from dreamer.checkpoint import load_checkpoint, save_checkpoint

LISTED = {"weak": 0.2, "strong": 0.3, "self": 0.2, "past": 0.3}
Train = Callable[[Turn], int]


def silent(*_: object) -> None:
    pass


@pytest.fixture
def directory(tmp_path: Path, debug_config: Config) -> Path:
    """A directory whose newest main agent is an agent that knows nothing."""
    for name in ("newest", "members/start"):
        save_checkpoint(tmp_path / name, Dreamer(debug_config.dreamer, seed=1), {})
    return tmp_path


def a_book() -> Book:
    learners = [Learner(name="main", role="main"), Learner(name="exploiter-1", role="exploiter")]
    return Book(learners=learners)


def of(book: Book, name: str) -> Learner:
    return next(learner for learner in book.learners if learner.name == name)


def exploiter(name: str, points: float, player: str = "weak") -> Member:
    return Member(name=name, role="exploiter", player=player, points=points)


class ByHand:
    """Workers whose turns take a minute of the clock each; `train` does what the process would; it gives the code."""

    def __init__(self, train: Train, count: int = 2) -> None:
        self.train, self.count = train, count
        self.turns: list[Turn] = []
        self.stops = 0
        self.now = 0.0

    def clock(self) -> float:
        return self.now

    def submit(self, turn: Turn) -> Future[int]:
        self.turns.append(turn)
        self.now += 60.0
        done: Future[int] = Future()
        done.set_result(self.train(turn))
        return done

    def stop(self) -> None:
        self.stops += 1

    def close(self) -> None:
        pass


def population(directory: Path, book: Book, workers: ByHand, life: float = 100.0) -> Population:
    return Population(
        directory, book, workers, listed=LISTED, keep_mode=True, rounds=4, turn_minutes=5.0, life_minutes=life,
        sac=False, clock=workers.clock, say=silent, count=silent,
    )  # fmt: skip


def trained(directory: Path, debug_config: Config) -> Train:
    """A training that leaves a whole run with an agent that knows nothing."""

    def train(turn: Turn) -> int:
        words = turn.arguments
        run = words[words.index("--run") + 1] if "--run" in words else Path(words[words.index("--resume") + 1]).name
        save_checkpoint(directory / f"runs/{run}/checkpoints/latest", Dreamer(debug_config.dreamer, seed=2), {})
        (directory / f"runs/{run}/config.toml").touch()
        return 0

    return train


def test_the_main_agent_meets_the_list_and_the_members_that_are_met(tmp_path: Path) -> None:
    members = [
        exploiter("one", 0.5, "members/one.safetensors"),
        exploiter("two", 0.0, "sparring:members/two.safetensors"),
    ]
    members[1].is_met = False
    both = [*members, exploiter("three", 0.25, "strong-one"), exploiter("four", 0.0, "weak-one")]
    shares = opponents_of(Learner(name="main", role="main"), both, LISTED)
    assert shares["members/one.safetensors"] == pytest.approx(2 * shares["strong-one"], abs=0.001)
    assert shares["weak-one"] == pytest.approx(0.2 * shares["members/one.safetensors"], abs=0.001)
    assert sum(shares.values()) / (sum(shares.values()) + 1.0) == pytest.approx(0.25, abs=0.001)
    main = Learner(name="main", role="main")
    met = opponents_of(main, members, LISTED)
    assert met["sparring:members/two.safetensors"] == 0.0
    assert met["members/one.safetensors"] / (met["members/one.safetensors"] + 1.0) == pytest.approx(0.25, abs=0.001)
    begun = turn_of(main, tmp_path, 5.0, met).arguments
    assert begun[:5] == ("train", "--config", "config.toml", "--run", "main")
    assert "league.opponents.members/one.safetensors=0.3333" in begun and begun[-2:] == ("--minutes", "5.0000")
    (tmp_path / "runs/main").mkdir(parents=True)
    assert turn_of(main, tmp_path, 5.0, met).arguments[3] == "--run"  # a kill before the run was one
    assert not (tmp_path / "runs/main").exists()
    (tmp_path / "runs/main").mkdir()
    (tmp_path / "runs/main/config.toml").touch()
    assert turn_of(main, tmp_path, 5.0, met).arguments[1:3] == ("--resume", "runs/main")


def test_a_run_that_has_lost_its_settings_is_not_thrown_away(tmp_path: Path) -> None:
    saved = tmp_path / "runs/main/state/current"
    saved.parent.mkdir(parents=True)
    saved.touch()
    with pytest.raises(ResumeError, match="runs/main has saves and no config.toml: put that back"):
        turn_of(Learner(name="main", role="main"), tmp_path, 5.0, {})
    assert saved.exists()


def test_an_exploiter_meets_the_newest_main_agent_alone(tmp_path: Path) -> None:
    dreamer = Learner(name="exploiter-1", role="exploiter", generation=3, begins_from="main-4")
    words = turn_of(dreamer, tmp_path, 1.0, opponents_of(dreamer, [], LISTED)).arguments
    shares = {word for word in words if word.startswith("league.opponents.")}
    assert shares == {f"league.opponents.{name}=0.0" for name in LISTED} | {f"league.opponents.{NEWEST}=1.0"}
    assert words[words.index("--start-from") + 1] == "members/main-4" and "exploiter-1-3" in words
    sac = Learner(name="exploiter-1", role="exploiter", kind="sac")
    words = turn_of(sac, tmp_path, 1.0, opponents_of(sac, [], LISTED)).arguments
    assert words[:5] == ("sparring", "train", "striker", "--run", "exploiter-1-1")
    assert {'opponents."strong"=0.0', f'opponents."{NEWEST}"=1.0'} <= set(words)


def test_generations_take_turns_in_how_they_begin() -> None:
    book = a_book()
    book.members = [Member(name="main-1", role="main", player="weak")]
    learner = Learner(name="e", role="exploiter", minutes=7.0, turns=3, failures=2)
    ways = []
    for _ in range(6):
        begin_again(learner, book, sac=True)
        ways.append((learner.kind, learner.begins_from))
    assert ways[:3] == [("dreamer", "main-1"), ("dreamer", ""), ("sac", "")] and ways[:3] == ways[3:]
    assert (learner.generation, learner.minutes, learner.turns, learner.failures, learner.run) == (7, 0.0, 0, 0, "e-7")
    begin_again(learner, book, sac=False)
    assert learner.kind == "dreamer"


def test_there_is_an_exploiter_for_every_worker_but_one_and_they_begin_in_different_ways() -> None:
    book = Book(learners=[Learner(name="main", role="main")])
    for count, exploiters in ((0, 1), (3, 3), (2, 3)):
        add_exploiters(book, count, sac=True)
        assert [learner.name for learner in book.learners[1:]] == [f"exploiter-{n}" for n in range(1, exploiters + 1)]
    assert [learner.kind for learner in book.learners[1:]] == ["sac", "dreamer", "dreamer"]


def test_who_takes_no_points_is_retired_and_comes_back_when_it_does() -> None:
    book = a_book()
    book.members = [exploiter(f"e-{number}", number / 20) for number in range(12)]
    book.members.append(Member(name="main-1", role="main", player="weak"))
    book.champion = "main-1"
    choose_met(book)
    met = {member.name for member in book.members if member.is_met}
    assert met == {"main-1", *(f"e-{number}" for number in range(4, 12))}  # the eight that take the most
    book.members[0].points = 0.9
    for number in range(5, 12):
        book.members[number].points = 0.01
    choose_met(book)
    assert {member.name for member in book.members if member.is_met} == {"main-1", *(f"e-{n}" for n in (0, 1, 2, 3, 4))}


@pytest.mark.parametrize(("newest", "champion", "is_promoted"), [("strong", "weak", True), ("weak", "strong", False)])
def test_only_who_passes_the_test_becomes_champion(
    newest: str, champion: str, is_promoted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judging, "NEWEST", newest)
    monkeypatch.setattr(judging, "partner_names", lambda held_out: ["holder"])
    book = a_book()
    book.members, book.champion = [Member(name="old", role="main", player=champion)], "old"
    trial = Judge(tmp_path, rounds=40, keep_mode=True, on_progress=silent).trial("new", book)
    assert trial.is_promoted == is_promoted
    assert trial.test.decision == ("H1" if is_promoted else "H0") and trial.rounds < 400
    assert (trial.points > 0.5) == is_promoted and (trial.held_out is not None) == is_promoted


def test_who_takes_fewer_points_from_the_held_out_partners_is_not_promoted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judging, "NEWEST", "strong")
    monkeypatch.setattr(Judge, "_held_out", lambda self, player: 0.4 if player == "strong" else 0.5)
    book = a_book()
    book.members, book.champion = [Member(name="old", role="main", player="weak")], "old"
    trial = Judge(tmp_path, rounds=40, keep_mode=True, on_progress=silent).trial("new", book)
    assert trial.test.decision == "H1" and not trial.is_promoted


def test_a_review_measures_everybody_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "NEWEST", "weak")
    book = a_book()
    book.members = [exploiter("bot", 0.0, "strong")]
    Judge(tmp_path, rounds=40, keep_mode=True, on_progress=silent).review(book)
    assert book.members[0].points is not None and book.members[0].points > 0.5 and book.members[0].is_met
    assert book.table is not None
    assert [standing.name for standing in book.table.standings][-1] == "newest"
    assert book.table.meetings["newest"]["bot"].score == pytest.approx(1 - book.members[0].points)
    book.write(tmp_path)
    assert Book.read(tmp_path) == book


def test_learners_feed_each_other(directory: Path, debug_config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    workers = ByHand(trained(directory, debug_config))
    (directory / NEWEST).unlink()
    monkeypatch.setattr(module, "BEATEN", 0.0)  # every exploiter enters at once
    who = population(directory, a_book(), workers)
    who.run(minutes=9.0)
    book = Book.read(directory)
    assert [turn.learner for turn in workers.turns[:3]] == ["main", "main", "exploiter-1"]  # nobody to exploit before
    assert book.champion == "main-1" and (directory / "members/main-1.safetensors").is_file()
    assert (directory / NEWEST).is_file() and workers.stops == 1
    entered = [member.name for member in book.of("exploiter")]
    assert entered[:2] == ["exploiter-1-1", "exploiter-1-2"] and of(book, "exploiter-1").generation == len(entered) + 1
    later = [turn for turn in workers.turns if turn.learner == "main"][-1]
    assert any(word.startswith("league.opponents.members/exploiter-1-1") for word in later.arguments)
    assert book.table is not None and book.trials and of(book, "main").turns >= 4


def test_an_exploiter_whose_time_is_over_enters_too(directory: Path, debug_config: Config) -> None:
    workers = ByHand(trained(directory, debug_config))
    book = a_book()
    population(directory, book, workers, life=4.0).run(minutes=12.0)
    entered = book.of("exploiter")
    assert entered and entered[0].points is not None and entered[0].points < module.BEATEN


def test_one_worker_serves_all_in_turn(directory: Path) -> None:
    workers = ByHand(lambda turn: 0, count=1)
    population(directory, a_book(), workers).run(minutes=4.0)
    assert [turn.learner for turn in workers.turns] == ["main", "exploiter-1"] * 2


def test_an_exploiter_that_fails_begins_anew_and_a_main_agent_that_fails_ends_it(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAUSE_S", 0.0)
    workers, book = ByHand(lambda turn: 0 if turn.learner == "main" else 8), a_book()
    population(directory, book, workers).run(minutes=10.0)
    assert of(book, "exploiter-1").generation >= 2 and of(book, "main").failures == 0
    workers = ByHand(lambda turn: LOST if turn.learner == "main" else 0)
    with pytest.raises(CompetitorError, match=r"main: its turn was killed; see .*main\.log; 3 turns in a row"):
        population(directory, a_book(), workers).run()
    assert workers.stops == 1


def test_nothing_is_judged_any_more_once_the_user_wants_to_stop(directory: Path, debug_config: Config) -> None:
    book = a_book()
    hands = trained(directory, debug_config)

    def train(turn: Turn) -> int:
        who.stop()
        return hands(turn)

    who = population(directory, book, ByHand(train))
    who.run()
    assert book.champion == "" and of(book, "main").turns == 1
    assert Book.read(directory) == book


def test_a_cluster_that_is_not_there_is_one_line_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", ModuleType("ray"))  # which would go on trying
    sys.modules["ray"].__spec__ = ModuleSpec("ray", None)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    for form in (address, f"ray://{address}"):
        with pytest.raises(UnreachableError, match=f"cluster {form} cannot be reached: .*refused"):
            RayWorkers(form, 1)


def test_the_shortest_turn_ends(tmp_path: Path) -> None:
    turn = turn_of(Learner(name="main", role="main"), tmp_path, 1e-9, {})
    assert float(turn.arguments[-1]) > 0.0


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "book.json").mkdir()
    with pytest.raises(StorageError, match=r"book\.json cannot be written"):
        a_book().write(tmp_path)


def test_one_that_was_killed_while_it_began_is_begun_again_by_one_process(tmp_path: Path, debug_config: Config) -> None:
    save_checkpoint(tmp_path / "agent", Dreamer(debug_config.dreamer, seed=1), {})
    (tmp_path / "agent.json").unlink()  # its weights hold the card as well
    place, foreign = tmp_path / "population", tmp_path / "foreign"
    (place / "members").mkdir(parents=True)
    (place / "config.toml").write_text("half")
    foreign.mkdir()
    (foreign / "notes.txt").touch()
    begin = ["--preset", "debug", "--start-from", str(tmp_path / "agent"), "--workers", "1", "--minutes", "1e-9"]
    with sole_writer(place, "it"):
        assert cli.run(["league", str(place), *begin]) == 19
    assert (place / "config.toml").read_text() == "half"
    assert cli.run(["league", str(place), *begin]) == 0
    assert Book.read(place).champion == "start" and load_checkpoint(place / NEWEST)[0]
    assert cli.run(["league", str(foreign), *begin]) == 3
    assert [path.name for path in foreign.iterdir()] == ["notes.txt"]


def test_a_damaged_book_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ResumeError, match=r"holds no population: it has no book\.json"):
        Book.read(tmp_path)
    a_book().write(tmp_path)
    whole = (tmp_path / "book.json").read_text()
    for damaged, said in (
        (whole[:-20], "is damaged"),
        (whole.replace('"turns": 0', '"turns": -1'), r"learners\.0\.turns"),
        (whole.replace('"turns": 0', '"turns": 0, "colour": 1'), "Extra inputs"),
        (whole.replace('"role": "main"', '"role": "exploiter"'), "does not name one main agent"),
        (whole.replace('"exploiter-1"', '"main"'), "two learners have the same name"),
        (whole.replace('"champion": ""', '"champion": "nobody"'), "its champion nobody is no member"),
        (whole.replace('"format": 1', '"format": 2'), "has another format than this version"),
        (whole.replace('"minutes": 0.0', '"minutes": 1e999'), r"learners\.0\.minutes"),
    ):
        (tmp_path / "book.json").write_text(damaged)
        with pytest.raises(ResumeError, match=said) as caught:
            Book.read(tmp_path)
        assert "\n" not in str(caught.value)
