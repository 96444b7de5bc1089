"""The registry: which bundles there are, by digest, and which of them decides.

The alias `champion` names the bundle that decides, `challenger` the one that wants to: at most one each. A
rollout moves both (`rollouts.py`); while none runs, an operator may move the champion. Every change has its
entry in the audit log.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from stallwart.core.errors import ConflictError, NotFoundError
from stallwart.store import audit
from stallwart.store.tables import aliases, bundles, rollouts


class Alias(StrEnum):
    """A name for one bundle."""

    CHAMPION = "champion"
    CHALLENGER = "challenger"


@dataclass(frozen=True, slots=True)
class BundleRow:
    """What is known of a bundle.

    Attributes:
        digest: sha256 of the bundle, in hexadecimal.
        place: its folder.
        card: what made it.
        report: its offline figures; None where none were given.
        data_digest: of the data that it was trained on; None where its card names none.
        parent: the champion when it was registered; None where there was none.
        registered_at_ms: milliseconds since 1970.
    """

    digest: str
    place: str
    card: dict[str, Any]
    report: dict[str, Any] | None
    data_digest: str | None
    parent: str | None
    registered_at_ms: int


def register(
    connection: Connection,
    *,
    digest: str,
    place: str,
    card: dict[str, Any],
    who: str,
    now_ms: int,
    report: dict[str, Any] | None = None,
    why: str = "registered",
    again: bool = False,
) -> BundleRow:
    """The bundle's row, made where there is none.

    Args:
        connection: in a transaction of `database.writing`.
        digest: of the bundle, checked.
        place: its folder.
        card: of the bundle.
        who: for the audit log.
        now_ms: milliseconds since 1970.
        report: offline figures.
        why: for the audit log.
        again: whether a new place, and a report where one is given, take the place of what is stored.

    Raises:
        ConfigError: who or why cannot be written to the audit log.
    """
    audit.lock(connection)
    stored = _row(connection, digest)
    if stored is None:
        row = BundleRow(digest, place, card, report, _data_digest(card), champion(connection), now_ms)
        connection.execute(insert(bundles).values({name: getattr(row, name) for name in BundleRow.__slots__}))
        detail = {
            "place": place,
            "data_digest": row.data_digest,
            "parent": row.parent,
            "report": bool(report),
        }
        audit.append(
            connection, who=who, act="bundle.register", subject=digest, why=why, detail=detail, now_ms=now_ms
        )
        return row
    new = {"place": place, "report": stored.report if report is None else report}
    old = {"place": stored.place, "report": stored.report}
    if not again or new == old:
        return stored
    connection.execute(update(bundles).where(bundles.c.digest == digest).values(new))
    detail = {"old_place": stored.place, "place": place, "report": report is not None}
    audit.append(
        connection, who=who, act="bundle.update", subject=digest, why=why, detail=detail, now_ms=now_ms
    )
    return read_bundle_row(connection, digest)


def read_bundle_row(connection: Connection, digest: str) -> BundleRow:
    """The bundle with this digest.

    Raises:
        NotFoundError: there is none.
    """
    row = _row(connection, digest)
    if row is None:
        raise NotFoundError(f"no bundle {digest[:64]!r} is registered; see: stallwart bundles add, list")
    return row


def find_bundle(connection: Connection, start: str) -> BundleRow:
    """The one bundle whose digest begins so.

    Raises:
        NotFoundError: there is none.
        ConflictError: there are several.
    """
    query = select(bundles).where(bundles.c.digest.startswith(start, autoescape=True)).limit(2)
    found = connection.execute(query).mappings().all()
    if not found:
        return read_bundle_row(connection, start)
    if len(found) > 1:
        raise ConflictError(f"several bundles begin with {start[:64]!r}; give more of the digest")
    return BundleRow(**found[0])


def list_bundles(connection: Connection) -> list[BundleRow]:
    """All that were registered, the newest first."""
    query = select(bundles).order_by(bundles.c.registered_at_ms.desc(), bundles.c.digest)
    return [BundleRow(**row) for row in connection.execute(query).mappings()]


def champion(connection: Connection) -> str | None:
    """Digest of the bundle that decides; None before one was named."""
    return alias(connection, Alias.CHAMPION)


def alias(connection: Connection, name: Alias) -> str | None:
    """Digest of the bundle that an alias names; None where it names none."""
    return connection.execute(select(aliases.c.digest).where(aliases.c.alias == name.value)).scalar()


def set_champion(connection: Connection, digest: str, *, who: str, why: str, now_ms: int) -> BundleRow:
    """The bundle that decides from now on; where it does already, nothing is done.

    Raises:
        NotFoundError: no such bundle is registered.
        ConflictError: a rollout runs: it has to end first.
        ConfigError: who or why cannot be written to the audit log.
    """
    audit.lock(connection)
    row = read_bundle_row(connection, digest)
    before = champion(connection)
    if before == digest:
        return row
    running = connection.execute(select(rollouts.c.rollout_id).where(rollouts.c.running == 1)).scalar()
    if running is not None:
        raise ConflictError(
            f"rollout {running} is running and compares with the champion; promote or abort it first"
        )
    point(connection, Alias.CHAMPION, digest, now_ms)
    audit.append(
        connection, who=who, act="bundle.champion", subject=digest, why=why, detail={"old": before},
        now_ms=now_ms,
    )  # fmt: skip
    return row


def point(connection: Connection, name: Alias, digest: str | None, now_ms: int) -> None:
    """Have an alias name a bundle, or none; part of a move that `lock`s and writes its audit entry itself."""
    connection.execute(delete(aliases).where(aliases.c.alias == name.value))
    if digest is not None:
        connection.execute(insert(aliases).values(alias=name.value, digest=digest, since_ms=now_ms))


def _data_digest(card: dict[str, Any]) -> str | None:
    """What the card says of its data; bundles of other versions may say less."""
    data = card.get("data")
    digest = data.get("digest") if isinstance(data, dict) else None
    return digest if isinstance(digest, str) else None


def _row(connection: Connection, digest: str) -> BundleRow | None:
    found = connection.execute(select(bundles).where(bundles.c.digest == digest)).mappings().first()
    return None if found is None else BundleRow(**found)
