"""The registry and the rollout, read about once a second: loads the bundles they name, and routes by them."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import Engine as Database

from stallwart.core.errors import BundleError
from stallwart.core.logs import say
from stallwart.core.rollout import Rollout
from stallwart.core.settings import Settings
from stallwart.rollout.plan import Plan, plan_of
from stallwart.serving.bundles import give_back_memory, load_registered
from stallwart.serving.engine import Engine
from stallwart.serving.metrics import Metrics
from stallwart.serving.rollouts.arms import Arms, Routing
from stallwart.serving.runtime import Runtime
from stallwart.store.database import reading, store_errors
from stallwart.store.registry import BundleRow, champion, read_bundle_row
from stallwart.store.rollouts import current

Load = Callable[[str, str, Runtime], Runtime]  # digest, place, what decides now -> the runtime
_AGAIN_SECONDS = 60.0  # until a bundle that did not load is tried again


def registered(settings: Settings) -> Load:
    """Loads bundles from where the registry says they are."""

    def load(digest: str, place: str, beside: Runtime) -> Runtime:
        return load_registered(place, digest, settings, beside)

    return load


class Follow:
    """Keeps the arms at what the database says.

    Args:
        database: what to read.
        engine: is told which runtime decides.
        arms: are told how to route.
        load: gives the runtime of a bundle.
        metrics: count.
        clock: seconds, monotonic; that of `arms`.

    Attributes:
        memory_mb: what loading the challenger added to this process; 0 where none is loaded.
        refused: why the challenger does not load here; "" where it does.
    """

    def __init__(
        self,
        database: Database,
        engine: Engine,
        arms: Arms,
        load: Load,
        metrics: Metrics,
        clock: Callable[[], float],
    ):
        self._database, self._engine, self._load, self._metrics = database, engine, load, metrics
        self.arms, self._clock = arms, clock
        self._one_at_a_time = threading.Lock()
        self._failed: dict[str, tuple[float, str]] = {}  # digest -> when, and why
        self.memory_mb, self.refused = 0.0, ""

    def read(self) -> None:
        """Read once, load what is new, and route by it.

        Raises:
            StoreError: the database cannot be read; what was read before goes on, for some seconds.
        """
        with self._one_at_a_time:
            read_at = self._clock()
            with store_errors("the rollout cannot be read"), reading(self._database) as connection:
                digest, rollout = champion(connection), current(connection)
                wanted = read_bundle_row(connection, digest) if digest else None
                challenger = read_bundle_row(connection, rollout.challenger) if rollout else None
            before = self.arms.now
            deciding = self._champion(wanted)
            waiting = self._challenger(challenger, deciding)
            self.arms.use(Routing(deciding, waiting, rollout, self._plan(rollout), read_at))
            self._metrics.share.set(rollout.share if rollout and waiting else 0.0)
            if deciding is not before.champion:
                self._engine.use(deciding)
                self._metrics.bundle.labels(deciding.digest).set(time.time())
                say("bundle loaded", bundle=deciding.digest)
            if before.challenger is not None and waiting is None:
                give_back_memory()

    def _champion(self, wanted: BundleRow | None) -> Runtime:
        now = self.arms.now
        if wanted is None or wanted.digest == now.champion.digest:
            return now.champion
        if now.challenger is not None and now.challenger.digest == wanted.digest:
            return now.challenger
        return self._loaded(wanted, now.champion) or now.champion

    def _challenger(self, wanted: BundleRow | None, deciding: Runtime) -> Runtime | None:
        now = self.arms.now.challenger
        if wanted is None:
            self.memory_mb, self.refused = 0.0, ""
            return None
        if now is not None and now.digest == wanted.digest:
            return now
        held = _resident_mb()
        loaded = self._loaded(wanted, deciding)
        self.refused = "" if loaded else self._failed[wanted.digest][1]
        self.memory_mb = max(0.0, _resident_mb() - held) if loaded else 0.0
        return loaded

    def _loaded(self, wanted: BundleRow, beside: Runtime) -> Runtime | None:
        failed = self._failed.get(wanted.digest)
        if failed and self._clock() - failed[0] < _AGAIN_SECONDS:
            return None
        try:
            runtime = self._load(wanted.digest, wanted.place, beside)
        except BundleError as err:
            reason = str(err)
        except Exception as err:  # noqa: BLE001 - whatever a graph does while it warms up
            reason = f"the bundle {wanted.digest[:12]} does not score ({type(err).__name__}: {err})"
        else:
            self._failed.pop(wanted.digest, None)
            return runtime
        self._failed[wanted.digest] = (self._clock(), reason)
        say("bundle not loaded", level=40, bundle=wanted.digest, error=reason)
        return None

    def _plan(self, rollout: Rollout | None) -> Plan | None:
        now = self.arms.now
        if rollout is None:
            return None
        if now.rollout is not None and now.rollout.rollout_id == rollout.rollout_id:
            return now.plan
        return plan_of(rollout.plan, f"the plan of rollout {rollout.rollout_id}")


def _resident_mb() -> float:
    """What this process holds, in megabytes; 0 where the system does not say."""
    try:
        held = Path("/proc/self/statm").read_text().split()[1]
    except (OSError, IndexError):
        return 0.0
    return int(held) * 4096 / 1e6
