"""Who may try to sign in now: failures are counted, and each one beyond the first few doubles the wait.

Three counts, each with its own limit: of the account from this address, of this address whatever account it
tries, and of the account from all addresses. Somebody who signed in from an address within a month is not
held up there by the last one, so that a stranger can slow down an account and can lock its owner out neither
for ever nor from where they work (as OWASP's device cookies, with addresses). While it is locked an attempt
is refused unseen and not counted: knocking does not make it longer.

An attempt is counted as failed before the password is looked at, and taken back where it was right: many at
once get no more tries than one after the other. Names without an account share 4,096 counts, so that they
lock as others do and no count keeps what somebody typed into the wrong field.
"""

import hashlib
import ipaddress
import math
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, case, delete, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from stallwart.core.errors import LockedError
from stallwart.store.tables import sign_ins

_DAY_MS = 86_400_000
_KNOWN_MS = 30 * _DAY_MS
_SPOKEN_S = 120
_BUCKET = 3  # hexadecimal characters


@dataclass(frozen=True, slots=True)
class Limit:
    """After how many failures a subject waits, and how long.

    Attributes:
        free: failures without a wait.
        first_ms: the wait after the next one; each later one doubles it.
        longest_ms: the longest wait.
        leak_ms: time that takes one failure away.
    """

    free: int
    first_ms: int
    longest_ms: int
    leak_ms: int

    def wait_ms(self, failures: int) -> int:
        """How long nobody may try after so many failures; 0 where they may at once."""
        if failures < self.free:
            return 0
        return int(min(self.longest_ms, self.first_ms * 2.0 ** min(failures - self.free, 60)))

    def left(self, failures: int, leaked_at_ms: int, now_ms: int) -> tuple[int, int]:
        """Failures that still count, and up to when time has taken its share."""
        leaks = max(0, now_ms - leaked_at_ms) // self.leak_ms
        return (0, now_ms) if leaks >= failures else (failures - leaks, leaked_at_ms + leaks * self.leak_ms)


PAIR = Limit(free=5, first_ms=30_000, longest_ms=3_600_000, leak_ms=3_600_000)
SOURCE = Limit(free=30, first_ms=60_000, longest_ms=3_600_000, leak_ms=600_000)
ACCOUNT = Limit(free=50, first_ms=60_000, longest_ms=900_000, leak_ms=1_800_000)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt: its three subjects.

    Attributes:
        pair: the account from this address.
        source: the address.
        account: the account.
    """

    pair: str
    source: str
    account: str


def attempt_of(user_id: str | None, key: str, address: str) -> Attempt:
    """The subjects of an attempt.

    Args:
        user_id: of the account; None where there is none of this name.
        key: `people.name_key` of what was typed.
        address: of who tries; of IPv6 its /64, which one subscriber has whole.
    """
    account = user_id or f"none {hashlib.sha256(key.encode()).hexdigest()[:_BUCKET]}"
    source = source_of(address)
    return Attempt(f"pair {account} {source}", f"source {source}", f"account {account}")


def source_of(address: str) -> str:
    """An IPv4 address, or the /64 of an IPv6 address; other texts as they are, cut."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:64]
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is None:
            return str(ipaddress.ip_network((parsed, 64), strict=False))
        return str(parsed.ipv4_mapped)
    return str(parsed)


@dataclass(frozen=True, slots=True)
class Counted:
    """An attempt that was counted as failed, and for each subject the end of its lock, new and before."""

    attempt: Attempt
    locks: dict[str, tuple[int, int]]


