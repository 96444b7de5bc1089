"""Labels up to a day -> a challenger in shadow, or the reason why not.

    files      labels and listings as known on that day, those held back apart
    bundle     trained on them
    gate       champion and challenger on the same later and older listings
    shadow     the challenger registered, and a rollout of it begun

Each step ends with a file or a folder that is whole or not there, below a folder that is named by the day. So
a retraining that was killed goes on after its last whole step, and one that was through says again what it
said. A lease in the database lets one work at a time; the audit log keeps what came of each.
"""

import contextlib
import json
import os
import secrets
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Engine

from stallwart.core.errors import ConflictError, StallwartError
from stallwart.core.progress import Track, silent
from stallwart.core.scored import Scored
from stallwart.core.settings import Settings
from stallwart.encoders.cache import EmbeddingCache
from stallwart.evaluation.run import score_features
from stallwart.loop.files import Erased, Gathered, Given, gather_files, is_held_back
from stallwart.loop.gate import Gated, Margins, judge
from stallwart.model.bundle import MANIFEST, Bundle, read_bundle
from stallwart.model.material import Material, Sources, gather
from stallwart.model.runtime import Scorer
from stallwart.model.shelf import from_shelf, shelf, shelve
from stallwart.rollout.plan import Plan
from stallwart.serving.rollouts.operate import start_rollout
from stallwart.store import audit, leases, registry, rollouts
from stallwart.store.database import reading, store_errors, writing
from stallwart.store.files import whole_file
from stallwart.store.photos import PhotoStore
from stallwart.training.recipe import Recipe
from stallwart.training.train import train

SUBJECT = "retrain"
LEASE = "retrain"
_GATE = "gate.json"


@dataclass(frozen=True)
class Asked:
    """What a retraining is asked for.

    Attributes:
        until: labels given at or after it, and listings from then on, are not known.
        given: enforcement's files, if any.
        recipe: how it is trained.
        plan: how the rollout goes.
        who: for the audit log.
        why: for the audit log.
    """

    until: datetime
    given: Given
    recipe: Recipe
    plan: Plan
    who: str
    why: str


@dataclass(frozen=True)
class Outcome:
    """What came of it.

    Attributes:
        bundle: digest of the challenger.
        folder: where it lies.
        champion: digest of the bundle it was compared with; None where there was none.
        gate: what the gate said; None where there was no champion.
        labels: how many it could learn from, by label, held back or not.
        held_back: how many of them it did not learn from.
        carried: how many of them are as moves of the rulebook carried them.
        left_open: listings whose label such a move left open, so that they have none.
        rollout_id: of the rollout that has it in shadow; None where the gate failed, or nothing decides yet.
    """

    bundle: str
    folder: Path
    champion: str | None
    gate: dict[str, Any] | None
    labels: dict[str, int]
    held_back: int
    carried: int
    left_open: int
    rollout_id: str | None

    @property
    def passed(self) -> bool:
        """Whether it may go on."""
        return self.gate is None or bool(self.gate["passed"])


def retrain(
    engine: Engine,
    photos: PhotoStore,
    asked: Asked,
    settings: Settings,
    now_ms: Callable[[], int],
    track: Track = silent,
    erased: Erased | None = None,
) -> Outcome:
    """A challenger in shadow, or why there is none; what an interrupted one did is not done again.

    Args:
        engine: the service's database.
        photos: the service's photos.
        asked: what is wanted.
        settings: limits, margins and folders.
        now_ms: milliseconds since 1970.
        track: shows how far it is.
        erased: says whether a listing was erased; None where nothing ever was.

    Raises:
        ConflictError: another retraining is at work, or a rollout runs.
        DataError: there is too little to learn from.
        BundleError: the champion cannot be loaded.
        StoreError: the database or the photo store fails.
    """
    work = settings.data_dir.absolute() / "retrain" / f"{asked.until:%Y-%m-%dT%H%M}"
    with _alone(engine, settings, now_ms):
        champion = _champion(engine)
        _refuse_beside_a_rollout(engine, work)
        files = gather_files(work / "files", asked.given, engine, photos, asked.until, settings, erased)
        made = _bundle(work / "bundle", files, asked, settings, track)
        gate = None
        if champion is not None and champion.digest != made.digest:
            gate = _gate(work / _GATE, champion, made, files, asked, settings, track)
        outcome = Outcome(
            bundle=made.digest,
            folder=made.folder,
            champion=None if champion is None else champion.digest,
            gate=gate,
            labels=dict(files.labels),
            held_back=files.held_back,
            carried=files.carried,
            left_open=files.left_open,
            rollout_id=None,
        )
        if not outcome.passed:
            _tell(engine, asked, outcome, now_ms())
            return outcome
        return _shadow(engine, made, asked, outcome, settings, now_ms)


