"""The registry, rights and the rollout, read about once a second: loads the bundles, and routes by them."""

import threading
import time
from collections.abc import Callable, Mapping
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
from stallwart.serving.rollouts.besides import Besides
from stallwart.serving.runtime import Runtime
from stallwart.store import rulebooks
from stallwart.store.database import reading, store_errors
from stallwart.store.registry import BundleRow, champion, read_bundle_row
from stallwart.store.rights import acting, asking, changed_since, earning, read_rights
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
        self._one_at_a_time, self._routing = threading.Lock(), threading.Lock()
        self._failed: dict[str, tuple[float, str]] = {}  # digest -> when, and why
        # As they were loaded; what routes are these under their policies' rights
        self._deciding, self._waiting = arms.now.champion, arms.now.challenger
        self._under: dict[str, tuple[Runtime, object, Runtime]] = {}  # by role: of what, how, and what came
        self._besides = Besides()
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
                book, beside = rulebooks.current(connection), rulebooks.scoring(connection)
            had = self._waiting
            deciding = self._besides.beside(self._champion(wanted), book, beside)
            waiting = self._challenger(challenger, deciding)
            waiting = waiting and self._besides.beside(waiting, book, beside)
            self._route(deciding, waiting, rollout, self._plan(rollout), read_at)
            self._metrics.share.set(rollout.share if rollout and waiting else 0.0)
            if had is not None and waiting is None:
                give_back_memory()

    def read_rights(self) -> None:
        """Read only which policies may act alone; also while `read` takes its time to load a bundle.

        Raises:
            StoreError: the database cannot be read; what was read before goes on, for some seconds.
        """
        self._route(None, None, None, None, None)

    def _route(
        self,
        deciding: Runtime | None,
        waiting: Runtime | None,
        rollout: Rollout | None,
        plan: Plan | None,
        read_at: float | None,
    ) -> None:
        """Route by this, or as before where no runtime is given, under the rights that hold now."""
        with self._routing:
            before, rights_at = self.arms.now, self._clock()
            if deciding is None or read_at is None:
                deciding, waiting = self._deciding, self._waiting
                rollout, plan, read_at = before.rollout, before.plan, before.read_at
            named = {one.digest for one in (deciding, waiting) if one is not None}
            with store_errors("rights cannot be read"), reading(self._database) as connection:
                rights = read_rights(connection, named)
            self._deciding, self._waiting = deciding, waiting
            acts, asks = acting(rights), asking(rights)
            now = self._with_rights("champion", deciding, acts, asks)
            blocks = {name: one.block for name, one in now.thresholds.items() if one.block is not None}
            never = {now.digest: dict.fromkeys(blocks)}
            self.arms.use(
                Routing(
                    now,
                    self._with_rights("challenger", waiting, acts, asks) if waiting else None,
                    rollout,
                    plan,
                    read_at,
                    rights_at,
                    self._with_rights("cautious", now, never, {now.digest: blocks}),
                    changed_since(rights, rollout.started_at_ms) if rollout else frozenset(),
                    earning(rights),
                )
            )
            if waiting is None:
                self._under.pop("challenger", None)  # it holds a bundle
            if now is not before.champion:
                self._engine.use(now)
                self._say(now, before.champion)

    def _say(self, now: Runtime, before: Runtime) -> None:
        if now.digest != before.digest:
            self._metrics.bundle.labels(now.digest).set(time.time())
            say("bundle loaded", bundle=now.digest)
            return
        acts = sorted(name for name, limits in now.thresholds.items() if limits.block is not None)
        say("rights changed", bundle=now.digest, acting=acts)

    def _with_rights(
        self,
        role: str,
        runtime: Runtime,
        acts: Mapping[str, Mapping[str, float | None]],
        asks: Mapping[str, Mapping[str, float]],
    ) -> Runtime:
        """The runtime under its policies' rights: the same object as long as these are the same."""
        now, act, ask = runtime.thresholds, acts.get(runtime.digest, {}), asks.get(runtime.digest, {})
        changed = {name: score for name, score in act.items() if name in now and now[name].block != score}
        asked = {name: score for name, score in ask.items() if name in now}
        made = self._under.get(role)
        if made is None or made[0] is not runtime or made[1] != (changed, asked):
            other = runtime.under(changed, asked) if changed or asked else runtime
            made = self._under[role] = (runtime, (changed, asked), other)
        return made[2]

    def _champion(self, wanted: BundleRow | None) -> Runtime:
        if wanted is None or wanted.digest == self._deciding.digest:
            return self._deciding
        if self._waiting is not None and self._waiting.digest == wanted.digest:
            return self._waiting
        return self._loaded(wanted, self._deciding) or self._deciding

    def _challenger(self, wanted: BundleRow | None, deciding: Runtime) -> Runtime | None:
        now = self._waiting
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
