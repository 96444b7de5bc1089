"""Known-bad things: added for a reason, removed for one, and read again by whoever compares with them.

Every change is in the audit log. What a removed entry was told from is emptied with its removal.
"""

import secrets
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import Connection, insert, select, update

from stallwart.core.errors import ConflictError, NotFoundError
from stallwart.store import audit
from stallwart.store.fingerprints import Fingerprint
from stallwart.store.tables import known_bad, known_matches, verdicts
from stallwart.store.verdicts import MEASURING, Answer

_ROWS = 400  # of one statement
_MATCHES = 5_000  # the latest of a policy and kind that certify


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that is known to be bad.

    Attributes:
        seq: its number.
        entry_id: `k_` and hexadecimal characters.
        listing_id: where it was seen.
        revision: digest of the content.
        policy: that it breaks.
        verdict_id: the verdict that is its reason, or None.
        who: added it.
        why: in words.
        added_at_ms: milliseconds since 1970.
        removed_at_ms: the same; None while it counts.
        removed_by: who removed it, or None.
    """

    seq: int
    entry_id: str
    listing_id: str
    revision: str
    policy: str
    verdict_id: str | None
    who: str
    why: str
    added_at_ms: int
    removed_at_ms: int | None
    removed_by: str | None


@dataclass(frozen=True, slots=True)
class Match:
    """What a known entry says of another listing.

    Attributes:
        seq: number of the entry.
        entry_id: of the entry.
        policy: that it breaks.
        verdict_id: its reason, or None.
        kind: what is alike: "photo", "text" or "meaning".
        distance: of photos bits of 256, of texts 1 - Jaccard's similarity, of meaning 1 - cosine.
    """

    seq: int
    entry_id: str
    policy: str
    verdict_id: str | None
    kind: str
    distance: float


_EMPTY: dict[str, Any] = {"words": None, "photos": b"", "keys": b"", "vector": None, "encoder": None}
_SHOWN = [known_bad.c[name] for name in Entry.__slots__]


def add_known(
    connection: Connection,
    made: Fingerprint,
    policy: str,
    *,
    who: str,
    why: str,
    now_ms: int,
    verdict_id: str | None = None,
    vector: bytes | None = None,
    encoder: str | None = None,
) -> Entry:
    """The new entry, in the caller's transaction.

    Args:
        connection: in a transaction of `database.writing`.
        made: what it is told from.
        policy: that it breaks.
        who: a person or a program.
        why: in words.
        now_ms: milliseconds since 1970.
        verdict_id: the verdict that is its reason.
        vector: float16, of its words.
        encoder: digest of what made that.

    Raises:
        ConflictError: this content counts already for this policy.
        ConfigError: who or why is empty or too long.
    """
    audit.lock(connection)
    here = (known_bad.c.revision == made.revision) & (known_bad.c.policy == policy)
    if connection.execute(select(known_bad.c.seq).where(here, known_bad.c.removed_at_ms.is_(None))).first():
        raise ConflictError("this content is known for this policy already; see: stallwart known list")
    row = {
        "entry_id": f"k_{now_ms:012x}{secrets.token_hex(6)}",
        "listing_id": made.listing_id,
        "revision": made.revision,
        "policy": policy,
        "verdict_id": verdict_id,
        "who": who,
        "why": audit.checked("why", why),
        "words": made.words,
        "photos": b"".join(made.photos),
        "keys": np.array(made.keys, "<i8").tobytes(),
        "vector": vector,
        "encoder": encoder,
        "added_at_ms": now_ms,
        "changed_at_ms": now_ms,
    }
    stored = connection.execute(insert(known_bad).returning(*_SHOWN), row).one()
    detail = {"policy": policy, "verdict": verdict_id}
    audit.append(
        connection, who=who, act="known.add", subject=stored.entry_id, why=why, detail=detail, now_ms=now_ms
    )
    return Entry(**stored._mapping)


def remove_known(connection: Connection, entry_id: str, *, who: str, why: str, now_ms: int) -> Entry:
    """The entry, which counts no more; in the caller's transaction.

    Raises:
        NotFoundError: there is no such entry that counts.
        ConfigError: who or why is empty or too long.
    """
    audit.lock(connection)
    here = (known_bad.c.entry_id == entry_id) & known_bad.c.removed_at_ms.is_(None)
    gone = {"removed_at_ms": now_ms, "removed_by": who, "changed_at_ms": now_ms}
    row = connection.execute(
        update(known_bad).where(here).values(**gone, **_EMPTY).returning(*_SHOWN)
    ).first()
    if row is None:
        raise NotFoundError("there is no such known entry that counts; see: stallwart known list")
    audit.append(
        connection, who=who, act="known.remove", subject=entry_id, why=why,
        detail={"policy": row.policy, "verdict": row.verdict_id}, now_ms=now_ms,
    )  # fmt: skip
    return Entry(**row._mapping)


def set_vector(connection: Connection, seq: int, vector: bytes | None, encoder: str, now_ms: int) -> None:
    """Keep the vector of an entry that counts, or that this encoder makes none of it."""
    here = (known_bad.c.seq == seq) & known_bad.c.removed_at_ms.is_(None)
    connection.execute(
        update(known_bad).where(here).values(vector=vector, encoder=encoder, changed_at_ms=now_ms)
    )


def list_known(
    connection: Connection, *, policy: str | None = None, before: int | None = None, limit: int = 100
) -> list[Entry]:
    """Entries that count, the newest first.

    Args:
        connection: in any transaction.
        policy: only of one.
        before: only those of a smaller `seq`, to read on.
        limit: the most that are read.
    """
    query = select(*_SHOWN).where(known_bad.c.removed_at_ms.is_(None))
    if policy is not None:
        query = query.where(known_bad.c.policy == policy)
    if before is not None:
        query = query.where(known_bad.c.seq < before)
    rows = connection.execute(query.order_by(known_bad.c.seq.desc()).limit(limit))
    return [Entry(**row._mapping) for row in rows]


def entries_of(connection: Connection, revisions: Collection[str]) -> list[Entry]:
    """All entries of some contents, also those that count no more."""
    rows = connection.execute(select(*_SHOWN).where(known_bad.c.revision.in_(list(revisions))))
    return [Entry(**row._mapping) for row in rows]


def add_matches(connection: Connection, found: Iterable[tuple[str, Match]], now_ms: int) -> None:
    """Keep what called for decisions, by their ids, in their transaction."""
    rows = [
        {
            "decision_id": decision_id,
            "entry_id": one.entry_id,
            "policy": one.policy,
            "kind": one.kind,
            "distance": one.distance,
            "at_ms": now_ms,
        }
        for decision_id, one in found
    ]
    if rows:
        connection.execute(insert(known_matches), rows)


def judged_matches(connection: Connection) -> dict[tuple[str, str], list[tuple[float, bool]]]:
    """By policy and kind: distances of the latest judged matches, and whether they were right."""
    pairs = connection.execute(select(known_matches.c.policy, known_matches.c.kind).distinct()).all()
    return {(row.policy, row.kind): _judged(connection, row.policy, row.kind) for row in pairs}


def _judged(connection: Connection, policy: str, kind: str) -> list[tuple[float, bool]]:
    here = (known_matches.c.policy == policy) & (known_matches.c.kind == kind)
    query = (
        select(known_matches.c.decision_id, known_matches.c.distance, verdicts.c.answers)
        .join(verdicts, verdicts.c.decision_id == known_matches.c.decision_id)
        .where(here, verdicts.c.source.not_in([source.value for source in MEASURING]))
        .order_by(known_matches.c.at_ms.desc(), verdicts.c.seq.desc())
        .limit(_MATCHES)
    )
    last: dict[str, Any] = {}
    for row in connection.execute(query):
        last.setdefault(row.decision_id, row)
    said = [(row.distance, row.answers.get(policy)) for row in last.values()]
    return [
        (distance, answer == Answer.YES) for distance, answer in said if answer in (Answer.YES, Answer.NO)
    ]


def changed_known(connection: Connection, since_ms: int, after: int, limit: int) -> Sequence[Any]:
    """Rows that changed at or after a time, by number behind another one: all that comparing needs."""
    query = select(known_bad).where(known_bad.c.changed_at_ms >= since_ms, known_bad.c.seq > after)
    return connection.execute(query.order_by(known_bad.c.seq).limit(limit)).all()
