"""The audit log: who did what and why, each entry with the hash of the one before.

An entry's hash is the sha256 of a JSON array of its number, time, who, act, subject, why, detail and the hash
of the entry before. So an entry that was edited, taken out of the middle, exchanged or slipped in is found
by reading the log alone. What no log can show by itself is that its end was cut off, or that all of it was
written anew: note the head (`NUMBER:HASH`, as `stallwart audit verify` prints it) somewhere else now and
then, and give it to `verify`.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Text, cast, func, insert, select, text

from stallwart.core.errors import ConfigError
from stallwart.store.revisions import storable
from stallwart.store.tables import audit_log

FIRST = "0" * 64
"""What stands for the hash before the first entry."""
_LOCK = 0x57A12  # any number that all processes of this program agree on
_LONGEST = {"who": 200, "act": 100, "subject": 500, "why": 2_000}
_PAGE = 1_000
_COLUMNS = tuple(column for column in audit_log.c if column.name != "detail")


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry.

    Attributes:
        number: 1, 2, 3 ... without a gap.
        at_ms: milliseconds since 1970, by the clock of who wrote it.
        who: a person or a program.
        act: what was done, as `rollout.start`.
        subject: to what: a rollout's id, a bundle's digest.
        why: in words.
        detail: old and new values and the like; no content of any listing.
        previous: hash of the entry before.
        hash: sha256 in hexadecimal.
    """

    number: int
    at_ms: int
    who: str
    act: str
    subject: str
    why: str
    detail: dict[str, Any]
    previous: str
    hash: str


@dataclass(frozen=True, slots=True)
class Verified:
    """What reading the whole log came to.

    Attributes:
        entries: how many were read; where something is wrong, those before it.
        head: hash of the last of them; 64 zeros where there is none.
        wrong: number of the first entry that is wrong; None where all is well.
        what: what is wrong with it; empty where all is well.
    """

    entries: int
    head: str
    wrong: int | None = None
    what: str = ""


def lock(connection: Connection) -> None:
    """Let no other transaction write to the log, or do what is written there, until this one ends.

    To be called first in a transaction that looks, does something and appends. SQLite's transactions that
    write exclude each other as they are.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})


def append(
    connection: Connection,
    *,
    who: str,
    act: str,
    subject: str,
    why: str,
    detail: Mapping[str, Any],
    now_ms: int,
) -> int:
    """Number of the new entry, in the caller's transaction: what was done and its entry are kept together.

    Args:
        connection: in a transaction of `database.writing`.
        who: a person or a program, 1 to 200 characters.
        act: as `rollout.start`, at most 100 characters.
        subject: at most 500 characters.
        why: 1 to 2,000 characters.
        detail: what JSON can hold; numbers are finite.
        now_ms: milliseconds since 1970.

    Raises:
        ConfigError: who or why is empty, or a text is too long.
    """
    texts = {name: checked(name, given) for name, given in
             {"who": who, "act": act, "subject": subject, "why": why}.items()}  # fmt: skip
    kept = json.loads(json.dumps(detail, allow_nan=False))
    lock(connection)
    last = connection.execute(
        select(audit_log.c.number, audit_log.c.hash).order_by(audit_log.c.number.desc()).limit(1)
    ).first()
    number, previous = (1, FIRST) if last is None else (last.number + 1, last.hash)
    values = {"number": number, "at_ms": now_ms, **texts, "detail": kept, "previous": previous}
    connection.execute(insert(audit_log).values(**values, hash=_hash(values)))
    return int(number)


def verify(connection: Connection, head: tuple[int, str] | None = None) -> Verified:
    """Whether every entry is as it was written, and in its place; reads the log once, a page at a time.

    Args:
        connection: in a transaction of `database.reading`.
        head: number and hash of an entry that was noted before; without it a log whose end was cut off
            cannot be told from a shorter one.
    """
    columns = (*_COLUMNS, cast(audit_log.c.detail, Text).label("detail"))
    rows = connection.execution_options(yield_per=_PAGE).execute(
        select(*columns).order_by(audit_log.c.number)
    )
    count, previous = 0, FIRST
    with rows:
        for row in rows:
            what = _wrong(row._mapping, count + 1, previous)
            if what:
                return Verified(count, previous, min(row.number, count + 1), what)
            count, previous = count + 1, row.hash
            if head and head[0] == count and head[1] != previous:
                what = "is not the entry whose hash was noted: the log was written anew"
                return Verified(count - 1, row.previous, count, what)
    if head and head[0] > count:
        return Verified(count, previous, count + 1, f"is missing, and so are all up to {head[0]}: cut off")
    return Verified(count, previous)


def read(
    connection: Connection,
    *,
    before: int | None = None,
    who: str | None = None,
    act: str | None = None,
    subject: str | None = None,
    limit: int = 100,
) -> list[Entry]:
    """The newest entries first, as they are: they are not verified.

    Args:
        connection: in any transaction.
        before: only entries of smaller numbers, to read on.
        who: only those of one person or program.
        act: only acts that begin so, as `rollout.`.
        subject: only those about one rollout, bundle ...
        limit: the most that are read.
    """
    query = select(audit_log).order_by(audit_log.c.number.desc()).limit(limit)
    if before is not None:
        query = query.where(audit_log.c.number < before)
    if who is not None:
        query = query.where(audit_log.c.who == who)
    if act is not None:
        query = query.where(func.substr(audit_log.c.act, 1, len(act)) == act)
    if subject is not None:
        query = query.where(audit_log.c.subject == subject)
    return [Entry(**row) for row in connection.execute(query).mappings()]


def checked(name: str, given: str) -> str:
    """What an entry keeps of its `who`, `act`, `subject` or `why`.

    Raises:
        ConfigError: it is empty or too long.
    """
    kept = (storable(given) or "").strip()
    if not kept:
        raise ConfigError(f"{name} is empty: the audit log says of everything who did it, and why")
    if len(kept) > _LONGEST[name]:
        raise ConfigError(f"{name} has {len(kept):,} characters, and {_LONGEST[name]:,} are the most")
    return kept


def _hash(values: Mapping[str, Any]) -> str:
    """The sha256 of an entry; a JSON array is unambiguous, and escapes leave one spelling of each text."""
    parts = [
        values[name] for name in ("number", "at_ms", "who", "act", "subject", "why", "detail", "previous")
    ]
    encoded = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(encoded.encode("ascii")).hexdigest()


def _wrong(row: Mapping[Any, Any], number: int, previous: str) -> str:
    """What is wrong with the entry that should have this number and follow this hash; empty for nothing."""
    if row["number"] > number:
        return "is missing"
    if row["number"] < number:
        return "was slipped in"
    try:
        whole = _hash({**row, "detail": json.loads(row["detail"])}) == row["hash"]
    except (ValueError, TypeError):  # what SQLite took in place of JSON or of a text
        whole = False
    if row["previous"] != previous:
        if whole:
            return "does not follow the entry before it: one of the two was written anew, or others are gone"
        return "is out of its place: reordered, or edited"
    return "" if whole else "was edited"
