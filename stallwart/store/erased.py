"""Names of what was erased: keyed hashes, so that a log can name it and nobody can read it.

The key is in the database, made with the first erasure. A tombstone is the keyed hash of a listing's or a
seller's id: the service refuses what has one, and what comes back all the same (a restored backup, an import)
is erased again. A copy of key and tombstones lies beside the database, since a restore would take them along.
"""

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from sqlalchemy import ColumnElement, Connection, Engine, and_, insert, select
from sqlalchemy.dialects import postgresql, sqlite

from stallwart.core.errors import ConfigError
from stallwart.store.database import reading, writing
from stallwart.store.files import whole_file
from stallwart.store.tables import erase_keys, revisions, tombstones

ERASED = "erased "
"""How the id of a listing and the digest of a revision begin that stand for what was erased."""
TOMBSTONES = "tombstones.json"
"""Name of the copy beside the database, in the data folder."""
_HEX = 32
_PAGE = 2_000


class Kind(StrEnum):
    """What is erased as one."""

    LISTING = "listing"
    SELLER = "seller"


@dataclass(frozen=True, slots=True)
class Tombstones:
    """What must not come back, at one moment.

    Attributes:
        key: of the hashes; empty where nothing was ever erased.
        keyed: the hashes.
    """

    key: bytes
    keyed: frozenset[str]

    def holds(self, listing_id: str, seller_id: str | None) -> bool:
        """Whether a listing was erased, or its seller."""
        if not self.keyed:
            return False
        return keyed(self.key, Kind.LISTING, listing_id) in self.keyed or (
            seller_id is not None and keyed(self.key, Kind.SELLER, seller_id) in self.keyed
        )


def keyed(key: bytes, kind: str, name: str) -> str:
    """The keyed hash that stands for a name: 32 hexadecimal digits of an HMAC-SHA256."""
    return hmac.new(key, f"{kind} {name}".encode(), hashlib.sha256).hexdigest()[:_HEX]


def key_of(connection: Connection) -> bytes:
    """The key, made where there is none; in a transaction of `database.writing`."""
    found = connection.execute(select(erase_keys.c.key)).scalar()
    if found is None:
        found = secrets.token_hex(32)
        connection.execute(insert(erase_keys).values(key=found))
    return bytes.fromhex(found)


def read_tombstones(connection: Connection) -> Tombstones:
    """All that there are."""
    found = connection.execute(select(erase_keys.c.key)).scalar()
    if found is None:
        return Tombstones(b"", frozenset())
    return Tombstones(
        bytes.fromhex(found), frozenset(connection.execute(select(tombstones.c.keyed)).scalars())
    )


def add_tombstones(
    connection: Connection, kind: Kind, hashes: Sequence[str], erasure_id: str, now_ms: int
) -> None:
    """Add them in the caller's transaction; those that are there stay."""
    make = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    rows = [
        {"keyed": one, "kind": kind.value, "erasure_id": erasure_id, "at_ms": now_ms}
        for one in sorted(hashes)
    ]
    if rows:
        connection.execute(make(tombstones).on_conflict_do_nothing(), rows)


def is_erased(column: ColumnElement[str]) -> ColumnElement[bool]:
    """Condition on a column of revisions' digests or listings' ids: it stands for what was erased."""
    return and_(column >= ERASED, column < ERASED + "g")  # a range, so that an index serves it


def came_back(engine: Engine) -> Iterator[tuple[Kind, str]]:
    """Listings and sellers that have a tombstone and are there all the same, read page by page.

    Raises:
        SQLAlchemyError: the database does not answer.
    """
    with reading(engine) as connection:
        known = read_tombstones(connection)
    after = ""
    while known.keyed:
        query = select(revisions.c.revision, revisions.c.listing_id, revisions.c.seller_id)
        query = query.where(revisions.c.revision > after).order_by(revisions.c.revision).limit(_PAGE)
        with reading(engine) as connection:
            page = connection.execute(query).all()
        for row in page:
            if row.revision.startswith(ERASED):
                continue
            if row.seller_id and keyed(known.key, Kind.SELLER, row.seller_id) in known.keyed:
                yield Kind.SELLER, row.seller_id
            elif keyed(known.key, Kind.LISTING, row.listing_id) in known.keyed:
                yield Kind.LISTING, row.listing_id
        if len(page) < _PAGE:
            return
        after = page[-1].revision


def keep_beside(engine: Engine, path: Path) -> None:
    """Write key and tombstones to a file for its owner's eyes, whole or not at all.

    Raises:
        ConfigError: it cannot be written.
    """
    with reading(engine) as connection:
        key = connection.execute(select(erase_keys.c.key)).scalar()
        rows = [dict(row) for row in connection.execute(select(tombstones)).mappings()]
    if key is None:
        return
    with whole_file(path) as part:
        descriptor = os.open(part, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump({"key": key, "tombstones": rows}, file)


def take_from_beside(engine: Engine, path: Path) -> int:
    """How many tombstones were in the file and not in the database, which has them now.

    Raises:
        ConfigError: the file cannot be read, or has another key than the database: it is another market's.
    """
    if not path.is_file():
        return 0
    try:
        content = json.loads(path.read_bytes())
        key, rows = str(content["key"]), [dict(row) for row in content["tombstones"]]
        bytes.fromhex(key)
        kinds = [Kind(row["kind"]) for row in rows]
    except (OSError, ValueError, TypeError, KeyError) as err:
        raise ConfigError(
            f"{path}: is no copy of tombstones ({err}); bring back the one you backed up"
        ) from None
    with writing(engine) as connection:
        stored = connection.execute(select(erase_keys.c.key)).scalar()
        if stored is None:
            connection.execute(insert(erase_keys).values(key=key))
        elif stored != key:
            raise ConfigError(
                f"{path}: belongs to another database; move it away, or set STALLWART_DATA_DIR to this one's"
            )
        known = read_tombstones(connection).keyed
        for kind, row in zip(kinds, rows, strict=True):
            if row["keyed"] not in known:
                add_tombstones(connection, kind, [row["keyed"]], row["erasure_id"], row["at_ms"])
    return sum(row["keyed"] not in known for row in rows)
