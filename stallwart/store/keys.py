"""API keys: who may call the service, for what, until when and how often.

A key is shown once, when it is made; only its sha256 is kept. It has 256 random bits, so no salt and no slow
hash are needed. Scopes are explicit: `admin` does not imply the others.
"""

import hashlib
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Engine, Row, insert, select, update

from stallwart.core.errors import ConfigError
from stallwart.store.database import reading
from stallwart.store.tables import api_keys

_FORM = re.compile(r"sw_([0-9a-f]{12})_[A-Za-z0-9_-]{43}", re.ASCII)
_LONGEST_NAME = 200


class Scope(StrEnum):
    """What a key may do; none implies another."""

    SCORE = "score"
    READ = "read"
    FEEDBACK = "feedback"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One key, without its secret.

    Attributes:
        key_id: 12 hexadecimal characters, part of the secret and no secret itself.
        name: who it is for; several keys may share it.
        scopes: what it may do.
        per_minute: requests in one calendar minute over all processes; None is no quota.
        created_at_ms: when it was made.
        expires_at_ms: from when it is refused; None is never.
        revoked_at_ms: when it was revoked; None is not.
    """

    key_id: str
    name: str
    scopes: frozenset[Scope]
    per_minute: int | None
    created_at_ms: int
    expires_at_ms: int | None
    revoked_at_ms: int | None
    secret_hash: str = field(repr=False)

    def state(self, now_ms: int) -> str:
        """`active`, `expired` or `revoked`."""
        if self.revoked_at_ms is not None:
            return "revoked"
        expired = self.expires_at_ms is not None and now_ms >= self.expires_at_ms
        return "expired" if expired else "active"


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that was just made, and the only time that its secret is seen."""

    key: ApiKey
    secret: str = field(repr=False)


def secret_digest(secret: str) -> str:
    """What is kept of a secret: its sha256 in hexadecimal."""
    return hashlib.sha256(secret.encode()).hexdigest()


def key_id_of(secret: str) -> str | None:
    """The id of the key that a text could be the secret of; None where it has not the form of one."""
    found = _FORM.fullmatch(secret)
    return found.group(1) if found else None


def create_key(
    engine: Engine,
    name: str,
    scopes: Iterable[Scope],
    now_ms: int,
    *,
    per_minute: int | None = None,
    expires_at_ms: int | None = None,
) -> NewKey:
    """A new key, stored.

    Raises:
        ConfigError: no name or scope, a quota below 1, or an expiry that has passed.
    """
    wanted = frozenset(scopes)
    if not name.strip() or len(name) > _LONGEST_NAME:
        raise ConfigError(f"a key needs a name of 1 to {_LONGEST_NAME} characters that says who it is for")
    if not wanted:
        raise ConfigError(f"key {name!r}: it needs at least one scope; there are: {', '.join(Scope)}")
    if per_minute is not None and per_minute < 1:
        raise ConfigError(f"key {name!r}: a quota is at least 1 request per minute, got {per_minute}")
    if expires_at_ms is not None and expires_at_ms <= now_ms:
        raise ConfigError(f"key {name!r}: its expiry has passed; give a later one")
    with engine.begin() as connection:
        return _insert(connection, name.strip(), wanted, per_minute, now_ms, expires_at_ms)


def read_key(engine: Engine, key_id: str) -> ApiKey | None:
    """The key with this id, also where it is expired or revoked; None where there is none."""
    with reading(engine) as connection:
        row = connection.execute(select(api_keys).where(api_keys.c.key_id == key_id)).one_or_none()
    return _key(row) if row else None


def list_keys(engine: Engine) -> list[ApiKey]:
    """All keys, the oldest first, the expired and revoked ones too."""
    with reading(engine) as connection:
        rows = connection.execute(select(api_keys).order_by(api_keys.c.created_at_ms, api_keys.c.key_id))
        return [_key(row) for row in rows]


def revoke_key(engine: Engine, key_id: str, now_ms: int) -> ApiKey:
    """The key as it is after it was revoked; processes refuse it within `settings.key_cache_seconds`.

    Revoking a revoked key changes nothing.

    Raises:
        ConfigError: there is no such key.
    """
    with engine.begin() as connection:
        connection.execute(
            update(api_keys)
            .where(api_keys.c.key_id == key_id, api_keys.c.revoked_at_ms.is_(None))
            .values(revoked_at_ms=now_ms)
        )
        return _existing(connection, key_id)


def rotate_key(engine: Engine, key_id: str, now_ms: int, overlap_ms: int) -> NewKey:
    """A new key with the name, scopes, quota and lifetime of another, which expires after the overlap.

    Where the old key would expire sooner it still does. The quota is per key: in the overlap both have it.

    Raises:
        ConfigError: there is no such key, it is not active, or the overlap is negative.
    """
    if overlap_ms < 0:
        raise ConfigError("the overlap must be 0 or more")
    with engine.begin() as connection:
        old = _existing(connection, key_id, lock=True)
        if old.state(now_ms) != "active":
            raise ConfigError(f"key {key_id} is {old.state(now_ms)} and cannot be rotated; create a new one")
        ends = now_ms + overlap_ms
        if old.expires_at_ms is not None:
            ends = min(ends, old.expires_at_ms)
        connection.execute(update(api_keys).where(api_keys.c.key_id == key_id).values(expires_at_ms=ends))
        expires = None if old.expires_at_ms is None else now_ms + old.expires_at_ms - old.created_at_ms
        return _insert(connection, old.name, old.scopes, old.per_minute, now_ms, expires)


def _insert(
    connection: Connection,
    name: str,
    scopes: frozenset[Scope],
    per_minute: int | None,
    now_ms: int,
    expires_at_ms: int | None,
) -> NewKey:
    key_id = secrets.token_hex(6)
    secret = f"sw_{key_id}_{secrets.token_urlsafe(32)}"
    key = ApiKey(
        key_id, name, scopes, per_minute, now_ms, expires_at_ms, revoked_at_ms=None,
        secret_hash=secret_digest(secret),
    )  # fmt: skip
    values: dict[str, Any] = {part: getattr(key, part) for part in api_keys.c.keys()}  # noqa: SIM118
    connection.execute(insert(api_keys).values({**values, "scopes": sorted(scopes)}))
    return NewKey(key, secret)


def _existing(connection: Connection, key_id: str, *, lock: bool = False) -> ApiKey:
    query = select(api_keys).where(api_keys.c.key_id == key_id)
    row = connection.execute(query.with_for_update() if lock else query).one_or_none()
    if row is None:
        raise ConfigError(f"there is no key {key_id!r}; see: stallwart keys list")
    return _key(row)


def _key(row: Row[Any]) -> ApiKey:
    values = dict(row._mapping)
    return ApiKey(**{**values, "scopes": frozenset(map(Scope, values["scopes"]))})
