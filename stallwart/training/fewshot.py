"""A policy's text and a handful of examples -> an add-on that scores it beside a bundle.

The head is linear and pulled back hard, so that a handful of rows can carry it. Without any example the
policy's own text is its direction. The rows against it come from other policies' violations and from listings
that nobody called. Needs no torch, and changes nothing of any other policy.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.sparse import csr_matrix

from stallwart.core.errors import DataError
from stallwart.core.taxonomy import Policy
from stallwart.encoders.lexical import Lexicon
from stallwart.index.nearest import KnownViolations, unit_rows
from stallwart.model.addon import AddOn, Head, Voter, centred
from stallwart.model.features import Features
from stallwart.training.calibrate import fit_calibration

_FOLDS = 5
_BLANK = 1e-6
_TEXT_ALONE = 0.05  # as `prior`, of a head without examples; it sets the spread of scores, not their order
_STEPS = 60  # of L-BFGS; later ones move what is pulled back anyway


@dataclass(frozen=True)
class FewShot:
    """How a head is fitted; the defaults are what was best on months to September (docs/experiments.md).

    Attributes:
        pull: strength of the pull to where the weights begin, per unit of squared weight.
        prior: length of the weights in the direction of the policy's text where they begin, per dimension.
        alone: share of an example's weight that goes to copies of it with its text or its photo alone.
        gram_pull: strength of the pull to zero of n-grams' weights.
        gram_weight: of the n-grams' log-odds in the mean; 0 leaves them out.
        balance: weight of all examples together, as a share of that of all rows against them.
    """

    pull: float = 0.03
    prior: float = 0.0
    alone: float = 0.67
    gram_pull: float = 0.01
    gram_weight: float = 0.0
    balance: float = 0.01


@dataclass(frozen=True)
class Against:
    """Rows that do not break the policy.

    Attributes:
        features: listings that nobody called.
        known: violations of other policies, without their words; None where there are none.
    """

    features: Features
    known: KnownViolations | None = None


@dataclass(frozen=True)
class _Rows:
    """Examples and rows against them as the head reads them: centred, zero where a part is missing."""

    text: NDArray[np.float64]  # (n, d_text)
    photo: NDArray[np.float64]  # (n, d_photo)
    has_text: NDArray[np.bool_]
    has_photo: NDArray[np.bool_]
    words: csr_matrix  # (n, width), rows of length 1; empty where no words are known
    yes: NDArray[np.bool_]

    def __getitem__(self, which: NDArray[np.bool_]) -> "_Rows":
        return _Rows(
            self.text[which],
            self.photo[which],
            self.has_text[which],
            self.has_photo[which],
            self.words[which],
            self.yes[which],
        )


@dataclass(frozen=True)
class _Means:
    text: NDArray[np.float64]
    photo: NDArray[np.float64]


def fit_addon(
    policy: Policy,
    policy_text: NDArray[np.float32],
    examples: Features,
    against: Against,
    encoders: tuple[str, str],
    review: float,
    how: FewShot | None = None,
) -> AddOn:
    """An add-on for a policy, calibrated at its share by rows that each head did not see.

    Args:
        policy: what it is for.
        policy_text: (d_text,) embedding of its title and what it covers.
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
    means, rows = _gathered(examples, against)
    direction = _direction(policy_text, means)
    n = int(rows.yes.sum())
    head = fit_head(rows, means, direction, how)
    odds = _unseen(rows, means, direction, how) if n > 1 else _of_rows(head, rows)
    heard = ~np.isnan(odds)
    calibration = (
        fit_calibration(odds[heard, None], rows.yes[heard].astype(np.int64), _shares(policy))
        if n > 1
        else None
    )
    slope, intercept = (
        (calibration.slopes[0], calibration.intercepts[0])
        if calibration
        else (1.0, _intercept(odds[heard & ~rows.yes], policy.prevalence))
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


def fit_head(rows: _Rows, means: _Means, direction: NDArray[np.float64], how: FewShot) -> Head:
    """The voters fitted on all of the rows."""
    voters = [_joint(rows, direction, how)]
    if how.gram_weight and (grams := _grams(rows, how)) is not None:
        voters.append(grams)
    return Head(
        text_mean=tuple(means.text.tolist()), photo_mean=tuple(means.photo.tolist()), voters=tuple(voters)
    )


def _gathered(examples: Features, against: Against) -> tuple[_Means, _Rows]:
    parts = [examples, against.features]
    text = [unit_rows(one.text) for one in parts]
    photo = [unit_rows(one.mean_photo()) for one in parts]
    has_text, has_photo = [one.has_text for one in parts], [one.has_photo for one in parts]
    words = [_unit_words(one.words) for one in parts]
    if against.known is not None and len(against.known.policies):
        known = against.known
        text.append(known.text.astype(np.float32))
        photo.append(known.photo.astype(np.float32))
        has_text.append(np.abs(text[-1]).sum(axis=1) > _BLANK)
        has_photo.append(np.abs(photo[-1]).sum(axis=1) > _BLANK)
        words.append(csr_matrix((len(text[-1]), Lexicon.width), dtype=np.float32))
    there = np.concatenate(has_text), np.concatenate(has_photo)
    joined = np.concatenate(text), np.concatenate(photo)
    means = _Means(*(_mean(rows, has) for rows, has in zip(joined, there, strict=True)))
    yes = np.zeros(len(there[0]), dtype=np.bool_)
    yes[: len(examples)] = True
    from scipy.sparse import vstack

    return means, _Rows(
        centred(joined[0], means.text) * there[0][:, None],
        centred(joined[1], means.photo) * there[1][:, None],
        there[0],
        there[1],
        vstack(words, format="csr"),
        yes,
    )


def _mean(rows: NDArray[np.float32], has: NDArray[np.bool_]) -> NDArray[np.float64]:
    if not has.any():
        return np.zeros(rows.shape[1])
    return np.asarray(rows[has].astype(np.float64).mean(axis=0))


def _unit_words(words: csr_matrix) -> csr_matrix:
    counts = np.diff(words.indptr)
    made = words.astype(np.float64)
    made.data = made.data / np.repeat(np.sqrt(np.maximum(counts, 1)), counts)
    return made


def _direction(policy_text: NDArray[np.float32], means: _Means) -> NDArray[np.float64]:
    """(d_text,) of length 1: where the policy's text lies from the middle of all listings."""
    moved = centred(unit_rows(policy_text[None]), means.text)[0]
    return np.asarray(moved / np.linalg.norm(moved))


def _joint(rows: _Rows, direction: NDArray[np.float64], how: FewShot) -> Voter:
    """Logistic regression on both embeddings, pulled to the policy's text."""
    d_text = rows.text.shape[1]
    if not rows.yes.any():
        return Voter(bias=0.0, text=tuple((_TEXT_ALONE * direction * np.sqrt(d_text)).tolist()))
    start = np.concatenate([how.prior * direction * np.sqrt(d_text), np.zeros(rows.photo.shape[1])])
    both = rows.has_text & rows.has_photo
    x = np.concatenate([rows.text, rows.photo], axis=1).astype(np.float32)  # half the time of float64
    words_only, photo_only = x[both].copy(), x[both].copy()
    words_only[:, d_text:], photo_only[:, :d_text] = 0, 0
    x = np.concatenate([x, words_only, photo_only])
    yes = np.concatenate([rows.yes, rows.yes[both], rows.yes[both]])
    weights = np.concatenate([np.where(both, 1 - how.alone, 1), np.full(2 * int(both.sum()), how.alone / 2)])
    weights = _balanced(weights, yes, how.balance)
    beta, bias = _logistic(x, yes, weights, start, how.pull)
    return Voter(bias=bias, text=tuple(beta[:d_text].tolist()), photo=tuple(beta[d_text:].tolist()))


def _grams(rows: _Rows, how: FewShot) -> Voter | None:
    """Logistic regression on the n-grams of the examples; None where they have no words."""
    told = rows.has_text & (np.diff(rows.words.indptr) > 0)
    if not (told & rows.yes).any() or not (told & ~rows.yes).any():
        return None
    buckets = np.unique(rows.words[told & rows.yes].indices)
    x, yes = rows.words[told][:, buckets].tocsr(), rows.yes[told]
    weights = _balanced(np.ones(len(yes)), yes, how.balance)
    beta, bias = _logistic(x, yes, weights, np.zeros(len(buckets)), how.gram_pull / len(buckets))
    return Voter(
        weight=how.gram_weight,
        bias=bias,
        buckets=tuple(buckets.tolist()),
        grams=tuple(beta.tolist()),
    )


def _balanced(weights: NDArray[np.float64], yes: NDArray[np.bool_], balance: float) -> NDArray[np.float64]:
    """Weights that sum to 1, those of the examples to balance / (1 + balance)."""
    mine = weights[yes].sum()
    made = np.where(yes, weights / mine * balance, weights / weights[~yes].sum())
    return np.asarray(made / (1 + balance))


def _logistic(
    x: NDArray[np.float32] | csr_matrix,
    yes: NDArray[np.bool_],
    weights: NDArray[np.float64],
    start: NDArray[np.float64],
    pull: float,
) -> tuple[NDArray[np.float64], float]:
    """Weights and bias with the least weighted loss plus pull * |weights - start|^2."""

    def loss(given: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        beta, bias = given[:-1], given[-1]
        z = np.asarray(x @ beta.astype(x.dtype), dtype=np.float64) + bias
        residual = weights * (1 / (1 + np.exp(-np.clip(z, -500, 500))) - yes)
        moved = beta - start
        value = float((weights * (np.logaddexp(0, z) - yes * z)).sum() + pull * (moved @ moved))
        slopes = np.asarray(x.T @ residual.astype(x.dtype), dtype=np.float64)
        return value, np.concatenate([slopes + 2 * pull * moved, [residual.sum()]])

    share = float(weights[yes].sum())
    begin = np.concatenate([start, [np.log(share / (1 - share))]])
    best = minimize(loss, begin, jac=True, method="L-BFGS-B", options={"maxiter": _STEPS})
    return np.asarray(best.x[:-1]), float(best.x[-1])


def _unseen(rows: _Rows, means: _Means, direction: NDArray[np.float64], how: FewShot) -> NDArray[np.float64]:
    """(n,) log-odds of each row by a head that was fitted without it; NaN where nothing can be read."""
    fold = np.empty(len(rows.yes), dtype=np.int64)
    for part in (rows.yes, ~rows.yes):
        fold[part] = np.arange(int(part.sum())) % min(_FOLDS, int(rows.yes.sum()))
    odds = np.full(len(fold), np.nan)
    for number in np.unique(fold):
        left = fold == number
        odds[left] = _of_rows(fit_head(rows[~left], means, direction, how), rows[left])
    return odds


def _of_rows(head: Head, rows: _Rows) -> NDArray[np.float64]:
    """(n,) log-odds as `Head.log_odds` gives them one by one."""
    total, weight = np.zeros(len(rows.yes)), np.zeros(len(rows.yes))
    for voter in head.voters:
        said, speaks = np.full(len(rows.yes), voter.bias), np.zeros(len(rows.yes), dtype=np.bool_)
        for given, part, has in (
            (voter.text, rows.text, rows.has_text),
            (voter.photo, rows.photo, rows.has_photo),
        ):
            if given:
                said, speaks = said + part @ np.array(given), speaks | has
        if voter.buckets:
            found = rows.words[:, np.array(voter.buckets)]
            said, speaks = said + found @ np.array(voter.grams), np.diff(rows.words.indptr) > 0
        total, weight = total + voter.weight * said * speaks, weight + voter.weight * speaks
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(total / weight)


def _shares(policy: Policy) -> NDArray[np.float64]:
    return np.array([1 - policy.prevalence, policy.prevalence])


def _intercept(odds: NDArray[np.float64], share: float) -> float:
    """What makes the mean probability of listings that nobody called the policy's share."""
    low, high = -60.0, 60.0
    for _ in range(60):
        middle = (low + high) / 2
        mean = float((1 / (1 + np.exp(-np.clip(odds + middle, -500, 500)))).mean())
        low, high = (middle, high) if mean < share else (low, middle)
    return (low + high) / 2


def only(features: Features, policies: Sequence[str], known: KnownViolations, but: str) -> Against:
    """Listings that nobody called, and the known violations of some policies but one."""
    kept = np.isin(known.policies, [name for name in policies if name != but])
    chosen = replace(
        known,
        listing_ids=known.listing_ids[kept],
        policies=known.policies[kept],
        text=known.text[kept],
        photo=known.photo[kept],
    )
    return Against(features, chosen)
