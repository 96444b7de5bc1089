"""The service put together: what it opens, does in the background, and finishes when it stops."""

import asyncio
import contextlib
import gc
import math
import time
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Engine as Database
from sqlalchemy import text as sql

from stallwart.core.decision import Action, Decision
from stallwart.core.errors import StallwartError, StoreError
from stallwart.core.logs import say
from stallwart.core.settings import Settings
from stallwart.encoders.cache import EmbeddingCache
from stallwart.encoders.embed import Embedded
from stallwart.model.seen import erase_tools
from stallwart.reasons.give import Statements
from stallwart.serving.app import Parts, create_app
from stallwart.serving.bundles import BundleFolder, give_back_memory
from stallwart.serving.champion import deploy
from stallwart.serving.commit import Committer
from stallwart.serving.deliver import Deliverer
from stallwart.serving.engine import Engine
from stallwart.serving.fetch import PhotoFetcher
from stallwart.serving.gate import Gate
from stallwart.serving.keys import Authenticator
from stallwart.serving.known import Compared, KnownBad, targets, words_encoder
from stallwart.serving.memory import Embeddings
from stallwart.serving.metrics import Metrics
from stallwart.serving.rollouts.arms import Arms
from stallwart.serving.rollouts.control import Control
from stallwart.serving.rollouts.follow import Follow, Load, registered
from stallwart.serving.rollouts.shadow import Shadow
from stallwart.serving.runtime import Runtime
from stallwart.serving.sampling import Sampling
from stallwart.serving.schemas import StatementOut
from stallwart.serving.service import Service, Tools
from stallwart.serving.source import PhotoSource
from stallwart.serving.vitals import SECONDS as VITALS_SECONDS
from stallwart.serving.vitals import Vitals
from stallwart.store.database import check_current, database_url, open_database, reading, store_errors
from stallwart.store.erased import TOMBSTONES, Tombstones, keep_beside, read_tombstones, take_from_beside
from stallwart.store.erasing import erase_again, resume
from stallwart.store.photos import PhotoStore
from stallwart.store.retention import parts_of_hour, purge, sweep_photos
from stallwart.store.webhooks import Webhook, list_webhooks

_GAUGES_SECONDS = 1.0
_PURGE_SECONDS = 3_600.0
_ERASE_SECONDS = 900.0
_PLAN_SECONDS = 5.0  # until every replica draws by a new plan
_REPLAN_SECONDS = 300.0
_GARBAGE = 20_000  # objects that may be new before the collector looks at them; requests leave few cycles


def wall_ms() -> int:
    """Milliseconds since 1970, UTC."""
    return time.time_ns() // 1_000_000


def photo_store(settings: Settings) -> PhotoStore:
    """Where photos are kept, from the settings."""
    return PhotoStore(settings.photo_store or str((settings.data_dir / "photos").absolute()))


def create_service(bundle: Path, settings: Settings, *, insecure_local: bool = False) -> Gate:
    """The ASGI application that serves a bundle.

    A bundle that the registry does not know becomes the champion; otherwise the registry's champion decides,
    since a restart must not take back a promotion.

    Raises:
        BundleError: the bundle cannot be loaded.
        ConfigError: a setting is wrong, or the database has not the tables of this version.
        StoreError: the database cannot be reached.
    """
    folder = BundleFolder(bundle, settings)
    return create_service_of(folder.runtime, settings, insecure_local=insecure_local, folder=folder)


def create_service_of(
    runtime: Runtime,
    settings: Settings,
    *,
    insecure_local: bool = False,
    folder: BundleFolder | None = None,
    load: Load | None = None,
) -> Gate:
    """The same for any runtime.

    Args:
        runtime: what decides until the registry says otherwise.
        settings: of the service.
        insecure_local: whether callers on this machine need no key.
        folder: what to look at for another bundle; without one `runtime` is never reloaded.
        load: gives the runtime of a registered bundle; `follow.registered` where it is None.
    """
    house = _House(runtime, settings, folder, load or registered(settings))
    parts = Parts(
        service=house.service,
        keys=Authenticator(house.database, settings, wall_ms, insecure_local=insecure_local),
        database=house.database,
        metrics=house.metrics,
        now_ms=wall_ms,
        reload=house.reload,
        statements=house.statements,
        ready=house.ready,
        running=house.running,
    )
    return create_app(parts, settings)


