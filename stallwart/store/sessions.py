"""Sessions: who is signed in. The token is in the person's cookie; only its sha256 is kept.

Role, skills and whether the account is disabled are read again with each request. A session ends after a time
without requests, after its longest time, when it is revoked, or when its account is disabled or gets another
password.
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field

from sqlalchemy import Connection, Engine, bindparam, delete, select, update

from stallwart.core.errors import NotFoundError, SignInError
from stallwart.core.settings import Settings
from stallwart.store import attempts, audit
from stallwart.store.database import writing
from stallwart.store.passwords import Passwords
from stallwart.store.people import USER_COLUMNS, User, name_key, user_of
from stallwart.store.tables import sessions, users

_SEEN_MS = 60_000  # how exactly it is kept when a person was last seen: not each request writes
_KEPT_MS = 30 * 86_400_000
_LONGEST_TOKEN = 100
_LONGEST_NAME = 1_000  # what is longer is nobody's


@dataclass(frozen=True, slots=True)
class Session:
    """One session, without its token.

    Attributes:
        session_id: names it to people; no secret.
        user: whose it is, as they are now.
        source: the address that signed in; of IPv6 its /64.
        created_at_ms: milliseconds since 1970.
        seen_at_ms: the last request, to the minute.
        expires_at_ms: from when it is over however busy.
        csrf: belongs into each form of this session.
    """

    session_id: str
    user: User
    source: str
    created_at_ms: int
    seen_at_ms: int
    expires_at_ms: int
    csrf: str = field(repr=False)

    def csrf_matches(self, given: str) -> bool:
        """Whether a form came from a page of this session; takes as long whatever was given."""
        return hmac.compare_digest(self.csrf.encode(), given.encode(errors="replace"))


@dataclass(frozen=True, slots=True)
class NewSession:
    """A session that just began, and the only time that its token is seen."""

    session: Session
    token: str = field(repr=False)


_COLUMNS = [sessions.c[name] for name in Session.__slots__ if name != "user"]
_READ = (  # made once: to make a statement costs as much as to run it
    select(*_COLUMNS, *USER_COLUMNS[:5], users.c.password_at_ms, users.c.disabled_at_ms)
    .add_columns(users.c.created_at_ms.label("joined_at_ms"))
    .join_from(sessions, users, users.c.user_id == sessions.c.user_id)
    .where(
        sessions.c.token_hash == bindparam("token"),
        sessions.c.revoked_at_ms.is_(None),
        sessions.c.expires_at_ms > bindparam("now_ms"),
        sessions.c.seen_at_ms > bindparam("seen_ms"),
        users.c.disabled_at_ms.is_(None),
    )
)


def confirm(
    engine: Engine, passwords: Passwords, name: str, password: str, address: str, now_ms: int
) -> User:
    """Whose name and password these are.

    Takes as long for a name that nobody has as for one with another password. The password is hashed outside
    of any transaction.

    Args:
        engine: the database.
        passwords: verifies it; what was hashed with other parameters is hashed again.
        name: in whatever case.
        password: what was typed.
        address: of who tries.
        now_ms: milliseconds since 1970.

    Raises:
        SignInError: one of them is wrong, or the account is disabled.
        LockedError: too many attempts failed.
    """
    key = name_key(name[:_LONGEST_NAME])
    with writing(engine) as connection:
        query = select(*USER_COLUMNS, users.c.password_hash).where(users.c.name_key == key)
        row = connection.execute(query).mappings().first()
        attempt = attempts.attempt_of(row["user_id"] if row else None, key, address)
        counted = attempts.begin(connection, attempt, now_ms)
    right = passwords.matches(row["password_hash"] if row else None, password)
    if row is None or not right or row["disabled_at_ms"] is not None:
        raise SignInError("name or password is wrong; an admin can set a new one: stallwart users password")
    again = passwords.hash(password) if passwords.outdated(row["password_hash"]) else None
    with writing(engine) as connection:
        attempts.succeeded(connection, counted, now_ms)
        if again is not None:
            # Unless somebody set another one meanwhile
            same = (users.c.user_id == row["user_id"]) & (users.c.password_hash == row["password_hash"])
            connection.execute(update(users).where(same).values(password_hash=again))
    return user_of(row)


def sign_in(
    engine: Engine,
    passwords: Passwords,
    name: str,
    password: str,
    *,
    address: str,
    settings: Settings,
    now_ms: int,
) -> NewSession:
    """A new session of whose name and password these are; see `confirm`.

    Raises:
        SignInError: one of them is wrong, or the account is disabled.
        LockedError: too many attempts failed.
    """
    confirmed = confirm(engine, passwords, name, password, address, now_ms)
    token = secrets.token_urlsafe(32)
    values = {
        "session_id": f"s_{secrets.token_hex(8)}",
        "source": attempts.source_of(address),
        "created_at_ms": now_ms,
        "seen_at_ms": now_ms,
        "expires_at_ms": now_ms + int(settings.session_hours * 3_600_000),
        "csrf": secrets.token_urlsafe(32),
    }
    with writing(engine) as connection:
        query = select(*USER_COLUMNS).where(users.c.user_id == confirmed.user_id)
        user = user_of(connection.execute(query.with_for_update()).mappings().one())
        if user.disabled_at_ms is not None or user.password_at_ms != confirmed.password_at_ms:
            raise SignInError("the account changed meanwhile; sign in again")
        # Tokens that were never asked for again are gone some time after they ended
        connection.execute(delete(sessions).where(sessions.c.expires_at_ms < now_ms - _KEPT_MS))
        connection.execute(
            sessions.insert().values(**values, token_hash=_digest(token), user_id=user.user_id)
        )
    return NewSession(Session(user=user, **values), token)  # type: ignore[arg-type]


def read_session(connection: Connection, token: str, settings: Settings, now_ms: int) -> Session | None:
    """The session of a token, with the person as they are now; None where it has none that is still on.

    One look into an index. `touch` it after a request.
    """
    if len(token) > _LONGEST_TOKEN:
        return None
    row = (
        connection.execute(
            _READ, {"token": _digest(token), "now_ms": now_ms, "seen_ms": now_ms - _idle_ms(settings)}
        )
        .mappings()
        .first()
    )
    if row is None:
        return None
    values = {name: row[name] for name in Session.__slots__ if name != "user"}
    return Session(user=user_of({**row, "created_at_ms": row["joined_at_ms"]}), **values)


def touch(engine: Engine, session: Session, now_ms: int) -> None:
    """Keep that the person was seen; writes at most once a minute."""
    if now_ms - session.seen_at_ms < _SEEN_MS:
        return
    mine = (sessions.c.session_id == session.session_id) & (sessions.c.seen_at_ms < now_ms)
    with writing(engine) as connection:
        connection.execute(update(sessions).where(mine).values(seen_at_ms=now_ms))


def list_sessions(connection: Connection, user: User, settings: Settings, now_ms: int) -> list[Session]:
    """Sessions of a person that are still on, the newest first."""
    query = select(*_COLUMNS).where(
        sessions.c.user_id == user.user_id,
        sessions.c.revoked_at_ms.is_(None),
        sessions.c.expires_at_ms > now_ms,
        sessions.c.seen_at_ms > now_ms - _idle_ms(settings),
    )
    rows = connection.execute(query.order_by(sessions.c.created_at_ms.desc())).mappings()
    return [Session(user=user, **row) for row in rows]


def sign_out(connection: Connection, session: Session, now_ms: int) -> None:
    """End a session by its owner; its token opens nothing any more."""
    mine = (sessions.c.session_id == session.session_id) & sessions.c.revoked_at_ms.is_(None)
    connection.execute(update(sessions).where(mine).values(revoked_at_ms=now_ms))


def revoke(
    connection: Connection, user: User, *, session_id: str | None = None, who: str, why: str, now_ms: int
) -> int:
    """How many sessions of a person were ended by somebody else: the one that is named, or all.

    Raises:
        NotFoundError: this person has no session of this id.
    """
    audit.lock(connection)
    mine = sessions.c.user_id == user.user_id
    if session_id is not None:
        mine &= sessions.c.session_id == session_id
        if connection.execute(select(sessions.c.session_id).where(mine)).first() is None:
            raise NotFoundError(f"{user.name} has no session {session_id[:40]!r}")
    live = mine & sessions.c.revoked_at_ms.is_(None)
    done = int(connection.execute(update(sessions).where(live).values(revoked_at_ms=now_ms)).rowcount)
    detail = {"name": user.name, "session": session_id, "ended": done}
    audit.append(
        connection, who=who, act="user.sessions", subject=user.user_id, why=why, detail=detail, now_ms=now_ms
    )
    return done


def unlock(connection: Connection, user: User, *, who: str, why: str, now_ms: int) -> None:
    """Let a person try to sign in again at once, in the caller's transaction."""
    audit.lock(connection)
    attempts.unlock(connection, user.user_id)
    audit.append(
        connection, who=who, act="user.unlock", subject=user.user_id, why=why, detail={"name": user.name},
        now_ms=now_ms,
    )  # fmt: skip


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()


def _idle_ms(settings: Settings) -> int:
    return int(settings.session_idle_minutes * 60_000)
