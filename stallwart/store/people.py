"""People who review: local accounts with a role, and what they can read.

Every change is in the audit log, in its own transaction. Nobody is deleted, since verdicts name who gave
them: whoever left is disabled. The last admin stays one.
"""

import re
import secrets
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Engine, insert, select, update
from sqlalchemy.exc import IntegrityError

from stallwart.core.errors import ConflictError, DataError, NotFoundError
from stallwart.store import audit
from stallwart.store.database import writing
from stallwart.store.passwords import Passwords, check_password
from stallwart.store.revisions import storable
from stallwart.store.tables import sessions, users

_LONGEST_NAME = 64
_LANGUAGE = re.compile(r"[a-z]{2,3}")
_POLICY = re.compile(r"[a-z][a-z0-9_]{0,63}")


class Role(StrEnum):
    """What a person may do; which pages each opens is the review program's table."""

    REVIEWER = "reviewer"
    LEAD = "lead"
    ENGINEER = "engineer"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class User:
    """One account, without its password.

    Attributes:
        user_id: `u_` and hexadecimal characters.
        name: as it was given; no other account has it in other case or in other forms of its letters.
        role: what they may do.
        skills: policies that they read; None is all.
        languages: that they read, as `de`; None is all.
        created_at_ms: milliseconds since 1970.
        password_at_ms: when the password was set.
        disabled_at_ms: since when nobody can sign in with it; None where they can.
    """

    user_id: str
    name: str
    role: Role
    skills: frozenset[str] | None
    languages: frozenset[str] | None
    created_at_ms: int
    password_at_ms: int
    disabled_at_ms: int | None

    @property
    def state(self) -> str:
        """`active` or `disabled`."""
        return "active" if self.disabled_at_ms is None else "disabled"


USER_COLUMNS = [users.c[name] for name in User.__slots__]


def name_key(name: str) -> str:
    """What tells two names apart: NFKC without case; what no database takes is U+FFFD."""
    key = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold()).strip()
    return storable(key) or ""


def language_of(language: str | None) -> str | None:
    """`de` of "de", "DE" or "de-CH"; None of what names no language."""
    first = re.split("[-_]", (language or "").strip().lower())[0]
    return first if _LANGUAGE.fullmatch(first) else None


def add_user(
    engine: Engine,
    passwords: Passwords,
    name: str,
    password: str,
    role: Role,
    *,
    skills: Iterable[str] | None = None,
    languages: Iterable[str] | None = None,
    who: str,
    why: str,
    now_ms: int,
) -> User:
    """A new account, stored.

    Args:
        engine: the database.
        passwords: hashes the password, before the transaction begins.
        name: 1 to 64 characters.
        password: see `passwords.check_password`.
        role: what they may do.
        skills: policies that they read; None is all.
        languages: that they read, as `de`; None is all.
        who: for the audit log.
        why: for the audit log.
        now_ms: milliseconds since 1970.

    Raises:
        DataError: the name, the password, a policy or a language cannot be taken.
        ConflictError: somebody has this name.
        ConfigError: who or why is empty or too long.
    """
    name = _checked_name(name)
    check_password(password, name)
    user = User(
        user_id=f"u_{secrets.token_hex(8)}",
        name=name,
        role=role,
        skills=_checked(skills, _POLICY, "policy"),
        languages=_checked(languages, _LANGUAGE, "language"),
        created_at_ms=now_ms,
        password_at_ms=now_ms,
        disabled_at_ms=None,
    )
    kept = passwords.hash(password)
    with writing(engine) as connection:
        try:
            with connection.begin_nested():
                connection.execute(
                    insert(users).values(**_row(user), name_key=name_key(name), password_hash=kept)
                )
        except IntegrityError:
            raise ConflictError(f"there is an account named {name!r}; see: stallwart users list") from None
        detail = {"name": name, "role": role.value, **_reads(user)}
        _note(connection, user, "user.add", detail, who, why, now_ms)
    return user


def list_users(connection: Connection) -> list[User]:
    """All accounts by name, the disabled ones too."""
    rows = connection.execute(select(*USER_COLUMNS).order_by(users.c.name_key)).mappings()
    return [user_of(row) for row in rows]


def find_user(connection: Connection, name: str, *, lock: bool = False) -> User:
    """The account of this name, in whatever case.

    Raises:
        NotFoundError: there is none.
    """
    query = select(*USER_COLUMNS).where(users.c.name_key == name_key(name))
    row = connection.execute(query.with_for_update() if lock else query).mappings().first()
    if row is None:
        raise NotFoundError(f"there is no account named {name[:_LONGEST_NAME]!r}; see: stallwart users list")
    return user_of(row)


def set_role(connection: Connection, name: str, role: Role, *, who: str, why: str, now_ms: int) -> User:
    """The account with another role, in the caller's transaction; whoever is signed in has it at once.

    Raises:
        NotFoundError: there is no such account.
        ConflictError: nobody else is an admin.
    """
    audit.lock(connection)
    user = find_user(connection, name, lock=True)
    if role != Role.ADMIN:
        _check_not_last(connection, user)
    detail = {"name": user.name, "from": user.role.value, "to": role.value}
    return _change(connection, user, {"role": role.value}, "user.role", detail, who, why, now_ms)


