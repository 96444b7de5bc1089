"""Whether it is time to retrain: on schedule, on drift, or since enough new labels are in."""

import re
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from stallwart.core.errors import ConfigError
from stallwart.store import audit
from stallwart.store.alerts import DRIFT, open_alerts
from stallwart.store.tables import verdicts

_DAY_MS = 86_400_000
_SUBJECT = "retrain"
_FORMS = "every=7d, labels=500, drift"


@dataclass(frozen=True)
class When:
    """What makes a retraining due; any one of them is enough.

    Attributes:
        every_days: since the last one; None where time alone is no reason.
        labels: new verdicts since the last one; None where their number is no reason.
        drift: whether an open alert of drift is a reason.
    """

    every_days: float | None = None
    labels: int | None = None
    drift: bool = False


def parse_when(text: str) -> When:
    """What "every=7d,labels=500,drift" says.

    Raises:
        ConfigError: it says something else, or nothing.
    """
    every: float | None = None
    labels: int | None = None
    drift = False
    for part in (one.strip() for one in text.split(",") if one.strip()):
        if found := re.fullmatch(r"every=(\d{1,3})d", part):
            every = float(found[1])
        elif found := re.fullmatch(r"labels=(\d{1,9})", part):
            labels = int(found[1])
        elif part == "drift":
            drift = True
        else:
            raise ConfigError(f"--when: {part!r} is no reason to retrain; there are: {_FORMS}")
    if every is None and labels is None and not drift:
        raise ConfigError(f"--when: names no reason to retrain; there are: {_FORMS}")
    return When(every, labels, drift)


def due(connection: Connection, when: When, now_ms: int) -> str | None:
    """Why it is time, in words; None where it is not.

    A retraining that the gate refused counts as the last one too: what was not enough yesterday is tried
    again when there is something new.

    Args:
        connection: in a transaction of `database.reading`.
        when: what makes it due.
        now_ms: milliseconds since 1970.
    """
    entries = audit.read(connection, act="retrain.", subject=_SUBJECT, limit=1)
    last_ms = entries[0].at_ms if entries else None
    known_ms = int(entries[0].detail["until_ms"]) if entries else 0
    if when.every_days is not None:
        if last_ms is None:
            return "there was no retraining yet"
        days = (now_ms - last_ms) / _DAY_MS
        if days >= when.every_days:
            return f"the last retraining was {days:.1f} days ago"
    if when.labels is not None:
        query = select(func.count()).select_from(verdicts).where(verdicts.c.created_at_ms >= known_ms)
        count = int(connection.execute(query).scalar_one())
        if count >= when.labels:
            return f"{count:,} verdicts are new"
    if when.drift:
        for alert in open_alerts(connection, DRIFT):
            if last_ms is None or alert.first_at_ms > last_ms:
                return f"drift was raised: {alert.title}"
    return None
