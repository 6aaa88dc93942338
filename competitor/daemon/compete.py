"""The daemon, put together: brain, engine, records, tournament, wire, and what watches over them.

`compete` warms the network up and tests it before the first connection, plays until it is told to stop, and
leaves everything closed. Nothing here knows a protocol, or a network from inside.
"""

import logging
import os
import random
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np

from competitor.config import CompeteConfig, Config
from competitor.daemon.database import SHOWN_DIGITS
from competitor.daemon.health import HealthServer
from competitor.daemon.logs import CONSOLE, Announcer, Redaction, log_header, logging_to
from competitor.daemon.options import CompeteOptions
from competitor.daemon.reconnecting import ReconnectingWire
from competitor.daemon.records import Records
from competitor.daemon.status import WRITE_EVERY_S, DaemonStatus, StatusFile
from competitor.daemon.supervisor import Lifecycle, Signals, Supervisor, signals_to
from competitor.daemon.telemetry import Telemetry
from competitor.daemon.tournament import Tournament
from competitor.engine.brain import load_brain
from competitor.engine.engine import Engine
from competitor.engine.guard import Brain
from competitor.engine.session import ACTION_SIZE, OBS_SIZE
from competitor.errors import PlayerError, StorageError, message
from competitor.players import AGENTS, agent_path, fingerprint, kind_of
from competitor.system import code_version, low_latency
from competitor.wire.address import host_and_port
from competitor.wire.backoff import Retries
from dreamer.checkpoint import read_card

RELOADED = {"deterministic", "deadline_s"}  # the settings that a running daemon can change

log = logging.getLogger(__name__)
console = logging.getLogger(CONSOLE)


def compete(options: CompeteOptions) -> bool:
    """Play on the server until everything asked for is done or a signal ends it; False: matches in play were left.

    Raises CheckpointError, PlayerError (a checkpoint for another game), PortError, StorageError, RecordingError,
    and what ends a wire: LoginError, ProtocolVersionError, CertificateError, UnreachableError.
    """
    signals = Signals()
    with signals_to(signals), ExitStack() as stack:
        config = options.load_config()
        digest = weights_digest(options.checkpoint)
        try:
            place = stack.enter_context(StatusFile(options.records))
        except OSError as error:
            raise _refused(options.records, error) from error
        return Daemon(options, config, place, digest, signals).live()


