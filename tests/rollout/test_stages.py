from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from stallwart.core.errors import ConflictError, GateError
from stallwart.core.rollout import Stage
from stallwart.rollout.guards import look
from stallwart.rollout.plan import Question
from stallwart.rollout.stages import (
    ITSELF,
    Move,
    Numbers,
    abort,
    advance,
    expectation,
    first_move,
    hold,
    moved,
    next_move,
    numbers_of,
    promote,
    resume,
)
from tests.rollout.making import NOTHING, PLAN, exposures, pair, rollout, tally

CALM = look(PLAN, tally(), NOTHING, ["weapons"], 10)
HARM = (replace(CALM[0], says="roll back", words="The model failed."), *CALM[1:])
SUSPICION = (replace(CALM[0], says="hold"), *CALM[1:])
ENOUGH = Numbers(10_000, 10_000)
NONE = Numbers(0, 0)
SHOWN = replace(NOTHING, answer="non-inferior")
HOUR = 3_600_000


def after(state, guards=CALM, comparison=NOTHING, numbers=ENOUGH, hours=1.0, plan=PLAN):
    return next_move(state, plan, guards, comparison, numbers, round(hours * HOUR))


def told(state, guards=CALM, comparison=NOTHING, numbers=ENOUGH, hours=1.0):
    return expectation(state, PLAN, guards, comparison, numbers, round(hours * HOUR))


def test_it_begins_at_the_first_step():
    move = first_move(PLAN, "ann", "a new model")
    assert (move.stage, move.step, move.share, move.shadow_share) == (Stage.SHADOW, 0, 0.0, 1.0)


def test_it_goes_on_once_the_smallest_numbers_are_there():
    move = after(rollout())
    assert (move.stage, move.step, move.share, move.shadow_share, move.who) == (
        Stage.CANARY,
        1,
        0.05,
        0.0,
        ITSELF,
    )
    assert after(rollout(), hours=0.99) is None
    assert after(rollout(), numbers=Numbers(99, 0)) is None
    assert after(rollout(), numbers=Numbers(100, 0)) is not None


def test_it_stays_while_a_guard_is_suspicious_or_an_operator_holds_it():
    assert after(rollout(), SUSPICION) is None
    assert after(rollout(held=True)) is None


@given(st.integers(0, 2), st.booleans(), st.floats(0, 200))
def test_harm_takes_it_back_at_every_step_held_or_not(step, held, hours):
    move = after(rollout(step, held=held), HARM, SHOWN, NONE, hours)
    assert (move.stage, move.share, move.shadow_share) == (Stage.ROLLED_BACK, 0.0, 0.0)
    assert move.why == "The model failed."


def test_the_answer_promotes_it():
    assert after(rollout(2), comparison=NOTHING, hours=5) is None
    move = after(rollout(2), comparison=SHOWN, hours=5)
    assert (move.stage, move.share, move.forced) == (Stage.PROMOTED, 1.0, False)
    assert "non-inferior" in move.why


def test_where_superior_is_asked_non_inferior_is_no_answer():
    plan = PLAN.model_copy(update={"question": Question(show="superior")})
    assert after(rollout(2, plan), comparison=SHOWN, hours=5, plan=plan) is None
    superior = replace(NOTHING, answer="superior")
    assert after(rollout(2, plan), comparison=superior, hours=5, plan=plan).stage is Stage.PROMOTED


def test_its_time_is_over_unless_the_answer_comes_at_that_moment():
    assert after(rollout(2), hours=99.9) is None
    assert after(rollout(2), hours=100).stage is Stage.ROLLED_BACK
    assert "100 hours" in after(rollout(2), hours=100).why
    assert after(rollout(2), comparison=SHOWN, hours=100).stage is Stage.PROMOTED
    assert after(rollout(2, held=True), hours=1_000) is None


@pytest.mark.parametrize("stage", [Stage.PROMOTED, Stage.ROLLED_BACK])
def test_what_is_over_stays_over(stage):
    state = rollout(2, stage=stage)
    assert after(state, HARM) is None
    for act in (
        lambda: advance(state, PLAN, "ann", ""),
        lambda: hold(state, "ann", ""),
        lambda: resume(state, "ann", ""),
        lambda: abort(state, "ann", ""),
        lambda: promote(state, PLAN, SHOWN, "ann", "", True),
    ):
        with pytest.raises(ConflictError, match="is over"):
            act()


def test_an_operator_cannot_advance_beyond_the_last_step():
    with pytest.raises(ConflictError, match="last step"):
        advance(rollout(2), PLAN, "ann", "")


def test_promotion_without_the_answer_takes_force_and_is_marked():
    with pytest.raises(GateError, match="asks for non-inferior"):
        promote(rollout(1), PLAN, NOTHING, "ann", "hurry", False)
    assert promote(rollout(1), PLAN, NOTHING, "ann", "hurry", True).forced
    assert not promote(rollout(1), PLAN, SHOWN, "ann", "shown", True).forced


def test_holding_twice_and_resuming_what_is_not_held_are_errors():
    with pytest.raises(ConflictError, match="held already"):
        hold(rollout(held=True), "ann", "")
    with pytest.raises(ConflictError, match="not held"):
        resume(rollout(), "ann", "")


