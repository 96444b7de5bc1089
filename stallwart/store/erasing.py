"""Erases all traces of a listing or a seller, goes on where it was stopped, and certifies what was removed.

A seller's listings go one after the other, each in one transaction with its counts: a kill leaves some
erased and the others whole, and the same call goes on. Tombstones are there before the first one goes. The
photos that nothing else shows are named in that transaction and deleted after it; the certificate comes when
all are gone, and an entry of the audit log holds it.
"""

import hashlib
import json
import secrets
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Engine, Row, distinct, func, insert, or_, select, text, update

from stallwart.core.errors import ConfigError, NotFoundError
from stallwart.store import audit
from stallwart.store.database import reading, store_errors, writing
from stallwart.store.decisions import lock
from stallwart.store.erased import Kind, add_tombstones, came_back, key_of, keyed
from stallwart.store.photos import FRESH_MS, PhotoStore
from stallwart.store.revisions import Revision, read_revision
from stallwart.store.tables import (
    bundles,
    decisions,
    erasures,
    photo_uses,
    revisions,
    tombstones,
    views,
)
from stallwart.store.traces import erase_traces, traces_of

_LOCK = 0x57A17  # any number that all processes of this program agree on
# A photo that was put since may belong to a decision that is being written right now; see `PhotoStore.delete`
RECENT_MS = FRESH_MS + 300_000
_FAILED = "it could not be erased whole; run the same again, and it goes on"


@dataclass(frozen=True)
class Tools:
    """What an erasure needs besides the database.

    Attributes:
        photos: where photos are kept.
        known: by bundle's digest, ids of the listings among its known violations.
        forget: lets go of the embeddings of a revision; how many there were.
        gone: told the id of each listing that went, for what is in memory.
        now_ms: milliseconds since 1970.
    """

    photos: PhotoStore
    known: Mapping[str, Collection[str]] = field(default_factory=dict)
    forget: Callable[[Revision], int] = lambda _revision: 0
    now_ms: Callable[[], int] = lambda: 0
    gone: Callable[[str], object] = lambda _listing: None


@dataclass(frozen=True, slots=True)
class Preview:
    """What an erasure would take.

    Attributes:
        listings: how many.
        revisions: of them.
        decisions: on them.
        photos: that no other listing shows.
        shared: photos that others show too, and that stay.
        views: looks of people at them.
    """

    listings: int
    revisions: int
    decisions: int
    photos: int
    shared: int
    views: int


@dataclass(frozen=True, slots=True)
class Erasure:
    """One erasure.

    Attributes:
        erasure_id: names it.
        kind: what was erased.
        keyed: keyed hash of its id.
        who: asked for it.
        why: in words that name nothing of it.
        counts: rows by table, and listings, photos and embeddings.
        waiting: photos that are still to be deleted.
        began_at_ms: milliseconds since 1970.
        ended_at_ms: when all was gone; None before.
        certificate: what was removed, and which bundles had seen it; None before the end.
        entry: number of the audit log's entry that holds the certificate; None before the end.
    """

    erasure_id: str
    kind: Kind
    keyed: str
    who: str
    why: str
    counts: dict[str, int]
    waiting: int
    began_at_ms: int
    ended_at_ms: int | None
    certificate: dict[str, Any] | None
    entry: int | None


def preview(engine: Engine, kind: Kind, name: str) -> Preview:
    """What there is of a listing or a seller.

    Raises:
        StoreError: the database does not answer.
    """
    with store_errors("it cannot be looked up"), reading(engine) as connection:
        mine = _listings(kind, name)
        shown = select(photo_uses.c.photo).join(revisions, revisions.c.revision == photo_uses.c.revision)
        own = revisions.c.listing_id.in_(mine)
        photos = set(connection.execute(shown.where(own).distinct()).scalars())
        shared = set(
            connection.execute(
                shown.where(~own, photo_uses.c.photo.in_(shown.where(own))).distinct()
            ).scalars()
        )

        def count(table: Any) -> int:
            query = select(func.count()).select_from(table).where(table.c.listing_id.in_(mine))
            return int(connection.execute(query).scalar_one())

        listings = connection.execute(
            select(func.count(distinct(revisions.c.listing_id))).where(own)
        ).scalar()
        return Preview(
            int(listings or 0),
            count(revisions),
            count(decisions),
            len(photos - shared),
            len(shared),
            count(views),
        )