class Daemon:
    """One daemon from its start to its end. digest: sha256 of the weights it begins with."""

    def __init__(
        self, options: CompeteOptions, config: Config, place: StatusFile, digest: str, signals: Signals
    ) -> None:
        self._options, self._config, self._place, self._digest = options, config, place, digest
        self._signals = signals
        self._redact = Redaction(options.token)
        # As it is kept and shown: the token may stand in its query.
        self._server = str(replace(options.address, path=self._redact(options.address.path)))
        self._version = code_version()
        self._log = options.records / "logs" / f"compete-{place.number}.log"
        self._started_at = time.time()
        self._written_s = float("-inf")
        self._reported: tuple[str, int, int] | None = None
        self._telemetry = Telemetry()
        self._lifecycle = Lifecycle(options.games)
        self._is_time = options.until.watch() if options.until else lambda: False

    def live(self) -> bool:
        """Do everything in the right order; what it returns and raises is said at `compete`."""
        with ExitStack() as stack:
            self._start_logging(stack)
            self._answer_health(stack)
            try:
                self._report()
                self._say_hello()
                as_asked, summary = self._play()
            except Exception as error:
                log.info("ended by an error: %s", message(error), exc_info=error)
                self._write_status(error=message(error))
                raise
            console.info("%s: %s", "done" if as_asked else "left at once", summary)
        return as_asked

    def _play(self) -> tuple[bool, str]:
        """Play; returns what `compete` does, and how the matches went."""
        options, compete = self._options, self._config.compete
        brain = load(options, self._config)
        with ExitStack() as stack:
            self._engine = Engine(
                brain,
                deadline_s=compete.deadline_s,
                answered=self._telemetry.answered,
                generator=np.random.default_rng(self._config.run.seed),
            )
            stack.callback(self._engine.stop)
            self._engine.start()
            records = stack.enter_context(Records(options.records, stored=self._telemetry.stored))
            announcer = Announcer(records)
            wire = _make_wire(options, compete, self._tournament(announcer))
            if self._signals.is_stopping:
                return True, announcer.summary
            stack.enter_context(low_latency())
            supervisor = Supervisor(
                wire,
                self._lifecycle,
                signals=self._signals,
                reload=self._reload,
                report=self._report,
                time_is_up=lambda: f"it is {options.until}" if self._is_time() else None,
            )
            as_asked = supervisor.run()
        return as_asked, announcer.summary

    def _tournament(self, announcer: Announcer) -> Tournament:
        return Tournament(
            self._engine,
            announcer,
            self._lifecycle,
            self._telemetry,
            wire=self._options.address.wire,
            server=self._server,
            account=self._options.account,
            stuck_after_s=self._config.compete.stuck_after_s,
            redact=self._redact,
        )

    def _reload(self) -> None:
        """Weights and settings anew, for the matches to come; if that fails, whatever the reason, nothing changes."""
        try:
            config = self._options.load_config()
            brain = load(self._options, config)
        except Exception as error:
            log.warning("not reloaded, the weights and settings before stay: %s", message(error), exc_info=error)
            return
        self._engine.replace(brain, deadline_s=config.compete.deadline_s)
        before, after = self._config.compete.model_dump(), config.compete.model_dump()
        if waiting := {key for key in before if before[key] != after[key]} - RELOADED:
            log.warning("changes of %s wait for the next start", ", ".join(sorted(waiting)))
        self._digest, self._config = brain.digest, config
        console.info("reloaded for new matches: %s (%s)", brain.name, brain.digest[:SHOWN_DIGITS])
        log.info("settings: %s", config.compete.model_dump_json())

    def _start_logging(self, stack: ExitStack) -> None:
        options = self._options

        def header() -> str:
            return log_header(self._version, self._server, options.checkpoint, self._digest, self._config)

        try:
            stack.enter_context(logging_to(self._log, header=header, secret=options.token))
        except OSError as error:
            raise _refused(options.records, error) from error

    def _answer_health(self, stack: ExitStack) -> None:
        if self._options.http is None:
            return
        host, port = self._options.http
        stuck_after_s = self._config.compete.stuck_after_s
        server = HealthServer(host, port, self._telemetry, lambda: self._lifecycle.phase, stuck_after_s=stuck_after_s)
        stack.callback(server.close)
        console.info("health and metrics: http://%s/healthz and /metrics", host_and_port(host, server.port))

    def _report(self) -> None:
        """Renew the status file every few seconds, and as soon as something else is the case."""
        numbers = self._telemetry.numbers()
        state = (self._lifecycle.phase, numbers.connections, numbers.playing)
        if state != self._reported or time.monotonic() - self._written_s >= WRITE_EVERY_S:
            self._reported = state
            self._write_status()

    def _write_status(self, error: str | None = None) -> None:
        """Write the status file; the disk may refuse."""
        self._written_s = time.monotonic()
        status = DaemonStatus(
            pid=os.getpid(),
            server=self._server,
            checkpoint=self._options.checkpoint,
            digest=self._digest,
            version=self._version,
            log=str(self._log),
            started_at=self._started_at,
            written_at=time.time(),
            written_monotonic_s=self._written_s,
            phase=self._lifecycle.phase,
            numbers=self._telemetry.numbers(),
            error=error,
        )
        try:
            self._place.write(status)
        except OSError as problem:
            log.info("the status file could not be written: %s", problem)

    def _say_hello(self) -> None:
        options, actions = self._options, how(self._config.compete)
        console.info("hockey-dreamer %s plays on %s", self._version, self._server)
        console.info("checkpoint %s (%s), %s", options.checkpoint, self._digest[:SHOWN_DIGITS], actions)
        console.info("daemon %d of %s, log %s", self._place.number, options.records, self._log)
        console.info("Ctrl-C finishes the matches in play, a second Ctrl-C leaves at once")
        if options.warning:
            log.warning("%s", options.warning)


def _make_wire(options: CompeteOptions, compete: CompeteConfig, tournament: Tournament) -> ReconnectingWire:
    """The wire that speaks the protocol of the address asked for. Raises AddressError, CertificateError, TokenError."""
    address = options.address

    def retries() -> Retries:
        return Retries(compete.retry_first_s, compete.retry_most_s, random.Random(), compete.attempts)

    if address.wire == "comprl":
        from competitor.daemon.comprl import ComprlWire

        return ComprlWire(
            address.host, address.port, options.token, tournament, connections=options.connections, retries=retries
        )
    from competitor.daemon.websocket import WebSocketWire

    return WebSocketWire(
        address, options.token, tournament, matches=options.connections, retries=retries, authority=options.ca_file
    )


def load(options: CompeteOptions, config: Config) -> Brain:
    """The player as the settings want it, tested."""
    compete, run = config.compete, config.run
    brain = load_brain(
        options.checkpoint,
        deterministic=compete.deterministic,
        seed=run.seed,
        threads=run.threads,
        ready=options.connections,
    )
    brain.self_test()
    return brain


def how(compete: CompeteConfig) -> str:
    """Return how it acts, in words."""
    return "most likely actions" if compete.deterministic else "sampled actions"


def weights_digest(checkpoint: str) -> str:
    """The sha256 of the weights as their card has it, or of another player's file; nothing is loaded or written yet.

    Raises CheckpointError, and PlayerError for a checkpoint with other observations or actions, or no player at all.
    """
    if kind_of(checkpoint) not in AGENTS:
        return fingerprint(checkpoint)
    card = read_card(agent_path(checkpoint))
    sizes = card.get("obs_size"), card.get("action_size")
    if sizes != (OBS_SIZE, ACTION_SIZE):
        raise PlayerError(
            f"{checkpoint} was made for {sizes[0]} observations and {sizes[1]} actions, the tournament has {OBS_SIZE} "
            f"and {ACTION_SIZE}: choose a checkpoint trained with rink.keep_mode = true"
        )
    return str(card.get("sha256"))


def _refused(directory: Path, error: OSError) -> StorageError:
    reason = error.strerror or error
    return StorageError(f"records cannot be written to {directory}: {reason}; choose another with --records DIR")
