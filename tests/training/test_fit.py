import numpy as np
import pytest
import torch

from stallwart.core.errors import DataError
from stallwart.training.fit import fit_member, macro_average_precision, member_log_odds
from stallwart.training.members import HEADS, member_arrays
from stallwart.training.recipe import MemberRecipe

K = 2
KINDS = {
    **{kind: {"kind": kind, "width": 16, "epochs": 12, "learning_rate": 0.01} for kind in HEADS},
    "linear": {"kind": "linear", "epochs": 30},
    "lexical": {"kind": "lexical", "reads": ("text",), "learning_rate": 0.3, "epochs": 5},
}
BASES = [
    MemberRecipe(**{**said, "output": output})
    for said in KINDS.values()
    for output in ("softmax", "per_policy")
]


def name_of(recipe):
    return f"{recipe.kind}-{recipe.output}"


@pytest.fixture(scope="module")
def examples(make_examples):
    return make_examples(300, seed=1)


@pytest.fixture(scope="module")
def later(make_examples):
    return make_examples(200, seed=2)


@pytest.mark.parametrize("recipe", BASES, ids=name_of)
def test_every_member_learns_what_can_be_told_apart(recipe, examples, later):
    member = fit_member(recipe, examples, K, seed=0)
    odds = member_log_odds(member, later.features)
    speaks = ~np.isnan(odds[:, 0])
    assert macro_average_precision(odds[speaks], later.targets[speaks], least=1) > 0.9
    assert not member.training


@pytest.mark.parametrize("recipe", BASES, ids=name_of)
def test_a_seed_gives_the_same_member_bit_for_bit(recipe, examples):
    busy = recipe.model_copy(update={"noise": 0.1, "mix": 0.3, "epochs": 2, "modality_dropout": 0.5})
    torch.manual_seed(1)
    one = member_arrays(fit_member(busy, examples, K, seed=5))
    torch.manual_seed(2)  # what others drew before must not matter
    np.random.seed(3)  # noqa: NPY002
    other = member_arrays(fit_member(busy, examples, K, seed=5))
    assert one.keys() == other.keys()
    assert all(np.array_equal(one[name], other[name]) for name in one)


def test_another_seed_gives_another_network_and_leaves_the_callers_luck_alone(examples):
    recipe = MemberRecipe(kind="concat", width=8, epochs=1)
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    one, other = (member_arrays(fit_member(recipe, examples, K, seed)) for seed in (0, 1))
    assert torch.equal(torch.rand(3), expected)
    assert not np.array_equal(one["head.out.2.weight"], other["head.out.2.weight"])


@pytest.mark.parametrize("kind", sorted(HEADS))
@pytest.mark.parametrize("dropped", [0.0, 0.5])
def test_a_member_scores_with_one_part_taken_away(kind, dropped, make_examples):
    recipe = MemberRecipe(**{**KINDS[kind], "modality_dropout": dropped})
    member = fit_member(recipe, make_examples(300, seed=1, parts=3), K, seed=0)
    whole = make_examples(150, seed=2, parts=3)
    for features in (whole.features.without_text(), whole.features.without_photos()):
        odds = member_log_odds(member, features)
        assert np.isfinite(odds).all()
        if dropped:
            assert macro_average_precision(odds, whole.targets, least=1) > 0.85


def test_patience_keeps_the_best_epoch_and_not_the_last(make_examples, monkeypatch):
    examples, looks = make_examples(200, seed=3), []
    figures = iter([0.2, 0.6, 0.9, 0.5, 0.4, 0.3, 0.2, 0.1])

    def figure(odds, _targets, **_):
        looks.append(odds.copy())
        return next(figures)

    monkeypatch.setattr("stallwart.training.fit.macro_average_precision", figure)
    recipe = MemberRecipe(kind="concat", width=8, epochs=50, patience=3, learning_rate=0.01)
    member = fit_member(recipe, examples, K, seed=0)
    assert len(looks) == 6  # three without a better one after the third
    kept = np.nan_to_num(member_log_odds(member, examples[examples.latest].features), nan=-30.0)
    np.testing.assert_array_equal(kept, looks[2])
    assert not np.array_equal(kept, looks[-1])


def test_what_early_stopping_looks_at_is_not_fitted_on(make_examples):
    examples = make_examples(200, seed=3)
    swapped = examples.targets.copy()
    swapped[examples.latest] = 0  # with other labels there, the fitted rows are the same
    other = type(examples)(
        **{**{f: getattr(examples, f) for f in examples.__dataclass_fields__}, "targets": swapped}
    )
    recipe = MemberRecipe(kind="concat", width=8, epochs=1, patience=1, gamma=0)
    one, two = (member_arrays(fit_member(recipe, some, K, seed=0)) for some in (examples, other))
    assert all(np.array_equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("recipe", BASES, ids=name_of)
def test_a_policy_without_examples_is_no_error_and_never_likely(recipe, make_examples):
    examples = make_examples(200, seed=1)
    chosen = examples[examples.targets < 2]
    odds = member_log_odds(fit_member(recipe, chosen, K, seed=0), chosen.features)
    speaks = ~np.isnan(odds[:, 0])
    assert np.isfinite(odds[speaks]).all()
    assert np.median(odds[speaks, 1]) < np.median(odds[speaks & (chosen.targets == 1), 0])


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("kind", ["concat", "linear"])
def test_a_market_of_one_part_trains_and_scores(kind, parts, make_examples):
    examples = make_examples(120, seed=1, parts=parts)
    odds = member_log_odds(fit_member(MemberRecipe(**KINDS[kind]), examples, K, seed=0), examples.features)
    assert np.isfinite(odds).all()


@pytest.mark.parametrize("reads", [("text",), ("photo",)])
@pytest.mark.parametrize("kind", ["concat", "linear"])
def test_a_member_with_nothing_to_read_in_training_is_an_error_that_says_so(kind, reads, make_examples):
    only = {("text",): 2, ("photo",): 1}[reads]  # the market lacks the very part that the member reads
    examples = make_examples(60, seed=1, parts=only)
    recipe = MemberRecipe(**{**KINDS[kind], "reads": reads})
    with pytest.raises(DataError, match=f"no training listing has a {reads[0]}"):
        fit_member(recipe, examples, K, seed=0)


def test_rare_classes_count_more_with_alpha(make_examples):
    examples = make_examples(300, seed=1, noise=1.5)
    rare = examples[(examples.targets != 2) | (np.arange(300) % 10 == 0)]
    means = [
        np.nanmean(
            member_log_odds(
                fit_member(MemberRecipe(kind="linear", alpha=alpha, gamma=0, epochs=30), rare, K, 0),
                rare.features,
            )[:, 1]
        )
        for alpha in (0.0, 1.0)
    ]
    assert means[1] > means[0] + 0.5


def test_macro_average_precision_counts_only_policies_with_enough_positives():
    scores = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.3], [0.2, 0.9]])
    targets = np.array([1, 1, 0, 2])
    assert macro_average_precision(scores, targets, least=2) == 1.0
    assert macro_average_precision(scores, targets, least=3) == 0.0
    assert macro_average_precision(-scores, targets, least=1) < 0.6
