"""People that the suites of review begin with; their passwords are hashed cheaply."""

from stallwart.store.passwords import Passwords
from stallwart.store.people import Role, add_user
from tests.store.rolling import NOW

QUICK = Passwords(time_cost=1, memory_kib=64, lanes=1, at_once=8)
WORDS = "brass lamps and oak tables"


def person(database, name="rita", role=Role.REVIEWER, password=WORDS, **facts):
    given = {"who": "ana", "why": "a new account", "now_ms": NOW, **facts}
    return add_user(database, QUICK, name, password, role, **given)
