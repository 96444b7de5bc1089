"""People and tasks that the suites of review begin with; passwords are hashed cheaply."""

from stallwart.core.decision import Action
from stallwart.core.settings import Settings
from stallwart.store import claims
from stallwart.store.database import writing
from stallwart.store.passwords import Passwords
from stallwart.store.people import Role, add_user
from stallwart.store.ranking import ranking_of
from stallwart.store.tasks import Kind, Question, add_tasks
from stallwart.store.verdicts import Answer
from tests.store.outgoing import decide
from tests.store.rolling import NOW

QUICK = Passwords(time_cost=1, memory_kib=64, lanes=1, at_once=8)
WORDS = "brass lamps and oak tables"
LEASE = 300_000
RANKING = ranking_of(Settings(review_harms="weapons=10", review_deadlines="tobacco=1"))


def person(database, name="rita", role=Role.REVIEWER, password=WORDS, **facts):
    given = {"who": "ana", "why": "a new account", "now_ms": NOW, **facts}
    return add_user(database, QUICK, name, password, role, **given)


def asked(number=0, kind=Kind.REVIEW, **facts):
    """A question about the decision on `listing <number>`, which `decided` writes."""
    given = {"policy": "weapons", "language": None, "probability": 0.5, "asked_at_ms": NOW, **facts}
    return Question(kind, decision_of(number), f"listing {number}", "r" * 64, **given)


def decision_of(number):
    return f"d-listing {number}-0001"


def decided(database, *numbers, action=Action.REVIEW):
    return decide(database, [], *((f"listing {number}", 1) for number in numbers), action=action)


def add(database, *questions, ranking=RANKING, now_ms=NOW):
    with writing(database) as connection:
        return add_tasks(connection, questions, ranking, now_ms)


def take(database, user, now_ms=NOW, **facts):
    with writing(database) as connection:
        return claims.claim_next(connection, user, now_ms=now_ms, lease_ms=LEASE, **facts)


def act(database, what, *arguments, **facts):
    with writing(database) as connection:
        return what(connection, *arguments, **facts)


def say(database, user, task, answer=Answer.NO, now_ms=NOW, **facts):
    answers = facts.pop("answers", {"weapons": answer})
    with writing(database) as connection:
        return claims.finish(connection, user, task.task_id, answers, now_ms=now_ms, **facts)
