"""Losses for rare violations, in the two output forms."""

import torch
import torch.nn.functional as F
from torch import Tensor


def focal_loss(logits: Tensor, targets: Tensor, alpha: Tensor, gamma: float = 2.0) -> Tensor:
    """Cross-entropy that fades as a row becomes easy: -alpha_t * (1 - p_t)**gamma * log(p_t).

    Lin et al. 2017, "Focal Loss for Dense Object Detection" (arXiv:1708.02002), over a softmax.

    Args:
        logits: (n, k+1) raw scores, any float dtype; computed in float32.
        targets: (n,) int64 class columns; column 0 is neutral.
        alpha: (k+1,) float32 weight per class, unitless.
        gamma: focusing exponent >= 0; 0 is weighted cross-entropy.

    Returns:
        (n,) loss of each row, in nats.

    Raises:
        ValueError: gamma is negative.
    """
    if gamma < 0:
        raise ValueError(f"gamma must be >= 0, got {gamma}")
    log_pt = F.log_softmax(logits.float(), dim=1).gather(1, targets[:, None]).squeeze(1)  # (n,)
    return _fade(log_pt, alpha[targets], gamma)


def focal_loss_per_policy(logits: Tensor, targets: Tensor, alpha: Tensor, gamma: float = 2.0) -> Tensor:
    """The same loss for one yes-or-no head per policy, summed over the policies.

    Args:
        logits: (n, k) raw log-odds, one column per policy.
        targets: (n,) int64 class columns; 0 says no to every policy, c says yes to policy c - 1.
        alpha: (k+1,) float32; column c weighs the yes of policy c - 1, column 0 every no.
        gamma: focusing exponent >= 0.

    Returns:
        (n,) loss of each row, in nats.

    Raises:
        ValueError: gamma is negative.
    """
    if gamma < 0:
        raise ValueError(f"gamma must be >= 0, got {gamma}")
    yes = F.one_hot(targets, logits.shape[1] + 1)[:, 1:].bool()  # (n, k)
    log_pt = F.logsigmoid(torch.where(yes, logits.float(), -logits.float()))
    return _fade(log_pt, torch.where(yes, alpha[1:], alpha[0]), gamma).sum(dim=1)


def _fade(log_pt: Tensor, alpha: Tensor, gamma: float) -> Tensor:
    # expm1 keeps 1 - p_t exact as p_t nears 1; the floor keeps the gradient finite when gamma < 1
    miss = (-torch.expm1(log_pt)).clamp_min(1e-7)
    return -alpha * miss**gamma * log_pt
