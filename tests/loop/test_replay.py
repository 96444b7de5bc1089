from dataclasses import replace

import numpy as np
import pytest

from stallwart.loop.learner import Taught
from stallwart.loop.plan import Budget, Run, Schedule
from stallwart.loop.replay import base_of, play
from stallwart.loop.world import Market
from tests.loop.conftest import START, UNTIL, make_world

DAY = np.timedelta64(1, "D")
TAUGHT = Taught(steps=30)
STRATEGIES = ("random", "uncertain", "novel", "mixed", "all")


def run_of(strategy, budget="12/week", schedule=Schedule.WEEKLY, seed=0):
    return Run(strategy, Budget.parse(budget), schedule, seed)


@pytest.fixture(scope="module")
def base(world):
    return base_of(world, TAUGHT)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("schedule", [Schedule.WEEKLY, Schedule.MONTHLY])
def test_nothing_of_a_later_day_reaches_an_earlier_one(world, base, strategy, schedule):
    """Everything about listings from a day on is changed: what happened before that day stays, to the bit."""
    cut = START + 33 * DAY
    later = world.rows.listed_at >= cut
    random = np.random.default_rng(3)
    noise = random.normal(size=world.features.text.shape).astype(np.float32)
    features = replace(
        world.features,
        text=np.where(later[:, None], noise, world.features.text),
        photos=np.where(later[:, None], -world.features.photos, world.features.photos),
    )
    labels = np.where(later, (world.rows.labels + 1) % 4, world.rows.labels)
    other = replace(world, features=features, rows=replace(world.rows, labels=labels))
    one, two = (play(each, run_of(strategy, schedule=schedule)) for each in (base, base_of(other, TAUGHT)))
    weeks = 4  # whole weeks before the cut
    read = [played.reviewed[played.reviewed_week < weeks] for played in (one, two)]
    assert len(read[0])
    np.testing.assert_array_equal(*read)
    early = ~world.before & (world.rows.listed_at < START + 7 * weeks * DAY)
    np.testing.assert_array_equal(one.scores[early], two.scores[early])
    np.testing.assert_array_equal(one.held_back_at_first, two.held_back_at_first)
    assert not np.array_equal(one.scores[later], two.scores[later])


def test_a_label_that_was_not_given_yet_is_not_learned_from_at_the_start(world):
    late = world.before & (world.rows.labelled_at > START)
    assert late.any()
    labels = np.where(late, (world.rows.labels + 1) % 4, world.rows.labels)
    other = replace(world, rows=replace(world.rows, labels=labels))
    one, two = (play(base_of(each, TAUGHT), run_of("none")) for each in (world, other))
    np.testing.assert_array_equal(one.scores, two.scores)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_only_what_was_published_and_not_labelled_is_read_and_within_the_budget(world, base, strategy):
    played = play(base, run_of(strategy))
    listed = world.rows.listed_at[played.reviewed]
    assert (listed < np.minimum(START + (played.reviewed_week + 1) * 7 * DAY, UNTIL)).all()
    assert not world.known[played.reviewed].any()
    assert len(set(played.reviewed.tolist())) == len(played.reviewed)
    if strategy != "all":
        assert (np.cumsum(np.bincount(played.reviewed_week)) <= 12 * np.arange(1, 10)).all()
        assert len(played.reviewed) == Budget.parse("12/week").due((UNTIL - START) / DAY)


def test_the_market_refuses_to_go_back_and_to_show_what_is_not_there_yet(world):
    market = Market(world)
    later = int(np.flatnonzero(world.rows.listed_at >= START + 20 * DAY)[0])
    with pytest.raises(ValueError, match="before it is published"):
        market.ask(np.array([later]), START + 10 * DAY)
    market.listed(START + 30 * DAY)
    for asked in (lambda: market.listed(START), lambda: market.ask(np.array([0]), START)):
        with pytest.raises(ValueError, match="lies before"):
            asked()


def test_what_is_held_back_is_never_learned_from_and_does_not_depend_on_later_listings(world, base):
    assert 0 < world.held_back.sum() < world.known.sum() / 4
    assert not np.isin(np.flatnonzero(world.held_back), base.learner.places).any()
    some = np.flatnonzero(world.rows.listed_at < START + 10 * DAY)
    shorter = replace(world, rows=world.rows[some], features=world.features[some])
    np.testing.assert_array_equal(shorter.held_back, world.held_back[some])


def test_schedules_say_how_many_models_there_are(base):
    models = {kind: play(base, run_of("random", schedule=kind)).models for kind in Schedule}
    assert models == {Schedule.WEEKLY: 9, Schedule.FORTNIGHTLY: 5, Schedule.MONTHLY: 3, Schedule.NEVER: 0}


def test_without_training_scores_stay_those_of_the_first_model(base):
    frozen, unread = play(base, run_of("random", schedule=Schedule.NEVER)), play(base, run_of("none"))
    np.testing.assert_array_equal(frozen.scores, unread.scores)


def test_the_seed_decides_what_is_read(base):
    one, same, other = (play(base, run_of("random", seed=seed)).reviewed for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


def test_learning_the_new_look_finds_it():
    from stallwart.loop.months import average_precisions, log_odds

    world = make_world(seed=2)
    base = base_of(world, TAUGHT)
    last = np.flatnonzero(world.rows.listed_at >= UNTIL)
    ones = np.ones((len(last), 1))
    found = [
        average_precisions(
            log_odds(play(base, run_of(name)).scores[last]), world.rows.labels[last], (1,), ones
        )
        for name in ("none", "all")
    ]
    assert found[1][0, 0] > found[0][0, 0] + 0.1
