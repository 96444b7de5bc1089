"""A running service follows rights: what is withdrawn goes to review, and never comes back by itself."""

from dataclasses import dataclass, field

import pytest
from fakes import FakeRuntime
from sqlalchemy.exc import OperationalError

from stallwart.core.errors import StoreError
from stallwart.core.listing import Listing
from stallwart.rollout.plan import Plan
from stallwart.serving.metrics import Metrics
from stallwart.serving.rollouts.arms import Arms
from stallwart.serving.rollouts.follow import Follow
from stallwart.store.database import writing
from stallwart.store.registry import register, set_champion
from stallwart.store.rights import Right, State, adopt, grant, start_earning, withdraw
from tests.store.rolling import begun

OLD, NEW = "b" * 64, "d" * 64
DRUGS = Right(OLD, "drugs", State.CERTIFIED, 0.9, 0.9, 0.9, "as its certificate says", 1)


@dataclass
class Engine:
    """Takes runtimes, scores nothing."""

    used: list[FakeRuntime] = field(default_factory=list)

    def use(self, runtime):
        self.used.append(runtime)


class House:
    """A follower with a clock that is moved by hand."""

    def __init__(self, database, **facts):
        self.database, self.now = database, 100.0
        self.runtime = FakeRuntime(digest=OLD, **facts)
        self.arms = Arms(self.runtime, 5.0, lambda: self.now)
        self.engine = Engine()
        self.follow = Follow(
            database,
            self.engine,
            self.arms,
            lambda digest, *_: FakeRuntime(digest=digest),
            Metrics(),
            lambda: self.now,
        )

    def action(self, words="a drug"):
        runtime = self.arms.route(Listing("L1", words)).runtime
        parts = runtime.parts(Listing("L1", words))
        scored = runtime.rule(parts, {key: job() for key, job in parts.jobs.items()})
        return scored.ruling.action.value, runtime.thresholds["drugs"].block

    def move(self, act, *given, **named):
        with writing(self.database) as connection:
            return act(connection, *given, who="ana", why="a reason", now_ms=5, **named)


@pytest.fixture
def house(database):
    with writing(database) as connection:
        register(connection, digest=OLD, place="/nowhere", card={}, who="test", now_ms=1)
        set_champion(connection, OLD, who="test", why="first", now_ms=1)
        adopt(connection, [DRUGS], who="test", now_ms=1)
    made = House(database)
    made.follow.read()
    return made


def test_a_withdrawn_policy_sends_to_review_what_it_blocked_and_decisions_record_it(house):
    assert house.action() == ("block", 0.9)
    house.move(withdraw, DRUGS)
    house.follow.read_rights()
    assert house.action() == ("review", None)
    assert house.action("a lamp")[0] == "allow"


def test_an_earned_threshold_acts_once_it_is_read(house):
    begun = house.move(start_earning, house.move(withdraw, DRUGS), [0.94])
    house.follow.read_rights()
    assert house.action() == ("review", None)
    assert house.arms.now.earning == {OLD: {"drugs": 0.94}}
    house.move(grant, begun, 0.94, detail={})
    house.follow.read_rights()
    assert house.action() == ("block", 0.94)


def test_nothing_is_blocked_while_rights_cannot_be_read(house, monkeypatch):
    def away(*_):
        raise OperationalError("SELECT", {}, Exception("the database is away"))

    monkeypatch.setattr("stallwart.serving.rollouts.follow.read_rights", away)
    house.now += 4
    with pytest.raises(StoreError, match="rights cannot be read"):
        house.follow.read_rights()
    assert house.action() == ("block", 0.9), "what was read is good for some seconds"
    house.now += 2
    assert house.action() == ("review", None)
    assert house.action("a lamp")[0] == "allow", "what nobody would block or ask about stays allowed"
    monkeypatch.undo()
    house.move(withdraw, DRUGS)
    house.follow.read_rights()
    assert house.action() == ("review", None), "what was withdrawn meanwhile does not come back"


def test_rights_are_followed_while_a_rollout_cannot_be_read(house):
    house.now += 60
    house.follow.read_rights()
    assert house.action() == ("block", 0.9)
    house.move(withdraw, DRUGS)
    house.follow.read_rights()
    assert house.action() == ("review", None)


def test_the_same_rights_make_no_new_runtime(house):
    house.move(withdraw, DRUGS)
    house.follow.read_rights()
    used = len(house.engine.used)
    for _ in range(3):
        house.follow.read()
        house.follow.read_rights()
    assert len(house.engine.used) == used


def test_a_bundle_without_rights_acts_by_its_own_certificates(database):
    made = House(database)
    made.follow.read()
    assert made.action() == ("block", 0.9)


def test_guards_leave_out_a_policy_whose_right_is_moved_during_a_rollout(house):
    with writing(house.database) as connection:
        register(connection, digest=NEW, place="/nowhere", card={}, who="test", now_ms=2)
    begun(house.database, now_ms=3, champion=OLD, challenger=NEW, plan=Plan().model_dump(mode="json"))
    house.follow.read()
    assert house.arms.now.challenger.digest == NEW
    assert house.arms.now.aside == frozenset()
    house.move(withdraw, DRUGS)
    house.follow.read_rights()
    assert house.arms.now.aside == {"drugs"}
    assert house.arms.now.challenger.thresholds["drugs"].block == 0.9, "the challenger's own right stands"


def test_a_policy_that_never_asks_by_itself_asks_once_its_right_is_gone_or_unknown(house):
    house = House(house.database, review=None)
    house.follow.read()
    assert house.action() == ("block", 0.9)
    house.now += 60
    assert house.action() == ("review", None), "what would be blocked is never allowed"
    house.move(withdraw, DRUGS)
    house.follow.read_rights()
    assert house.action() == ("review", None)
    assert house.action("a gun")[0] == "allow", "the other policy asks as late as it did"