def dates(asked: Asked, settings: Settings) -> tuple[datetime, datetime]:
    """First moments after what it learns from, and after what chooses and calibrates."""
    validate_until = asked.until - timedelta(days=settings.retrain_later_days)
    return validate_until - timedelta(days=settings.retrain_validate_days), validate_until


@contextlib.contextmanager
def _alone(engine: Engine, settings: Settings, now_ms: Callable[[], int]) -> Iterator[None]:
    """While this lasts no other process retrains: the lease is renewed by a thread of its own.

    Raises:
        ConflictError: another one is at work.
    """
    holder = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
    lease_ms = int(settings.retrain_lease_seconds * 1_000)
    with store_errors("the lease cannot be taken"), writing(engine) as connection:
        if not leases.hold(connection, LEASE, holder, now_ms(), lease_ms):
            other = leases.read_lease(connection, LEASE)
            seconds = 0 if other is None else max(0, (other.until_ms - now_ms()) // 1_000)
            raise ConflictError(
                f"{'another process' if other is None else other.holder} is retraining; where it died, try"
                f" again in {seconds} s"
            )
    done = threading.Event()

    def renew() -> None:
        while not done.wait(settings.retrain_lease_seconds / 4):
            # A database that is away for a moment costs the lease, not the work
            with (
                contextlib.suppress(StallwartError),
                store_errors("the lease"),
                writing(engine) as connection,
            ):
                leases.hold(connection, LEASE, holder, now_ms(), lease_ms)

    thread = threading.Thread(target=renew, name="retrain-lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        with contextlib.suppress(StallwartError), store_errors("the lease"), writing(engine) as connection:
            leases.let_go(connection, LEASE, holder)


def _champion(engine: Engine) -> Bundle | None:
    with store_errors("the registry cannot be read"), reading(engine) as connection:
        digest = registry.champion(connection)
        row = None if digest is None else registry.read_bundle_row(connection, digest)
    return None if row is None else from_shelf(Path(row.place), row.digest)


def _refuse_beside_a_rollout(engine: Engine, work: Path) -> None:
    """Before the work: a second challenger could not start; the one that this run began is no hindrance."""
    with store_errors("the rollout cannot be read"), reading(engine) as connection:
        running = rollouts.current(connection)
    if running is None:
        return
    bundle = work / "bundle"
    if not (bundle / MANIFEST).is_file() or read_bundle(bundle).digest != running.challenger:
        raise ConflictError(
            f"rollout {running.rollout_id} is running, and there is one at a time; wait for its end,"
            " or abort it"
        )


def _bundle(folder: Path, files: Gathered, asked: Asked, settings: Settings, track: Track) -> Bundle:
    if (folder / MANIFEST).is_file():
        return read_bundle(folder)
    train_until, validate_until = dates(asked, settings)
    sources = _sources(files, files.train, asked, train_until, validate_until)
    return train(sources, asked.recipe, folder, settings, track=track).bundle


def _sources(
    files: Gathered, labels: Path, asked: Asked, train_until: datetime, validate_until: datetime
) -> Sources:
    return Sources(
        listings=files.listings,
        labels=(labels,),
        taxonomy=asked.given.taxonomy,
        columns=asked.given.columns,
        train_until=train_until,
        validate_until=validate_until,
    )


def _gate(
    path: Path,
    champion: Bundle,
    challenger: Bundle,
    files: Gathered,
    asked: Asked,
    settings: Settings,
    track: Track,
) -> dict[str, Any]:
    """What the gate says, kept in a file; asked again where another champion decides by now."""
    if path.is_file():
        kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if (kept["champion"], kept["challenger"]) == (champion.digest, challenger.digest):
            return kept
    sources = _sources(files, files.all, asked, *dates(asked, settings))
    one, two = (_scored(bundle, sources, settings, track) for bundle in (champion, challenger))
    margins = Margins(later=settings.retrain_margin_later, older=settings.retrain_margin_older)
    said: Gated = judge(one, two, margins)
    facts = {"champion": champion.digest, "challenger": challenger.digest, **said.facts()}
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return facts


def _scored(bundle: Bundle, sources: Sources, settings: Settings, track: Track) -> tuple[Scored, Scored]:
    """A bundle's scores of the later and of the older rows, labelled by the policies of the training.

    A row that breaks a policy which the bundle does not know gets the label -1.
    """
    cache = EmbeddingCache(settings.cache_dir)
    try:
        scorer = Scorer(bundle, settings, cache)
        material = gather(sources, scorer.embedder, settings, ("train", "validation", "test"), track)
        column = {name: number for number, name in enumerate(bundle.taxonomy.labels)}
        own = np.array([column.get(name, -1) for name in sources.taxonomy.labels], dtype=np.int64)
        found = []
        for places in (material.split.test, _older(material, settings)):
            scores = score_features(scorer, material.at(places), material.texts_at(places), track)
            rows = material.rows[places]
            found.append(Scored(replace(rows, labels=own[rows.labels]), scores, bundle.taxonomy))
    finally:
        cache.close()
    return found[0], found[1]


def _older(material: Material, settings: Settings) -> NDArray[np.int64]:
    """Rows held back whose near duplicates are held back too: a copy that was learned from would tell."""
    places = np.sort(np.concatenate([material.split.train, material.split.validation]))
    one_in = settings.retrain_held_back
    held = np.array(
        [is_held_back(name, one_in) for name in material.rows.listing_ids[places].tolist()], dtype=np.bool_
    )
    learned = np.unique(material.rows.groups[places[~held]])
    return places[held & ~np.isin(material.rows.groups[places], learned)]


def _shadow(
    engine: Engine,
    made: Bundle,
    asked: Asked,
    outcome: Outcome,
    settings: Settings,
    now_ms: Callable[[], int],
) -> Outcome:
    """Registered, and a rollout begun; what an interrupted run did of it is found and left as it is."""
    place = shelve(made, shelf(settings))
    with store_errors("the bundle cannot be registered"), writing(engine) as connection:
        registry.register(
            connection, digest=made.digest, place=str(place), card=made.card, who=asked.who, why=asked.why,
            now_ms=now_ms(), report=None,
        )  # fmt: skip
        running = rollouts.current(connection)
    if outcome.champion is None or outcome.champion == made.digest:
        _tell(engine, asked, outcome, now_ms())
        return outcome
    if running is not None and running.challenger == made.digest:
        rollout_id = running.rollout_id
    else:
        rollout_id = start_rollout(engine, made.digest, asked.plan, asked.who, asked.why, now_ms()).rollout_id
    outcome = replace(outcome, rollout_id=rollout_id)
    _tell(engine, asked, outcome, now_ms())
    return outcome


def _tell(engine: Engine, asked: Asked, outcome: Outcome, now_ms: int) -> None:
    """Into the audit log, once for each day and bundle."""
    act = "retrain.passed" if outcome.passed else "retrain.refused"
    until_ms = int(asked.until.timestamp() * 1_000)
    detail = {
        "until_ms": until_ms,
        "bundle": outcome.bundle,
        "champion": outcome.champion,
        "labels": sum(outcome.labels.values()),
        "rollout": outcome.rollout_id,
        "reasons": [] if outcome.gate is None else outcome.gate["reasons"],
    }
    with store_errors("the audit log cannot be written"), writing(engine) as connection:
        audit.lock(connection)
        last = audit.read(connection, act="retrain.", subject=SUBJECT, limit=1)
        if last and (last[0].act, last[0].detail) == (act, detail):
            return
        audit.append(
            connection, who=asked.who, act=act, subject=SUBJECT, why=asked.why, detail=detail, now_ms=now_ms
        )