def test_a_hold_does_not_begin_the_step_anew():
    state = moved(rollout(1, step_since_ms=5), hold(rollout(1), "ann", "lunch"), 99)
    assert (state.step_since_ms, state.held, state.version, state.ended_at_ms) == (5, True, 2, None)
    state = moved(state, advance(state, PLAN, "ann", ""), 100)
    assert (state.step, state.step_since_ms, state.held) == (2, 100, False)


@pytest.mark.parametrize(
    ("state", "rest", "sentence"),
    [
        (rollout(), {}, "Goes on to 5 % now."),
        (rollout(), {"hours": 0.5}, "Goes on to 5 % in 30 min at the earliest."),
        (
            rollout(),
            {"hours": 0.5, "numbers": Numbers(40, 0)},
            "Goes on to 5 % in 30 min at the earliest and after 60 more units.",
        ),
        (
            rollout(1),
            {"guards": SUSPICION},
            "Goes on to the A/B stage at 50 % once errors is no longer suspicious.",
        ),
        (rollout(held=True), {}, "Held by an operator; after that it goes on to 5 %."),
        (rollout(), {"guards": HARM}, "Is rolled back now, by errors."),
        (
            rollout(2),
            {"hours": 50},
            "Is promoted to all traffic once verdicts show that it is non-inferior."
            " It is rolled back in 2 days if that does not come.",
        ),
        (rollout(2), {"hours": 50, "comparison": SHOWN}, "Is promoted to all traffic now."),
        (rollout(2, stage=Stage.PROMOTED), {}, "It is over: promoted."),
    ],
)
def test_the_page_says_what_happens_next(state, rest, sentence):
    assert told(state, **rest) == sentence


@given(
    st.integers(0, 2),
    st.sampled_from([CALM, SUSPICION, HARM]),
    st.sampled_from([NOTHING, SHOWN]),
    st.builds(Numbers, st.integers(0, 200), st.integers(0, 300)),
    st.floats(0, 99),
)
def test_what_is_said_to_happen_now_happens(step, guards, comparison, numbers, hours):
    state = rollout(step)
    move = after(state, guards, comparison, numbers, hours)
    assert (move is not None) == (" now" in told(state, guards, comparison, numbers, hours))


def test_numbers_are_pairs_in_shadow_and_the_challengers_exposures_after_it():
    counted = tally(exposures(5, "champion", step=1), pairs=[pair(n) for n in range(7)])
    assert numbers_of(counted, NOTHING, 0) == Numbers(7, 0)
    assert numbers_of(counted, NOTHING, 1) == Numbers(0, 0)


class AnyoneMoves(RuleBasedStateMachine):
    """Operators and the machine move in any order; versions count, and nothing leaves the plan."""

    def __init__(self):
        super().__init__()
        self.state = moved(rollout(), first_move(PLAN, "ann", ""), 0)
        self.now = 0
        self.path = [self.state.stage]

    def take(self, move: Move):
        before = self.state
        self.state = moved(self.state, move, self.now)
        assert self.state.version == before.version + 1
        assert self.state.step >= before.step
        self.path.append(self.state.stage)

    @rule(
        guards=st.sampled_from([CALM, CALM, CALM, SUSPICION, HARM]),
        comparison=st.sampled_from([NOTHING, SHOWN]),
        numbers=st.sampled_from([NONE, ENOUGH]),
        hours=st.integers(1, 60),
    )
    def time_passes(self, guards, comparison, numbers, hours):
        self.now += hours * HOUR
        move = next_move(self.state, PLAN, guards, comparison, numbers, self.now)
        assert expectation(self.state, PLAN, guards, comparison, numbers, self.now).endswith(".")
        if move is not None:
            if move.stage is Stage.PROMOTED:
                assert comparison is SHOWN
                assert self.state.step == 2
            assert not (self.state.held and move.stage is not Stage.ROLLED_BACK)
            self.take(move)

    @precondition(lambda self: not self.state.stage.ended and self.state.step < 2)
    @rule()
    def an_operator_advances(self):
        self.take(advance(self.state, PLAN, "ann", "sure"))

    @precondition(lambda self: not self.state.stage.ended)
    @rule()
    def an_operator_holds_or_resumes(self):
        self.take((resume if self.state.held else hold)(self.state, "ann", "lunch"))

    @precondition(lambda self: not self.state.stage.ended)
    @rule(force=st.booleans())
    def an_operator_promotes(self, force):
        if force:
            self.take(promote(self.state, PLAN, NOTHING, "ann", "hurry", True))
        else:
            with pytest.raises(GateError):
                promote(self.state, PLAN, NOTHING, "ann", "hurry", False)

    @precondition(lambda self: not self.state.stage.ended)
    @rule()
    def an_operator_aborts(self):
        self.take(abort(self.state, "ann", "no"))

    @invariant()
    def shares_are_those_of_the_stage(self):
        at = PLAN.steps[self.state.step]
        shares = {
            Stage.PROMOTED: (1.0, 0.0),
            Stage.ROLLED_BACK: (0.0, 0.0),
        }.get(self.state.stage, (at.share, at.shadow_share))
        assert (self.state.share, self.state.shadow_share) == shares
        assert self.state.stage.ended == (self.state.ended_at_ms is not None)
        assert not any(stage.ended for stage in self.path[:-1])


TestAnyoneMoves = AnyoneMoves.TestCase
TestAnyoneMoves.settings = settings(max_examples=40, stateful_step_count=15, deadline=None)
