"""A policy's text and a handful of examples -> an add-on that scores it beside a bundle.

Three things are added up, each linear in the embeddings but the second:

- a logistic regression, pulled back hard, so that a handful of rows can carry it;
- how little is claimed by what is known already, harmless listings and the other policies' violations: a
  regression of their own says so, and the first one is fitted on top of it;
- how near the listing's words are to the phrases of the policy's text, which no example needs to have shown.

It needs no torch, and changes nothing of any other policy.
"""

import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, log_softmax, logsumexp

from stallwart.core.errors import DataError
from stallwart.core.taxonomy import Policy
from stallwart.index.nearest import unit_rows
from stallwart.model.addon import AddOn, Head, Linear, centred
from stallwart.model.features import Features
from stallwart.training.calibrate import fit_calibration
from stallwart.training.fewrows import HARMLESS, Against, Floats, Means, Rows, gathered

_FOLDS = 5
_BLANK = 1e-6
_STEPS = 60  # of L-BFGS; later ones move what is pulled back anyway
_DIGITS = 7  # of a weight; more would be bytes without a meaning
_ALLOWS = re.compile(r"\ballow", re.IGNORECASE)


@dataclass(frozen=True)
class FewShot:
    """How a head is fitted; the defaults are what was best on months to September (docs/experiments.md).

    Attributes:
        pull: strength of the pull to zero of the policy's weights, against the sum of losses over rows.
        claims_pull: the same for what is known already.
        share: of what is known already that is taken off; 0 leaves it out.
        phrases: weight of the phrases, in spreads of the rest over harmless listings; 0 leaves them out.
        photo: by how much a photo's embedding is scaled against that of words.
    """

    pull: float = 50.0
    claims_pull: float = 100.0
    share: float = 0.5
    phrases: float = 0.35
    photo: float = 0.7


def phrases(policy: Policy) -> list[str]:
    """What a policy's text names: its title, sentences but those on what is allowed, and parts of these."""
    sentences = re.split(r"(?<=[.!?])\s+", policy.covers)
    covered = [policy.title, *(one.strip(" .") for one in sentences if not _ALLOWS.search(one))]
    parts = [part.strip() for one in covered for part in (one, *re.split(r"[,;]|\band\b|\bor\b", one))]
    return list(dict.fromkeys(part for part in parts if len(part) > 2)) or [policy.title]


def fit_addon(
    policy: Policy,
    told: NDArray[np.float32],
    examples: Features,
    against: Against,
    encoders: tuple[str, str],
    review: float,
    how: FewShot | None = None,
) -> AddOn:
    """An add-on for a policy, calibrated at its share by rows that each head did not see.

    Args:
        policy: what it is for.
        told: (m, d_text) embeddings of its `phrases`.
        examples: listings that break it; none is allowed.
        against: listings that do not.
        encoders: digests of the encoders that all of these were embedded with.
        review: probability from which a listing is a candidate.
        how: strengths; the defaults if None.

    Raises:
        DataError: there are no rows against it.
    """
    how = how or FewShot()
    if not len(against.features):
        raise DataError(
            f"policy {policy.id!r} has no listings to be told apart from: give files with --against, or run"
            " it where the service has stored traffic"
        )
    means, rows = gathered(examples, against)
    n = int(rows.yes.sum())
    head = fit_head(rows, means, told, how)
    odds = _unseen(rows, means, told, how) if n > 1 else head.of_rows(rows.text, rows.photo)
    calibration = (
        fit_calibration(odds[:, None], rows.yes.astype(np.int64), _shares(policy)) if n > 1 else None
    )
    slope, intercept = (
        (calibration.slopes[0], calibration.intercepts[0])
        if calibration
        else (1.0, _intercept(odds[~rows.yes], policy.prevalence))
    )
    return AddOn(
        policy=policy,
        text=encoders[0],
        photo=encoders[1],
        head=head,
        slope=slope,
        intercept=intercept,
        review=review,
        card={"examples": n, "against": int((~rows.yes).sum()), "how": asdict(how)},
    )


def fit_head(rows: Rows, means: Means, told: NDArray[np.float32], how: FewShot) -> Head:
    """The head fitted on all of the rows; `told` as in `fit_addon`."""
    d_text = rows.text.shape[1]
    x = np.concatenate([rows.text, rows.photo * how.photo], axis=1).astype(np.float32)
    claims = _claims(x[~rows.yes], rows.kind[~rows.yes], how.claims_pull)
    claimed = how.share * logsumexp(x @ claims[:, :-1].T + claims[:, -1], axis=1)
    spoken, spread = _spoken(rows, means, told), 1.0
    policy = np.zeros(x.shape[1] + 1)
    if rows.yes.any():
        policy = _logistic(x, rows.yes, claimed, how.pull)
        odds = x @ policy[:-1] + policy[-1] - claimed
        spread = how.phrases * float(odds[rows.kind == HARMLESS].std())
    policy[:d_text] += spread * spoken
    return Head(
        text_mean=_short(means.text),
        photo_mean=_short(means.photo),
        policy=_linear(policy, d_text, how),
        claims=tuple(_linear(one, d_text, how) for one in claims) if how.share else (),
        share=how.share,
    )


