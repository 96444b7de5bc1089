import numpy as np
import pytest

from stallwart.core.errors import DataError
from stallwart.evaluation.baseline import score_baseline

TEXTS = ["glock 19 pistol", "oak table", "brass lamp", "glock magazine", "whisky 12 years", "table lamp", ""]
LABELS = np.array([2, 0, 0, 2, 1, 0, 0])


def test_words_seen_in_violations_raise_their_policy():
    scores = score_baseline(TEXTS, LABELS, ["a glock for sale", "whisky", "lamp", ""], 3)
    assert scores.shape == (4, 3)
    assert ((scores >= 0) & (scores <= 1)).all()
    assert scores[:, 1].argmax() == 0
    assert scores[:, 0].argmax() == 1


def test_a_policy_without_training_listings_scores_nothing():
    assert (score_baseline(TEXTS, LABELS, ["glock"], 3)[:, 2] == 0).all()


def test_the_same_input_gives_the_same_scores():
    first, second = (score_baseline(TEXTS, LABELS, ["glock", "lamp"], 2) for _ in range(2))
    assert (first == second).all()


def test_a_text_that_is_not_there_when_training_changes_no_other_score():
    alone = score_baseline(TEXTS, LABELS, ["glock"], 2)
    assert score_baseline(TEXTS, LABELS, ["glock", "never seen words"], 2)[0] == pytest.approx(alone[0])


def test_nothing_to_learn_from_is_a_clear_error():
    with pytest.raises(DataError, match="no training listing"):
        score_baseline([], np.array([], dtype=np.int64), ["lamp"], 2)
