import numpy as np
import pytest

from stallwart.loop.choose import STRATEGIES, Scene, choose

CHOOSING = [name for name in STRATEGIES if name not in ("none", "all")]


def scene(c=40, seed=0, **facts):
    random = np.random.default_rng(seed)
    points = random.normal(size=(c, 5))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    given = {
        "places": np.arange(100, 100 + c),
        "fresh": np.arange(c) >= c // 2,
        "scores": random.normal(size=(c, 4)),
        "nearest": np.zeros(c),
        "likeness": lambda index: points @ points[index],
        "found": np.zeros(4, dtype=np.int64),
        "generator": np.random.default_rng(seed),
    }
    return Scene(**{**given, **facts})


@pytest.mark.parametrize("strategy", CHOOSING)
@pytest.mark.parametrize("size", [0, 1, 7, 40, 90])
def test_as_many_as_asked_for_or_as_there_are_and_none_twice(strategy, size):
    chosen = choose(strategy, scene(), size)
    assert len(chosen) == min(size, 40)
    assert len(set(chosen.tolist())) == len(chosen)
    assert set(chosen.tolist()) <= set(range(100, 140))


@pytest.mark.parametrize("strategy", CHOOSING)
def test_the_same_seed_chooses_the_same(strategy):
    np.testing.assert_array_equal(choose(strategy, scene(), 9), choose(strategy, scene(), 9))


def test_none_reads_nothing_and_all_reads_everything_whatever_the_budget():
    assert len(choose("none", scene(), 10)) == 0
    assert len(choose("all", scene(), 10)) == 40


def test_chance_takes_fresh_listings_first():
    chosen = choose("random", scene(), 20)
    assert (chosen >= 120).all()


def test_doubt_takes_where_two_labels_tie():
    scores = np.tile([5.0, 0, 0, 0], (40, 1))
    scores[[3, 9]] = [0, 1, 1, 0]
    assert set(choose("uncertain", scene(scores=scores), 2).tolist()) == {103, 109}


def test_of_two_copies_in_doubt_only_one_is_read():
    scores = np.tile([5.0, 0, 0, 0], (40, 1))
    scores[[3, 4]] = [0, 1, 1, 0]
    scores[20] = [0, 1, 0.5, 0]
    copies = np.eye(40)
    copies[3, 4] = copies[4, 3] = 1.0
    chosen = choose("uncertain", scene(scores=scores, likeness=lambda index: copies[index]), 2)
    assert len({103, 104} & set(chosen.tolist())) == 1
    assert 120 in chosen


def test_novelty_takes_what_is_least_like_anything_known():
    nearest = np.full(40, 0.9)
    nearest[[5, 17]] = 0.1
    apart = np.zeros((40, 40))
    chosen = choose("novel", scene(nearest=nearest, likeness=lambda index: apart[index]), 2)
    assert set(chosen.tolist()) == {105, 117}


def test_a_mixed_batch_asks_about_policies_that_were_seldom_found():
    scores = np.zeros((40, 4))
    scores[:, 0] = 3
    scores[[1, 2, 3, 4], 1] = 5  # all likely of the first policy
    scores[[11, 12, 13, 14], 3] = 4
    nothing = np.zeros(40)
    found = np.array([0, 50, 50, 0])
    chosen = choose("mixed", scene(scores=scores, found=found, likeness=lambda _: nothing), 10)
    assert {111, 112, 113, 114} <= set(chosen[:4].tolist())


def test_an_unknown_strategy_is_our_own_mistake():
    with pytest.raises(KeyError):
        choose("best", scene(), 3)