def erase(engine: Engine, tools: Tools, kind: Kind, name: str, *, who: str, why: str) -> Erasure:
    """All traces of a listing or a seller are gone, or some photos wait; called again, it goes on.

    Args:
        engine: the database.
        tools: photos, bundles, embeddings.
        kind: whether `name` is a listing's or a seller's id.
        name: the id.
        who: asks for it, for the audit log.
        why: for the audit log, which keeps it for ever: without the id.

    Raises:
        ConfigError: who or why is empty, or names what is to be erased.
        StoreError: the database or the photo store fails; the same call goes on.
    """
    if name and name in f"{why} {who}":
        raise ConfigError("the audit log keeps `why` for ever: do not name there what is to be erased")
    with store_errors(_FAILED):
        erasure_id = _begin(engine, kind, name, who, why, tools.now_ms())
        return _go_on(engine, tools, erasure_id)


def resume(engine: Engine, tools: Tools) -> list[Erasure]:
    """Erasures that were not at their end, after they went on.

    Raises:
        StoreError: the database or the photo store fails.
    """
    with store_errors(_FAILED):
        with reading(engine) as connection:
            query = select(erasures.c.erasure_id).where(erasures.c.ended_at_ms.is_(None))
            waiting = list(connection.execute(query.order_by(erasures.c.began_at_ms)).scalars())
        return [_go_on(engine, tools, one) for one in waiting]


def erase_again(engine: Engine, tools: Tools) -> list[Erasure]:
    """Erasures of what came back although it has a tombstone, as by a restored backup.

    Raises:
        StoreError: the database or the photo store fails.
    """
    with store_errors(_FAILED):
        found = list(dict.fromkeys(came_back(engine)))
    why = "it came back although it had been erased"
    return [erase(engine, tools, kind, name, who="stallwart", why=why) for kind, name in found]


def lift(engine: Engine, kind: Kind, name: str, *, who: str, why: str, now_ms: int) -> None:
    """Let a listing or a seller be published again; what was erased stays erased.

    Raises:
        NotFoundError: there is no tombstone of it.
        ConfigError: who or why is empty.
    """
    with writing(engine) as connection:
        audit.lock(connection)
        mine = tombstones.c.keyed == keyed(key_of(connection), kind, name)
        row = connection.execute(select(tombstones).where(mine)).first()
        if row is None:
            raise NotFoundError(f"no {kind} of this id was erased")
        connection.execute(tombstones.delete().where(mine))
        audit.append(
            connection, who=who, act="erase.lift", subject=row.keyed, why=why, detail={"kind": kind.value},
            now_ms=now_ms,
        )  # fmt: skip


def list_erasures(connection: Connection, limit: int = 100) -> list[Erasure]:
    """The last ones, the newest first."""
    query = select(erasures).order_by(erasures.c.began_at_ms.desc(), erasures.c.erasure_id.desc())
    return [_erasure(row) for row in connection.execute(query.limit(limit))]


def read_erasure(connection: Connection, erasure_id: str) -> Erasure:
    """The erasure with this id.

    Raises:
        NotFoundError: there is none.
    """
    row = _row(connection, erasure_id) if "\0" not in erasure_id else None
    if row is None:
        raise NotFoundError(f"there is no erasure {erasure_id[:64]!r}")
    return _erasure(row)