def begin(connection: Connection, attempt: Attempt, now_ms: int) -> Counted:
    """The attempt, counted as failed in the caller's transaction, which is to be committed at once.

    Raises:
        LockedError: it may not be made now; nothing was counted.
    """
    subjects = [attempt.account, attempt.pair, attempt.source]
    _make(connection, subjects, now_ms)
    query = select(sign_ins).where(sign_ins.c.subject.in_(subjects)).order_by(sign_ins.c.subject)
    rows = {row.subject: row for row in connection.execute(query.with_for_update())}
    limits = {attempt.pair: PAIR, attempt.source: SOURCE}
    if rows[attempt.pair].succeeded_at_ms + _KNOWN_MS <= now_ms or not rows[attempt.pair].succeeded_at_ms:
        limits[attempt.account] = ACCOUNT  # strangers do not hold up whoever works here
    until = max(rows[subject].locked_until_ms for subject in limits)
    if until > now_ms:
        seconds = math.ceil((until - now_ms) / 1000)
        raise LockedError(
            f"too many wrong passwords; wait {_spoken(seconds)}, or ask an admin to unlock the account",
            seconds,
        )
    return Counted(
        attempt, {name: _count(connection, rows[name], limit, now_ms) for name, limit in limits.items()}
    )


def _count(connection: Connection, row: Row[Any], limit: Limit, now_ms: int) -> tuple[int, int]:
    failures, leaked_at_ms = limit.left(row.failures, row.leaked_at_ms, now_ms)
    wait_ms = limit.wait_ms(failures + 1)
    until = now_ms + wait_ms if wait_ms else 0
    connection.execute(
        update(sign_ins)
        .where(sign_ins.c.subject == row.subject)
        .values(failures=failures + 1, leaked_at_ms=leaked_at_ms, locked_until_ms=until)
    )
    return until, row.locked_until_ms


def succeeded(connection: Connection, counted: Counted, now_ms: int) -> None:
    """Take the attempt back, and with it all failures of this account from this address.

    Of the address and the account this one failure goes, and the lock that it made, none that others made:
    else whoever has an account could try the passwords of others for ever between two sign-ins of their own.
    """
    failures, until = sign_ins.c.failures, sign_ins.c.locked_until_ms
    for subject, (mine, before) in sorted(counted.locks.items()):
        values: dict[str, Any] = {
            "failures": case((failures > 0, failures - 1), else_=0),
            "locked_until_ms": case((until == mine, before), else_=until),
        }
        if subject == counted.attempt.pair:
            values = {"failures": 0, "locked_until_ms": 0, "succeeded_at_ms": now_ms}
        connection.execute(update(sign_ins).where(sign_ins.c.subject == subject).values(**values))


def unlock(connection: Connection, user_id: str) -> None:
    """Forget all failures of an account, from all addresses; those of the addresses stay."""
    pairs = sign_ins.c.subject.startswith(f"pair {user_id} ", autoescape=True)
    mine = (sign_ins.c.subject == f"account {user_id}") | pairs
    connection.execute(update(sign_ins).where(mine).values(failures=0, locked_until_ms=0))


def locked_until(connection: Connection, user_id: str) -> int:
    """Until when the account is locked, from all addresses or from any of them; 0 where it is not."""
    pairs = sign_ins.c.subject.startswith(f"pair {user_id} ", autoescape=True)
    mine = (sign_ins.c.subject == f"account {user_id}") | pairs
    return int(connection.execute(select(func.max(sign_ins.c.locked_until_ms)).where(mine)).scalar() or 0)


def forget(connection: Connection, now_ms: int) -> int:
    """Delete counts that mean nothing any more; how many there were."""
    old = (sign_ins.c.leaked_at_ms < now_ms - 2 * _DAY_MS) & (sign_ins.c.succeeded_at_ms < now_ms - _KNOWN_MS)
    unlocked = sign_ins.c.locked_until_ms < now_ms
    return int(connection.execute(delete(sign_ins).where(old, unlocked)).rowcount)


def _make(connection: Connection, subjects: list[str], now_ms: int) -> None:
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    blank = {"failures": 0, "leaked_at_ms": now_ms, "locked_until_ms": 0, "succeeded_at_ms": 0}
    rows = [{"subject": subject, **blank} for subject in sorted(subjects)]
    connection.execute(insert(sign_ins).values(rows).on_conflict_do_nothing())


def _spoken(seconds: int) -> str:
    return f"{seconds} s" if seconds < _SPOKEN_S else f"{math.ceil(seconds / 60)} minutes"
