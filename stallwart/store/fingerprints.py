"""Fingerprints of revisions: kept, looked up by the buckets that they share, and forgotten.

What the bytes mean is the business of `index/fingerprint.py`.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import Connection, bindparam, delete, insert, select
from sqlalchemy.dialects import postgresql, sqlite

from stallwart.store.tables import fingerprint_keys, fingerprints

_ROWS = 400  # of one statement
PHOTO_BYTES = 40
"""Of one photo: 8 bytes of its coarse hash, 32 of its fine one."""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What is kept of one revision.

    Attributes:
        revision: its digest.
        listing_id: whose content it is.
        words: low bytes of its MinHash signature, or None.
        photos: 40 bytes of each photo that has a hash.
        keys: its buckets, each a signed 64 bit number.
    """

    revision: str
    listing_id: str
    words: bytes | None
    photos: tuple[bytes, ...]
    keys: tuple[int, ...]


def add_fingerprints(connection: Connection, made: Sequence[Fingerprint]) -> int:
    """How many were new; all are kept now, in the caller's transaction."""
    if not made:
        return 0
    kind = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    added = 0
    for start in range(0, len(made), _ROWS):
        some = {one.revision: one for one in made[start : start + _ROWS]}
        rows = [
            {
                "revision": one.revision,
                "listing_id": one.listing_id,
                "words": one.words,
                "photos": b"".join(one.photos),
                "keys": np.array(one.keys, "<i8").tobytes(),
            }
            for one in some.values()
        ]
        statement = kind(fingerprints).values(rows).on_conflict_do_nothing()
        found = connection.execute(statement.returning(fingerprints.c.seq, fingerprints.c.revision)).all()
        added += len(found)
        keys = [{"key": key, "seq": row.seq} for row in found for key in set(some[row.revision].keys)]
        if keys:
            connection.execute(insert(fingerprint_keys), keys)
    return added


def forget_fingerprints(connection: Connection, revisions: Collection[str]) -> int:
    """How many were kept of these revisions; none is any more."""
    gone = 0
    wanted = list(revisions)
    for start in range(0, len(wanted), _ROWS):
        some = fingerprints.c.revision.in_(wanted[start : start + _ROWS])
        rows = connection.execute(select(fingerprints.c.seq, fingerprints.c["keys"]).where(some)).all()
        keys = [{"k": int(key), "s": row.seq} for row in rows for key in np.frombuffer(row[1], "<i8")]
        if keys:
            connection.execute(_FORGET_KEY, keys)
        gone += connection.execute(delete(fingerprints).where(some)).rowcount
    return gone


def read_fingerprint(connection: Connection, revision: str) -> Fingerprint | None:
    """The fingerprint of a revision; None where there is none yet, or none any more."""
    row = connection.execute(_READ, {"wanted": revision}).first()
    return None if row is None else _fingerprint(row)


def sharing(
    connection: Connection, keys: Collection[int], per_key: int, most: int
) -> list[tuple[Fingerprint, int]]:
    """Fingerprints that share buckets, those that share most first, each with how many it shares.

    Args:
        connection: in any transaction.
        keys: the buckets.
        per_key: the latest members of each bucket that are looked at: a template has thousands.
        most: how many fingerprints at most.
    """
    counted = Counter(_members(connection, keys, per_key))
    ranked = sorted(counted, key=lambda seq: (-counted[seq], -seq))[:most]
    found: dict[int, Fingerprint] = {}
    for start in range(0, len(ranked), _ROWS):
        rows = connection.execute(_READ_MANY, {"seqs": ranked[start : start + _ROWS]})
        found.update((row.seq, _fingerprint(row)) for row in rows)
    return [(found[seq], counted[seq]) for seq in ranked if seq in found]


def _members(connection: Connection, keys: Iterable[int], per_key: int) -> Iterable[int]:
    wanted = sorted(set(keys))
    if connection.dialect.name == "postgresql":
        rows = connection.exec_driver_sql(
            "SELECT found.seq FROM unnest(%s::bigint[]) AS wanted(key) CROSS JOIN LATERAL (SELECT k.seq"
            " FROM fingerprint_keys k WHERE k.key = wanted.key ORDER BY k.seq DESC LIMIT %s) found",
            (wanted, per_key),
        )
        return [row[0] for row in rows]
    # SQLite has no lateral join; a look takes some microseconds
    statement = "SELECT seq FROM fingerprint_keys WHERE key = ? ORDER BY seq DESC LIMIT ?"
    driver: Any = connection.connection.driver_connection
    return [row[0] for key in wanted for row in driver.execute(statement, (key, per_key))]


_PARTS = (
    fingerprints.c.seq,
    fingerprints.c.revision,
    fingerprints.c.listing_id,
    fingerprints.c.words,
    fingerprints.c.photos,
    fingerprints.c["keys"].label("buckets"),
)
_READ = select(*_PARTS).where(fingerprints.c.revision == bindparam("wanted"))
_READ_MANY = select(*_PARTS).where(fingerprints.c.seq.in_(bindparam("seqs", expanding=True)))
_FORGET_KEY = delete(fingerprint_keys).where(
    fingerprint_keys.c.key == bindparam("k"), fingerprint_keys.c.seq == bindparam("s")
)


def _fingerprint(row: Any) -> Fingerprint:
    photos = bytes(row.photos)
    return Fingerprint(
        revision=row.revision,
        listing_id=row.listing_id,
        words=None if row.words is None else bytes(row.words),
        photos=tuple(photos[at : at + PHOTO_BYTES] for at in range(0, len(photos), PHOTO_BYTES)),
        keys=tuple(np.frombuffer(row.buckets, "<i8").tolist()),
    )
