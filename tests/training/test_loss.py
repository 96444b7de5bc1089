import hypothesis.strategies as st
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis.extra.numpy import arrays

from stallwart.training.loss import focal_loss, focal_loss_per_policy

LOSSES = [(focal_loss, 3), (focal_loss_per_policy, 2)]  # with the width of logits for two policies

sizes = st.integers(1, 6)
gammas = st.floats(0, 5)
alphas = arrays(np.float32, 3, elements=st.floats(0.125, 8, width=32))


@st.composite
def batches(draw, width):
    n = draw(sizes)
    logits = draw(arrays(np.float32, (n, width), elements=st.floats(-12, 12, width=32)))
    targets = draw(arrays(np.int64, n, elements=st.integers(0, 2)))
    return logits, targets, draw(alphas), draw(gammas)


def naive(p, alpha, gamma):
    return -alpha * (1 - p) ** gamma * np.log(p)


@given(batches(3))
def test_focal_loss_is_the_formula_of_the_paper(batch):
    logits, targets, alpha, gamma = batch
    p = np.exp(logits.astype(np.float64))
    p = (p / p.sum(axis=1, keepdims=True))[np.arange(len(targets)), targets]
    found = focal_loss(torch.tensor(logits), torch.tensor(targets), torch.tensor(alpha), gamma)
    assert found.shape == (len(targets),)
    np.testing.assert_allclose(found, naive(p, alpha[targets], gamma), rtol=2e-4, atol=1e-5)


@given(batches(2))
def test_focal_loss_per_policy_is_the_sum_of_binary_formulas(batch):
    logits, targets, alpha, gamma = batch
    yes = targets[:, None] == np.array([1, 2])
    p = 1 / (1 + np.exp(-logits.astype(np.float64)))
    expected = naive(np.where(yes, p, 1 - p), np.where(yes, alpha[1:], alpha[0]), gamma).sum(axis=1)
    found = focal_loss_per_policy(torch.tensor(logits), torch.tensor(targets), torch.tensor(alpha), gamma)
    assert found.shape == (len(targets),)
    np.testing.assert_allclose(found, expected, rtol=2e-4, atol=1e-5)


@given(batches(3))
def test_gamma_zero_is_weighted_cross_entropy(batch):
    logits, targets, alpha = (torch.tensor(part) for part in batch[:3])
    expected = F.cross_entropy(logits, targets, weight=alpha, reduction="none")
    torch.testing.assert_close(focal_loss(logits, targets, alpha, 0.0), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("gamma", [0.0, 0.1, 0.5, 0.99, 1.0, 2.0, 5.0])
@pytest.mark.parametrize(("loss", "width"), LOSSES)
def test_extreme_logits_keep_value_and_gradient_finite(loss, width, gamma):
    for target in range(3):
        for column in range(width):
            for size in (1e4, -1e4, 0.0):
                logits = torch.zeros(1, width)
                logits[0, column] = size
                logits.requires_grad_()
                value = loss(logits, torch.tensor([target]), torch.ones(3), gamma).sum()
                value.backward()
                assert torch.isfinite(value)
                assert value >= 0
                assert torch.isfinite(logits.grad).all(), (target, column, size)


@pytest.mark.parametrize(("loss", "width"), LOSSES)
def test_a_negative_gamma_is_refused(loss, width):
    with pytest.raises(ValueError, match="gamma must be >= 0"):
        loss(torch.zeros(1, width), torch.zeros(1, dtype=torch.int64), torch.ones(3), -0.1)


@pytest.mark.parametrize(("loss", "width"), LOSSES)
def test_half_precision_logits_are_computed_in_float32(loss, width):
    logits = torch.full((1, width), 3.0, dtype=torch.bfloat16)
    assert loss(logits, torch.tensor([1]), torch.ones(3)).dtype == torch.float32


@pytest.mark.parametrize(("loss", "width"), LOSSES)
def test_an_easy_row_fades_and_a_hard_one_stays(loss, width):
    sign = torch.zeros(1, width)
    sign[0, width - 1] = 4.0  # speaks for the last policy
    right, wrong = torch.tensor([2]), torch.tensor([0])
    fade = [
        loss(sign, row, torch.ones(3), 2.0) / loss(sign, row, torch.ones(3), 0.0) for row in (right, wrong)
    ]
    assert fade[0] < 0.5 * fade[1]