def _spoken(rows: Rows, means: Means, told: NDArray[np.float32]) -> Floats:
    """(d_text,) weights: the mean nearness to the phrases, each by its own spread over harmless words.

    The spread of their mean is 1 there. One phrase alone lies far from most of what it covers, and which is
    the nearest one matters less than expected: the largest nearness was no better than the mean.
    """
    harmless = rows.text[(rows.kind == HARMLESS) & rows.has_text]
    directions = centred(unit_rows(told), means.text)
    if len(harmless) < 2:
        return np.asarray(directions.mean(axis=0) / rows.text.shape[1])
    near = harmless @ directions.T
    weights = (directions / np.maximum(near.std(axis=0), _BLANK)[:, None]).mean(axis=0)
    return np.asarray(weights / max(float((harmless @ weights).std()), _BLANK))


def _claims(x: NDArray[np.float32], kind: NDArray[np.int64], pull: float) -> Floats:
    """(k, d + 1) weights and biases of a softmax regression over the kinds of rows."""
    kinds, place = np.unique(kind, return_inverse=True)
    k, (n, d) = len(kinds), x.shape
    if k == 1:
        return np.zeros((1, d + 1))
    target = np.zeros((n, k))
    target[np.arange(n), place] = 1

    def loss(given: Floats) -> tuple[float, Floats]:
        weights = given.reshape(k, d + 1)
        said = log_softmax(_times(x, weights[:, :-1].T) + weights[:, -1], axis=1)
        residual = np.exp(said) - target
        slopes = np.concatenate(
            [_times(x.T, residual).T + 2 * pull * weights[:, :-1], residual.sum(axis=0)[:, None]], axis=1
        )
        return float(pull * (weights[:, :-1] ** 2).sum() - (said * target).sum()) / n, slopes.ravel() / n

    return _least(loss, np.zeros(k * (d + 1))).reshape(k, d + 1)


def _logistic(x: NDArray[np.float32], yes: NDArray[np.bool_], claimed: Floats, pull: float) -> Floats:
    """(d + 1,) weights and bias with the least loss; `claimed` is taken off the log-odds of each row."""
    n = len(yes)

    def loss(given: Floats) -> tuple[float, Floats]:
        weights = given[:-1]
        z = _times(x, weights) + given[-1] - claimed
        residual = expit(z) - yes
        value = float((np.logaddexp(0, z) - yes * z).sum() + pull * (weights @ weights))
        slopes = np.append(_times(x.T, residual) + 2 * pull * weights, residual.sum())
        return value / n, slopes / n

    start = np.zeros(x.shape[1] + 1)
    start[-1] = np.log(yes.mean() / (1 - yes.mean())) + claimed.mean()
    return _least(loss, start)


def _times(x: NDArray[np.float32], by: Floats) -> Floats:
    """In single precision, which takes half the time, and is enough for a slope."""
    return np.asarray(x @ by.astype(np.float32), dtype=np.float64)


def _least(loss: Callable[[Floats], Any], start: Floats) -> Floats:
    best = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": _STEPS})
    return np.asarray(best.x, dtype=np.float64)


def _linear(weights: Floats, d_text: int, how: FewShot) -> Linear:
    return Linear(
        bias=float(weights[-1]), text=_short(weights[:d_text]), photo=_short(weights[d_text:-1] * how.photo)
    )


def _short(values: Floats) -> tuple[float, ...]:
    return tuple(float(f"{value:.{_DIGITS}g}") for value in values)


def _unseen(rows: Rows, means: Means, told: NDArray[np.float32], how: FewShot) -> Floats:
    """(n,) log-odds of each row by a head that was fitted without it."""
    fold = np.empty(len(rows.yes), dtype=np.int64)
    for part in (rows.yes, ~rows.yes):
        fold[part] = np.arange(int(part.sum())) % min(_FOLDS, int(rows.yes.sum()))
    odds = np.empty(len(fold))
    for number in np.unique(fold):
        left = fold == number
        head = fit_head(rows[~left], means, told, how)
        odds[left] = head.of_rows(rows.text[left], rows.photo[left])
    return odds


def _shares(policy: Policy) -> Floats:
    return np.array([1 - policy.prevalence, policy.prevalence])


def _intercept(odds: Floats, share: float) -> float:
    """What makes the mean probability of listings that nobody called the policy's share."""
    low, high = -60.0, 60.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if float(expit(odds + middle).mean()) < share else (low, middle)
    return (low + high) / 2