def set_reading(
    connection: Connection,
    name: str,
    skills: Iterable[str] | None,
    languages: Iterable[str] | None,
    *,
    who: str,
    why: str,
    now_ms: int,
) -> User:
    """The account with other policies and languages, in the caller's transaction; None is all.

    Raises:
        NotFoundError: there is no such account.
        DataError: a policy or a language is none.
    """
    audit.lock(connection)
    user = find_user(connection, name, lock=True)
    policies = _checked(skills, _POLICY, "policy")
    read = _checked(languages, _LANGUAGE, "language")
    values = {"skills": _listed(policies), "languages": _listed(read)}
    detail = {"name": user.name, "from": _reads(user), "to": values}
    return _change(connection, user, values, "user.reading", detail, who, why, now_ms)


def disable(connection: Connection, name: str, *, who: str, why: str, now_ms: int) -> User:
    """The account, with which nobody can sign in from now on, in the caller's transaction; sessions end.

    Raises:
        NotFoundError: there is no such account.
        ConflictError: nobody else is an admin.
    """
    audit.lock(connection)
    user = find_user(connection, name, lock=True)
    _check_not_last(connection, user)
    _end_sessions(connection, user, now_ms)
    values = {"disabled_at_ms": user.disabled_at_ms or now_ms}
    return _change(connection, user, values, "user.disable", {"name": user.name}, who, why, now_ms)


def enable(connection: Connection, name: str, *, who: str, why: str, now_ms: int) -> User:
    """The account, with which its owner can sign in again, in the caller's transaction.

    Raises:
        NotFoundError: there is no such account.
    """
    audit.lock(connection)
    user = find_user(connection, name, lock=True)
    values = {"disabled_at_ms": None}
    return _change(connection, user, values, "user.enable", {"name": user.name}, who, why, now_ms)


def set_password(
    engine: Engine, passwords: Passwords, name: str, password: str, *, who: str, why: str, now_ms: int
) -> User:
    """The account with another password; all its sessions end.

    Raises:
        NotFoundError: there is no such account.
        DataError: the password cannot be taken.
    """
    check_password(password, name)
    kept = passwords.hash(password)
    with writing(engine) as connection:
        audit.lock(connection)
        user = find_user(connection, name, lock=True)
        _end_sessions(connection, user, now_ms)
        values = {"password_hash": kept, "password_at_ms": now_ms}
        return _change(connection, user, values, "user.password", {"name": user.name}, who, why, now_ms)


def user_of(row: Mapping[Any, Any]) -> User:
    """The account in a row of `USER_COLUMNS`, by name; columns beside them are not looked at."""
    fields = {name: row[name] for name in User.__slots__}
    sets = {
        name: None if fields[name] is None else frozenset(fields[name]) for name in ("skills", "languages")
    }
    return User(**{**fields, **sets, "role": Role(fields["role"])})


def _checked_name(name: str) -> str:
    kept = unicodedata.normalize("NFKC", name).strip()
    if not kept or len(kept) > _LONGEST_NAME:
        raise DataError(f"a name has 1 to {_LONGEST_NAME} characters, this one {len(kept):,}")
    # Controls, surrogates and what is not seen, as zero-width letters: two names would look the same
    if any(unicodedata.category(one)[0] == "C" or (one.isspace() and one != " ") for one in kept):
        raise DataError("the name holds a character that cannot be seen; take letters, digits, signs, spaces")
    return kept


def _checked(given: Iterable[str] | None, form: re.Pattern[str], what: str) -> frozenset[str] | None:
    if given is None:
        return None
    kept = frozenset(given)
    wrong = sorted(one for one in kept if not form.fullmatch(one))
    if wrong:
        raise DataError(f"{wrong[0]!r} is no {what}; write it as {'de' if what == 'language' else 'tobacco'}")
    return kept


def _check_not_last(connection: Connection, user: User) -> None:
    if user.role != Role.ADMIN or user.disabled_at_ms is not None:
        return
    others = select(users.c.user_id).where(
        users.c.role == Role.ADMIN.value, users.c.disabled_at_ms.is_(None), users.c.user_id != user.user_id
    )
    if connection.execute(others.limit(1)).first() is None:
        raise ConflictError(f"{user.name} is the only admin; make somebody else one first")


def _change(
    connection: Connection,
    user: User,
    values: dict[str, Any],
    act: str,
    detail: dict[str, Any],
    who: str,
    why: str,
    now_ms: int,
) -> User:
    connection.execute(update(users).where(users.c.user_id == user.user_id).values(**values))
    _note(connection, user, act, detail, who, why, now_ms)
    query = select(*USER_COLUMNS).where(users.c.user_id == user.user_id)
    return user_of(connection.execute(query).mappings().one())


def _note(
    connection: Connection, user: User, act: str, detail: dict[str, Any], who: str, why: str, now_ms: int
) -> None:
    audit.append(connection, who=who, act=act, subject=user.user_id, why=why, detail=detail, now_ms=now_ms)


def _end_sessions(connection: Connection, user: User, now_ms: int) -> None:
    live = (sessions.c.user_id == user.user_id) & sessions.c.revoked_at_ms.is_(None)
    connection.execute(update(sessions).where(live).values(revoked_at_ms=now_ms))


def _reads(user: User) -> dict[str, list[str] | None]:
    return {"skills": _listed(user.skills), "languages": _listed(user.languages)}


def _listed(given: frozenset[str] | None) -> list[str] | None:
    return None if given is None else sorted(given)


def _row(user: User) -> dict[str, Any]:
    return {name: getattr(user, name) for name in User.__slots__} | _reads(user) | {"role": user.role.value}