class _House:
    """All that one process of a service holds open."""

    def __init__(self, runtime: Runtime, settings: Settings, folder: BundleFolder | None, load: Load):
        self.settings, self.folder = settings, folder
        self.database = open_database(database_url(settings), settings)
        check_current(self.database)
        self.statements = Statements(settings)
        self.metrics = Metrics()
        self.cache = EmbeddingCache(settings.cache_dir)
        self.embeddings = Embeddings(self.cache, settings.memory_cache_mb * 1_000_000)
        self.engine = Engine(
            runtime,
            self.embeddings,
            settings.threads,
            settings.max_queue,
            settings.max_queue_bytes,
            time.monotonic,
            settings.max_shadow,
            self._compare,
        )
        self.known = KnownBad(
            self.database,
            settings,
            wall_ms,
            time.monotonic,
            lambda: words_encoder(self.engine.runtime),
            lambda: targets(self.engine.runtime),
            settings.cache_dir / "known",
        )
        self.fetcher = PhotoFetcher(settings)
        self.hooks = _Webhooks(self.database, settings)
        self.tombstones = _Tombstones(self.database)
        self.deliverer = Deliverer(
            self.database,
            settings,
            wall_ms,
            counted=lambda result: self.metrics.webhook_deliveries.labels(result).inc(),
            beside=self._beside if settings.webhook_statement else None,
        )
        self.committer = Committer(self.database, settings, wall_ms, self.hooks, self._committed)
        photos = photo_store(settings)
        self.photos = photos
        arms = Arms(runtime, settings.follow_seconds, time.monotonic)
        shadow = Shadow(self.engine, self.database, self.metrics, wall_ms)
        self.follow = Follow(self.database, self.engine, arms, load, self.metrics, time.monotonic)
        self.control = Control(self.database, self.follow, shadow, photos, settings, wall_ms)
        self.sampling = Sampling(self.database, settings, wall_ms)
        self.service = Service(
            Tools(
                engine=self.engine,
                arms=arms,
                shadow=shadow,
                committer=self.committer,
                photos=photos,
                fetcher=self.fetcher,
                source=PhotoSource(settings),
                metrics=self.metrics,
                now_ms=wall_ms,
                clock=time.monotonic,
                erased=self.tombstones,
                sampling=self.sampling,
            ),
            settings,
        )
        self.vitals = Vitals(self.database, self.metrics, self.engine.oldest_seconds, wall_ms)
        self.metrics.bundle.labels(runtime.digest).set(time.time())
        if folder is not None:
            deploy(self.database, folder, settings, wall_ms(), is_start=True)
        self.follow.read()
        self.known.follow()

    def _compare(self, embedded: Embedded, runtime: Runtime) -> Compared:
        return self.known.compare(embedded, runtime)

    def _beside(self, decision: Decision) -> dict[str, Any]:
        """What a webhook gets beside a decision: of a block its statement of reasons."""
        if decision.action != Action.BLOCK:
            return {}
        given = self.statements.give(self.database, decision.decision_id, wall_ms())
        return {"statement": StatementOut.model_validate(given).model_dump()}

    def _committed(self, rows: int) -> None:
        self.metrics.commit_rows.observe(rows)
        if self.hooks.known:
            self.deliverer.wake()

    def reload(self) -> str:
        """Load the folder again and follow the registry; the digest of what decides."""
        if self.folder is not None:
            self.folder.load()
            deploy(self.database, self.folder, self.settings, wall_ms())
        self.follow.read()
        give_back_memory()
        return self.engine.runtime.digest

    def ready(self) -> str:
        """Why no traffic should come; "" where it should."""
        try:
            with store_errors("the database does not answer"), reading(self.database) as connection:
                connection.execute(sql("SELECT 1"))
        except StoreError as err:
            return str(err)
        return ""

    def _read_gauges(self) -> None:
        self.metrics.pending.set(self.engine.pending)
        self.metrics.oldest.set(self.engine.oldest_seconds())
        self.metrics.read_process()

    def _watch_folder(self) -> None:
        if self.folder is not None and self.folder.changed():
            self.reload()

    def _sweep(self) -> None:
        now_ms = wall_ms()
        kept_ms = int(timedelta(days=self.settings.retention_days).total_seconds() * 1e3)
        purge(self.database, self.photos.delete, now_ms - kept_ms, now_ms)
        sweep_photos(self.database, self.photos, now_ms, parts_of_hour(now_ms))

    def _erase(self) -> None:
        """Go on with erasures whose photos waited, and erase again what came back, as from a backup."""
        beside = self.settings.data_dir / TOMBSTONES
        take_from_beside(self.database, beside)
        with reading(self.database) as connection:
            known = read_tombstones(connection)
        if known.keyed:
            tools = erase_tools(self.database, self.settings, wall_ms)
            done = [*resume(self.database, tools), *erase_again(self.database, tools)]
            if done:
                say("erased", erasures=len(done), waiting=sum(one.waiting for one in done))
            keep_beside(self.database, beside)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Entered before the first request, left after the last."""
        settings = self.settings
        self.deliverer.start()
        # What is loaded by now stays: the collector need not walk it again and again between requests
        gc.collect()
        gc.freeze()
        gc.set_threshold(_GARBAGE)
        tasks = [
            asyncio.create_task(_every(seconds, work))
            for seconds, work in (
                (_GAUGES_SECONDS, self._read_gauges),
                (settings.reload_seconds, self._watch_folder),
                (settings.rollout_seconds, self.follow.read),
                (settings.rollout_seconds, self.follow.read_rights),
                (settings.rollout_seconds, self.control.work),
                (settings.known_seconds, self.known.follow),
                (_PLAN_SECONDS, self.sampling.read),
                (_REPLAN_SECONDS, self.sampling.replan),
                (_PURGE_SECONDS, self._sweep),
                (VITALS_SECONDS, self.vitals.write),
                (_ERASE_SECONDS, self._erase),
                (max(_GAUGES_SECONDS, settings.key_cache_seconds), self.tombstones.read),
            )
            if seconds
        ]
        say("ready", bundle=self.engine.runtime.digest, policies=len(self.engine.runtime.policies))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._close()
            say("stopped")

    async def _close(self) -> None:
        seconds = self.settings.shutdown_seconds
        await asyncio.to_thread(self.engine.close, seconds)
        await asyncio.to_thread(self.committer.close, seconds)
        await asyncio.to_thread(self.control.close)
        await asyncio.to_thread(self.deliverer.stop, seconds / 2)
        await asyncio.to_thread(self.embeddings.close)
        await self.fetcher.aclose()
        self.service.close()
        self.cache.close()
        self.database.dispose()


class _Tombstones:
    """What was erased, read again every few seconds; what slips through meanwhile is erased again."""

    def __init__(self, database: Database):
        self._database = database
        self._known = Tombstones(b"", frozenset())
        self.read()

    def __call__(self, listing_id: str, seller_id: str | None) -> bool:
        """Whether a listing or its seller was erased, as far as was read."""
        return self._known.holds(listing_id, seller_id)

    def read(self) -> None:
        """Read them again.

        Raises:
            StoreError: the database does not answer; what was read before goes on.
        """
        with store_errors("tombstones cannot be read"), reading(self._database) as connection:
            self._known = read_tombstones(connection)


class _Webhooks:
    """Who is told of decisions, read again every few seconds."""

    def __init__(self, database: Database, settings: Settings):
        self._database, self._seconds = database, settings.key_cache_seconds
        self.known: list[Webhook] = []
        self._read_at = -math.inf

    def __call__(self) -> list[Webhook]:
        """All that were not removed.

        Raises:
            SQLAlchemyError: the database does not answer; nothing is committed without knowing who is told.
        """
        now = time.monotonic()
        if now - self._read_at >= self._seconds:
            self.known, self._read_at = list_webhooks(self._database), now
        return self.known


async def _every(seconds: float, work: Callable[[], None]) -> None:
    """Do something again and again in a thread; a failure is logged and the next time comes."""
    while True:
        try:
            await asyncio.to_thread(work)
        except StallwartError as err:
            say("background", level=30, work=work.__name__, error=str(err))
        except Exception:  # noqa: BLE001 - the service goes on without it, and says so
            say("background", level=40, exc_info=True, work=work.__name__)
        await asyncio.sleep(seconds)