def certificate_digest(certificate: Mapping[str, Any]) -> str:
    """sha256 of a certificate, as the audit log names it."""
    encoded = json.dumps(certificate, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(encoded.encode()).hexdigest()


def _listings(kind: Kind, name: str) -> Any:
    if kind == Kind.LISTING:
        # What is nowhere but in a table of another program has a trace too
        return select(revisions.c.listing_id).where(revisions.c.listing_id == name)
    return select(revisions.c.listing_id).where(revisions.c.seller_id == name)


def _begin(engine: Engine, kind: Kind, name: str, who: str, why: str, now_ms: int) -> str:
    """Id of the erasure that runs, begun where none does; its tombstone is there."""
    with writing(engine) as connection:
        audit.lock(connection)
        hashed = keyed(key_of(connection), kind, name)
        running = select(erasures.c.erasure_id).where(
            erasures.c.keyed == hashed, erasures.c.ended_at_ms.is_(None)
        )
        known = connection.execute(running).scalar()
        if known is not None:
            return str(known)
        erasure_id = f"e_{now_ms:012x}{secrets.token_hex(6)}"
        add_tombstones(connection, kind, [hashed], erasure_id, now_ms)
        connection.execute(
            insert(erasures).values(
                erasure_id=erasure_id, kind=kind.value, keyed=hashed, target=name,
                who=audit.checked("who", who), why=audit.checked("why", why),
                counts={}, bundles={}, photos=[], began_at_ms=now_ms,
            )
        )  # fmt: skip
        audit.append(
            connection, who=who, act="erase.begin", subject=hashed, why=why,
            detail={"erasure": erasure_id, "kind": kind.value}, now_ms=now_ms,
        )  # fmt: skip
        return erasure_id


def _go_on(engine: Engine, tools: Tools, erasure_id: str) -> Erasure:
    with reading(engine) as connection:
        row = _row(connection, erasure_id)
    assert row is not None
    if row.ended_at_ms is None:
        for listing_id in _left(engine, Kind(row.kind), row.target):
            _erase_listing(engine, tools, erasure_id, Kind(row.kind), row.target, listing_id)
            tools.gone(listing_id)
        _delete_photos(engine, tools, erasure_id)
        _end(engine, erasure_id, tools.now_ms())
        _truncate_log(engine)
    with reading(engine) as connection:
        return read_erasure(connection, erasure_id)


def _left(engine: Engine, kind: Kind, name: str) -> Iterator[str]:
    """Listings that are still there, one after the other; a listing's own name always, it costs nothing."""
    if kind == Kind.LISTING:
        yield name
        return
    last = None
    while True:
        with reading(engine) as connection:
            found = connection.execute(_listings(kind, name).limit(1)).scalar()
        if found is None:
            return
        assert found != last, "an erased listing is not found again"
        last = found
        yield str(found)


def _erase_listing(
    engine: Engine, tools: Tools, erasure_id: str, kind: Kind, name: str, listing_id: str
) -> None:
    forgotten = _forget_embeddings(engine, tools, listing_id)
    with writing(engine) as connection:
        _one_at_a_time(connection)
        lock(connection, [listing_id])
        _overwrite(connection)
        before = _row(connection, erasure_id)
        assert before is not None
        key, now = key_of(connection), tools.now_ms()
        traces = traces_of(connection, key, listing_id, [name] if kind == Kind.SELLER else [], now)
        if not traces.revisions and before.counts:
            return  # done by an earlier call
        first = connection.execute(
            select(func.min(revisions.c.stored_at_ms)).where(revisions.c.listing_id == listing_id)
        ).scalar()
        unused = _unused(connection, traces.revisions)
        removed = erase_traces(connection, traces)
        counts = Counter(before.counts) + Counter(removed)
        counts["listings"] += bool(traces.revisions)
        counts["embeddings"] += forgotten
        seen = Counter(before.bundles) + Counter(
            {digest: 1 for digest, listings in tools.known.items() if listing_id in listings}
        )
        moments = [at for at in (before.first_at_ms, first) if at is not None]
        add_tombstones(connection, Kind.LISTING, [keyed(key, Kind.LISTING, listing_id)], erasure_id, now)
        values = {
            "counts": dict(+counts), "bundles": dict(seen), "photos": sorted({*before.photos, *unused}),
            "first_at_ms": min(moments, default=None),
        }  # fmt: skip
        connection.execute(update(erasures).where(erasures.c.erasure_id == erasure_id).values(**values))


def _forget_embeddings(engine: Engine, tools: Tools, listing_id: str) -> int:
    """How many embeddings of its content were let go, before the content is."""
    with reading(engine) as connection:
        query = select(revisions.c.revision).where(revisions.c.listing_id == listing_id)
        names = list(connection.execute(query).scalars())
    forgotten = 0
    for name in names:
        with reading(engine) as connection:
            revision = read_revision(connection, name)
        if revision is not None and revision.purged_at_ms is None:
            forgotten += tools.forget(revision)
    return forgotten


def _unused(connection: Connection, names: Collection[str]) -> list[str]:
    """Photos of these revisions that no other one shows."""
    mine = set(
        connection.execute(
            select(photo_uses.c.photo).where(photo_uses.c.revision.in_(names)).distinct()
        ).scalars()
    )
    others = select(photo_uses.c.photo).where(
        photo_uses.c.photo.in_(mine), photo_uses.c.revision.not_in(names)
    )
    return sorted(mine - set(connection.execute(others.distinct()).scalars()))


def _delete_photos(engine: Engine, tools: Tools, erasure_id: str) -> None:
    """Delete what nothing shows any more; what was put a moment ago waits."""
    with reading(engine) as connection:
        row = _row(connection, erasure_id)
        assert row is not None
        shown = set(
            connection.execute(select(photo_uses.c.photo).where(photo_uses.c.photo.in_(row.photos))).scalars()
        )
    if not row.photos:
        return
    before_ms = min(tools.now_ms(), tools.photos.clock_ms()) - RECENT_MS
    kept = set(row.photos)
    gone = 0
    for digest in row.photos:
        if digest in shown:  # another listing shows it since
            kept.discard(digest)
        elif tools.photos.delete(digest, before_ms) or not _is_kept(tools.photos, digest):
            kept.discard(digest)
            gone += 1
    with writing(engine) as connection:
        counts = {**row.counts, "photos": row.counts.get("photos", 0) + gone}
        change = update(erasures).where(erasures.c.erasure_id == erasure_id)
        connection.execute(change.values(photos=sorted(kept), counts=counts))


def _is_kept(photos: PhotoStore, digest: str) -> bool:
    return digest in photos.digests(digest[:2])


def _end(engine: Engine, erasure_id: str, now_ms: int) -> None:
    """The certificate and its entry, once nothing waits."""
    with writing(engine) as connection:
        audit.lock(connection)
        row = _row(connection, erasure_id)
        assert row is not None
        if row.photos or row.ended_at_ms is not None:
            return
        certificate = {
            "erasure": erasure_id,
            "kind": row.kind,
            "keyed": row.keyed,
            "began_at_ms": row.began_at_ms,
            "ended_at_ms": now_ms,
            "removed": row.counts,
            "bundles": _bundles(connection, row),
        }
        detail = {"certificate": certificate, "sha256": certificate_digest(certificate)}
        entry = audit.append(
            connection, who=row.who, act="erase.done", subject=row.keyed, why=row.why, detail=detail,
            now_ms=now_ms,
        )  # fmt: skip
        values = {"target": None, "ended_at_ms": now_ms, "certificate": certificate, "entry": entry}
        connection.execute(update(erasures).where(erasures.c.erasure_id == erasure_id).values(**values))


def _bundles(connection: Connection, row: Row[Any]) -> list[dict[str, Any]]:
    """Bundles that know it as a violation, or were made after it came and may have learned from it."""
    query = select(bundles.c.digest, bundles.c.data_digest, bundles.c.registered_at_ms)
    later = bundles.c.registered_at_ms >= row.first_at_ms if row.first_at_ms is not None else None
    named = bundles.c.digest.in_(list(row.bundles))
    found = connection.execute(query.where(named if later is None else or_(named, later)))
    return [
        {
            "digest": one.digest,
            "data_digest": one.data_digest,
            "registered_at_ms": one.registered_at_ms,
            "known_violations": row.bundles.get(one.digest, 0),
        }
        for one in found
    ]


def _row(connection: Connection, erasure_id: str) -> Row[Any] | None:
    return connection.execute(select(erasures).where(erasures.c.erasure_id == erasure_id)).first()


def _erasure(row: Row[Any]) -> Erasure:
    return Erasure(
        erasure_id=row.erasure_id,
        kind=Kind(row.kind),
        keyed=row.keyed,
        who=row.who,
        why=row.why,
        counts=dict(row.counts),
        waiting=len(row.photos),
        began_at_ms=row.began_at_ms,
        ended_at_ms=row.ended_at_ms,
        certificate=row.certificate,
        entry=row.entry,
    )


def _one_at_a_time(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})


def _overwrite(connection: Connection) -> None:
    """Have SQLite overwrite what the transaction deletes, so that no words stay readable in free pages."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA secure_delete=ON")


def _truncate_log(engine: Engine) -> None:
    """Old pages are also in SQLite's log, until it is emptied; a reader that is at work puts that off."""
    if engine.dialect.name == "sqlite":
        connection = engine.raw_connection()
        try:
            connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").close()
        finally:
            connection.close()
