"""The service put together: what it opens, does in the background, and finishes when it stops."""

import asyncio
import contextlib
import ctypes
import gc
import json
import math
import threading
import time
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path

from sqlalchemy import Engine as Database
from sqlalchemy import text as sql

from stallwart.core.errors import BundleError, StallwartError, StoreError
from stallwart.core.settings import Settings
from stallwart.encoders.cache import EmbeddingCache
from stallwart.model.bundle import MANIFEST, read_bundle
from stallwart.serving.app import Parts, create_app
from stallwart.serving.commit import Committer
from stallwart.serving.deliver import Deliverer
from stallwart.serving.engine import Engine
from stallwart.serving.fetch import PhotoFetcher
from stallwart.serving.gate import Gate
from stallwart.serving.keys import Authenticator
from stallwart.serving.logs import say
from stallwart.serving.memory import Embeddings
from stallwart.serving.metrics import Metrics
from stallwart.serving.runtime import BundleRuntime, Runtime
from stallwart.serving.service import Service, Tools
from stallwart.serving.source import PhotoSource
from stallwart.store.database import check_current, database_url, open_database, reading, store_errors
from stallwart.store.photos import PhotoStore
from stallwart.store.retention import purge
from stallwart.store.webhooks import Webhook, list_webhooks

_GAUGES_SECONDS = 1.0
_PURGE_SECONDS = 3_600.0
_GARBAGE = 20_000  # objects that may be new before the collector looks at them; requests leave few cycles


def wall_ms() -> int:
    """Milliseconds since 1970, UTC."""
    return time.time_ns() // 1_000_000


def photo_store(settings: Settings) -> PhotoStore:
    """Where photos are kept, from the settings."""
    return PhotoStore(settings.photo_store or str((settings.data_dir / "photos").absolute()))


class BundleFolder:
    """The bundle that decides, loaded again when its folder changes.

    Args:
        folder: of the bundle; it may be a link that is moved.
        settings: bounds on photos, and what the graphs run on.

    Raises:
        BundleError: there is no bundle that can be loaded.
    """

    def __init__(self, folder: Path, settings: Settings):
        self._folder, self._settings, self._refused = folder, settings, ""
        self._one_at_a_time = threading.Lock()
        self.runtime = self._loaded()

    def changed(self) -> bool:
        """Whether the folder holds another bundle now, one that was not refused before."""
        try:
            digest = json.loads((self._folder / MANIFEST).read_bytes())["digest"]
        except (OSError, ValueError, TypeError, KeyError):
            return False  # being replaced right now, or broken: what is loaded goes on
        return digest not in (self.runtime.digest, self._refused)

    def load(self) -> BundleRuntime:
        """Load what the folder holds now; what was loaded before stays if that fails.

        Raises:
            BundleError: it cannot be loaded.
        """
        with self._one_at_a_time:
            try:
                self.runtime = self._loaded()
            except BundleError:
                with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
                    self._refused = json.loads((self._folder / MANIFEST).read_bytes())["digest"]
                raise
            return self.runtime

    def _loaded(self) -> BundleRuntime:
        # The folder behind a link, so that a link that moves meanwhile cannot mix two bundles
        runtime = BundleRuntime(read_bundle(self._folder.resolve()), self._settings)
        runtime.warm_up()
        return runtime


def create_service(bundle: Path, settings: Settings, *, insecure_local: bool = False) -> Gate:
    """The ASGI application that serves a bundle.

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
) -> Gate:
    """The same for any runtime; without a folder it is never reloaded."""
    database = open_database(database_url(settings), settings)
    check_current(database)
    metrics = Metrics()
    cache = EmbeddingCache(settings.cache_dir)
    embeddings = Embeddings(cache, settings.memory_cache_mb * 1_000_000)
    engine = Engine(
        runtime,
        embeddings,
        settings.threads,
        settings.max_queue,
        settings.max_queue_bytes,
        time.monotonic,
    )
    photos = photo_store(settings)
    fetcher, source = PhotoFetcher(settings), PhotoSource(settings)
    deliverer = Deliverer(
        database,
        settings,
        wall_ms,
        counted=lambda result: metrics.webhook_deliveries.labels(result).inc(),
    )
    hooks = _Webhooks(database, settings)

    def committed(rows: int) -> None:
        metrics.commit_rows.observe(rows)
        if hooks.known:
            deliverer.wake()

    committer = Committer(database, settings, wall_ms, hooks, committed)
    tools = Tools(engine, committer, photos, fetcher, source, metrics, wall_ms, time.monotonic)
    service = Service(tools, settings)
    metrics.bundle.labels(runtime.digest).set(time.time())

    def reload() -> str:
        if folder is None:
            return engine.runtime.digest
        loaded = folder.load()
        if loaded.digest != engine.runtime.digest:
            engine.use(loaded)
            metrics.bundle.labels(loaded.digest).set(time.time())
            say("bundle loaded", bundle=loaded.digest)
        _give_back_memory()
        return loaded.digest

    def ready() -> str:
        try:
            with store_errors("the database does not answer"), reading(database) as connection:
                connection.execute(sql("SELECT 1"))
        except StoreError as err:
            return str(err)
        return ""

    def read_gauges() -> None:
        metrics.pending.set(engine.pending)
        metrics.oldest.set(engine.oldest_seconds())
        metrics.read_process()

    def watch() -> None:
        if folder is not None and folder.changed():
            reload()

    def sweep() -> None:
        now_ms = wall_ms()
        kept_ms = int(timedelta(days=settings.retention_days).total_seconds() * 1e3)
        purge(database, photos.delete, now_ms - kept_ms, now_ms)

    @contextlib.asynccontextmanager
    async def running() -> AsyncIterator[None]:
        deliverer.start()
        # What is loaded by now stays: the collector need not walk it again and again between requests
        gc.collect()
        gc.freeze()
        gc.set_threshold(_GARBAGE)
        tasks = [
            asyncio.create_task(_every(seconds, work))
            for seconds, work in (
                (_GAUGES_SECONDS, read_gauges),
                (settings.reload_seconds, watch),
                (_PURGE_SECONDS, sweep),
            )
            if seconds
        ]
        say("ready", bundle=engine.runtime.digest, policies=len(engine.runtime.policies))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.to_thread(engine.close, settings.shutdown_seconds)
            await asyncio.to_thread(committer.close, settings.shutdown_seconds)
            await asyncio.to_thread(deliverer.stop, settings.shutdown_seconds / 2)
            await asyncio.to_thread(embeddings.close)
            await fetcher.aclose()
            service.close()
            cache.close()
            database.dispose()
            say("stopped")

    parts = Parts(
        service=service,
        keys=Authenticator(database, settings, wall_ms, insecure_local=insecure_local),
        database=database,
        metrics=metrics,
        now_ms=wall_ms,
        reload=reload,
        ready=ready,
        running=running,
    )
    return create_app(parts, settings)


def _give_back_memory() -> None:
    """Return to the system what the last bundle held; glibc would keep it, 40 % more memory in all."""
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


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
