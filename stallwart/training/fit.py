"""Examples -> fitted members, and members -> log-odds of many listings at once."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.metrics import average_precision_score
from torch import Tensor

from stallwart.core.errors import DataError
from stallwart.model.features import Features
from stallwart.training.augment import Copy
from stallwart.training.loss import focal_loss, focal_loss_per_policy
from stallwart.training.members import EmbeddingMember, Ensemble, LexicalMember, Linear, Member
from stallwart.training.recipe import MemberRecipe

_SCORE_ROWS = 1024


@dataclass(frozen=True)
class Examples:
    """What members are fitted on.

    Attributes:
        features: n listings.
        titles: the same n listings without their descriptions; no text where there was none to drop.
        targets: (n,) int64 class columns, 0 neutral.
        weights: (n,) float32, how many listings each row stands for, times its emphasis.
        latest: (n,) bool, the latest month, on which early stopping looks; it is fitted on where a member
            has no patience.
        copies: changed copies of the same n listings (`training/augment.py`).
    """

    features: Features
    titles: Features
    targets: NDArray[np.int64]
    weights: NDArray[np.float32]
    latest: NDArray[np.bool_]
    copies: tuple[Copy, ...] = ()

    def __getitem__(self, which: NDArray[np.bool_]) -> "Examples":
        """The rows that a mask selects."""
        return Examples(
            self.features[which],
            self.titles[which],
            self.targets[which],
            self.weights[which],
            self.latest[which],
            tuple(copy[which] for copy in self.copies),
        )

    def with_copies(self, share: float, reads: tuple[str, ...], latest_too: bool) -> "Examples":
        """The same rows, and their copies that differ for `reads`, which take `share` of a row's weight.

        Several copies of one row take that share together. Rows of the latest month have none unless
        `latest_too`: early stopping looks at listings as they are.
        """
        changed = [copy.changed(reads) & (~self.latest | latest_too) for copy in self.copies]
        counts = np.sum(changed, axis=0, dtype=np.int64)
        weights: list[NDArray[np.floating]] = [np.where(counts > 0, 1 - share, 1) * self.weights]
        features, titles, targets, latest = self.features, self.titles, [self.targets], [self.latest]
        for copy, which in zip(self.copies, changed, strict=True):
            features = features.followed_by(copy.features[which])
            titles = titles.followed_by(copy.features[which].without_text())
            weights.append((share / np.maximum(counts, 1) * self.weights)[which])
            targets.append(self.targets[which])
            latest.append(self.latest[which])
        joined = np.concatenate(weights).astype(np.float32)
        return Examples(features, titles, np.concatenate(targets), joined, np.concatenate(latest))

    def with_titles(self, share: float) -> "Examples":
        """The same rows, and a title-only copy of each that has one, which takes `share` of its weight."""
        copied = np.flatnonzero(self.titles.has_text)
        weights = np.where(self.titles.has_text, 1 - share, 1) * self.weights
        return Examples(
            self.features.followed_by(self.titles[copied]),
            self.titles.followed_by(self.titles[copied]),
            np.concatenate([self.targets, self.targets[copied]]),
            np.concatenate([weights, share * self.weights[copied]]).astype(np.float32),
            np.concatenate([self.latest, self.latest[copied]]),
        )


def fit_member(recipe: MemberRecipe, examples: Examples, k: int, seed: int) -> Member:
    """One fitted member, in evaluation mode; a seed gives the same member bit for bit on one machine.

    Args:
        recipe: of the member.
        examples: n rows; those without any part that the member reads are left out.
        k: number of policies.
        seed: of initial weights, order, dropout and noise.

    Raises:
        DataError: no row has a part that the member reads.
    """
    examples = examples[readable(recipe, examples.features)]
    if not len(examples.targets):
        raise DataError(
            f"no training listing has a {' or a '.join(recipe.reads)} for the member {recipe.kind!r}"
        )
    if recipe.augmented:
        examples = examples.with_copies(recipe.augmented, recipe.reads, latest_too=not recipe.patience)
    if recipe.title_only:
        examples = examples.with_titles(recipe.title_only)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        generator = np.random.default_rng(seed)
        if recipe.kind == "lexical":
            return _fit_lexical(recipe, examples, k, generator).eval()
        return _fit_embedding(recipe, examples, k, generator).eval()


def readable(recipe: MemberRecipe, features: Features) -> NDArray[np.bool_]:
    """(n,) which listings have a part that the member reads."""
    return np.asarray(
        (features.has_text & ("text" in recipe.reads)) | (features.has_photo & ("photo" in recipe.reads))
    )


def member_log_odds(member: Member, features: Features) -> NDArray[np.float32]:
    """(n, k) log-odds of n listings; rows on which the member is silent hold NaN."""
    with torch.inference_mode():
        if isinstance(member, LexicalMember):
            out = _lexical_rows(member, features)
            silent = ~features.has_text
        else:
            batch = _Batch(member, features)
            pieces = [
                member.log_odds(batch.logits(np.arange(start, min(start + _SCORE_ROWS, len(features)))))
                for start in range(0, len(features), _SCORE_ROWS)
            ]
            out = torch.cat(pieces).numpy() if pieces else np.empty((0, member.k), dtype=np.float32)
            silent = ~batch.readable
    out[silent] = np.nan
    return out


def ensemble_log_odds(ensemble: Ensemble, features: Features) -> NDArray[np.float64]:
    """(n, k) log-odds as the exported graph gives them one by one; NaN where no member speaks."""
    total, weight = np.zeros(()), np.zeros(())
    for member in ensemble.members:
        odds = member_log_odds(member, features).astype(np.float64)
        speaks = ~np.isnan(odds[:, :1]) * member.recipe.weight
        total = total + np.nan_to_num(odds) * speaks
        weight = weight + speaks
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(total / weight)


class _Batch:
    """Rows of features as tensors, padded to the most photos that any of them has."""

    def __init__(self, member: EmbeddingMember, features: Features):
        reads = member.recipe.reads
        self.member = member
        self.text, self.photos = member.prepared(
            torch.from_numpy(features.text), torch.from_numpy(features.photos)
        )
        self.has_text = torch.from_numpy(features.has_text & ("text" in reads)).float()[:, None]
        self.has_photo = torch.from_numpy(features.has_photo & ("photo" in reads)).float()[:, None]
        self.readable = ((self.has_text + self.has_photo)[:, 0] > 0).numpy()
        self.starts, self.counts = features.starts[:-1], features.n_photos

    def rows(self, index: NDArray[np.int64]) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None]:
        """text, has_text, photos (b, p, d), has_photo and which photos are there, of the rows at `index`."""
        counts = self.counts[index]
        p = max(1, int(counts.max(initial=1)))
        there = np.arange(p)[None] < counts[:, None]  # (b, p)
        where = np.where(there, self.starts[index][:, None] + np.arange(p)[None], 0)
        if len(self.photos):
            photos = self.photos[torch.from_numpy(where)] * torch.from_numpy(there)[..., None]
        else:
            photos = torch.zeros(len(index), p, self.photos.shape[1])
        there[:, 0] = True  # one empty photo stands for none, so that pooling always has one
        rows = torch.from_numpy(index)
        mask = None if p == 1 else torch.from_numpy(there)
        return self.text[rows], self.has_text[rows], photos, self.has_photo[rows], mask

    def logits(self, index: NDArray[np.int64]) -> Tensor:
        """(b, outputs) of the rows at `index`."""
        return self.member.logits(*self.rows(index))


def _loss(
    recipe: MemberRecipe, targets: NDArray[np.int64], k: int
) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    counts = np.bincount(targets, minlength=k + 1).astype(np.float64)
    rarity = np.where(counts > 0, (len(targets) / np.maximum(counts, 1)) ** recipe.alpha, 0)
    # The mean weight of a row is 1, so that the learning rate means the same at any alpha
    alpha = torch.from_numpy(rarity / (rarity * counts).sum() * counts.sum()).float()
    per_row = focal_loss if recipe.output == "softmax" else focal_loss_per_policy

    def loss(logits: Tensor, target: Tensor, weights: Tensor) -> Tensor:
        rows = per_row(logits, target, alpha, recipe.gamma)
        return (rows * weights).sum() / weights.sum()

    return loss


def _fit_embedding(
    recipe: MemberRecipe, examples: Examples, k: int, generator: np.random.Generator
) -> EmbeddingMember:
    features = examples.features
    member = EmbeddingMember(recipe, features.text.shape[1], features.photos.shape[1], k)
    member.standardise_on(
        torch.from_numpy(features.text[features.has_text]), torch.from_numpy(features.photos)
    )
    loss = _loss(recipe, examples.targets, k)
    if recipe.kind == "linear":
        return _fit_linear(member, examples, loss)
    watched = examples.latest if recipe.patience else np.zeros(len(examples.targets), dtype=bool)
    stopper = _Stopper(member, examples[watched], recipe.patience) if watched.any() else None
    fitted = examples[~watched] if stopper else examples
    batch, targets = _Batch(member, fitted.features), torch.from_numpy(fitted.targets)
    weights = torch.from_numpy(fitted.weights)
    partners = _Partners(fitted, generator)
    optimiser = torch.optim.AdamW(member.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay)
    steps = -(-len(targets) // recipe.batch_rows) * recipe.epochs
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(recipe.epochs):
        member.train()
        order = generator.permutation(len(targets))
        for start in range(0, len(order), recipe.batch_rows):
            index = order[start : start + recipe.batch_rows]
            rows = _disturbed(batch, index, recipe, partners, generator)
            step_loss = loss(member.logits(*rows), targets[index], weights[index])
            optimiser.zero_grad()
            step_loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
        if stopper and stopper.is_over():
            break
    if stopper:
        stopper.restore()
    return member


def _disturbed(
    batch: _Batch,
    index: NDArray[np.int64],
    recipe: MemberRecipe,
    partners: "_Partners",
    generator: np.random.Generator,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None]:
    """Rows with photos swapped inside their class, parts taken away and noise added, as the recipe says."""
    text, has_text, photos, has_photo, there = batch.rows(index)
    if recipe.mix:
        swapped = np.where(generator.random(len(index)) < recipe.mix, partners.of(index), index)
        swapped = np.where(has_photo[:, 0].numpy() > 0, swapped, index)
        _, _, photos, has_photo, there = batch.rows(swapped)
    if recipe.modality_dropout:
        both = (has_text * has_photo)[:, 0].numpy() > 0
        taken = both & (generator.random(len(index)) < recipe.modality_dropout)
        text_goes = torch.from_numpy(taken & (generator.random(len(index)) < 0.5))[:, None]
        photo_goes = torch.from_numpy(taken)[:, None] & ~text_goes
        has_text, has_photo = has_text * ~text_goes, has_photo * ~photo_goes
    if recipe.noise:
        text = text + recipe.noise * torch.randn_like(text)
        photos = photos + recipe.noise * torch.randn_like(photos)
    return text, has_text, photos, has_photo, there


class _Partners:
    """For each row another one of its class that has a photo."""

    def __init__(self, examples: Examples, generator: np.random.Generator):
        self._targets, self._generator = examples.targets, generator
        has_photo = examples.features.has_photo
        self._rows = {
            label: np.flatnonzero((examples.targets == label) & has_photo)
            for label in set(examples.targets.tolist())
        }

    def of(self, index: NDArray[np.int64]) -> NDArray[np.int64]:
        """(b,) partners of the rows at `index`; a row whose class has no photo is its own."""
        partners = index.copy()
        for label in np.unique(self._targets[index]):
            mine = self._targets[index] == label
            if len(rows := self._rows[int(label)]):
                partners[mine] = self._generator.choice(rows, size=int(mine.sum()))
        return partners


class _Stopper:
    """Keeps the weights of the epoch with the best macro average precision on rows held out in time."""

    def __init__(self, member: EmbeddingMember, held_out: Examples, patience: int):
        self._member, self._held_out, self._patience = member, held_out, patience
        self._best, self._worse = -1.0, 0
        self._weights = {name: value.clone() for name, value in member.state_dict().items()}

    def is_over(self) -> bool:
        """Look once; true after `patience` looks without a better figure."""
        odds = member_log_odds(self._member.eval(), self._held_out.features)
        figure = macro_average_precision(np.nan_to_num(odds, nan=-30.0), self._held_out.targets, least=1)
        if figure > self._best:
            self._best, self._worse = figure, 0
            self._weights = {name: value.clone() for name, value in self._member.state_dict().items()}
        else:
            self._worse += 1
        return self._worse >= self._patience

    def restore(self) -> None:
        """Put the best weights back."""
        self._member.load_state_dict(self._weights)


def macro_average_precision(scores: NDArray[np.floating], targets: NDArray[np.int64], least: int) -> float:
    """Mean average precision over the policies with at least `least` positives; 0 where there is none.

    Args:
        scores: (n, k).
        targets: (n,) class columns, 0 neutral.
        least: positives that a policy needs to count.
    """
    figures = [
        average_precision_score(targets == column + 1, scores[:, column])
        for column in range(scores.shape[1])
        if (targets == column + 1).sum() >= least
    ]
    return float(np.mean(figures)) if figures else 0.0


def _fit_linear(
    member: EmbeddingMember, examples: Examples, loss: Callable[[Tensor, Tensor, Tensor], Tensor]
) -> EmbeddingMember:
    """Full-batch L-BFGS on the mean of each listing's photos, with L2 on the weights.

    Modality dropout is exact here: each listing with both parts also stands without its text and without its
    photo, each weighted by how often the dropout would show it so.
    """
    features = examples.features
    batch = _Batch(member, features)
    _, mean = member.prepared(torch.from_numpy(features.text), torch.from_numpy(features.mean_photo()))
    text, photo = batch.text * batch.has_text, mean * batch.has_photo
    rows = torch.cat([text, photo], dim=1)
    targets, weights = torch.from_numpy(examples.targets), torch.tensor(examples.weights)
    if dropped := member.recipe.modality_dropout:
        both = ((batch.has_text * batch.has_photo)[:, 0] > 0).nonzero()[:, 0]
        alone = [torch.cat([text * keep, photo * (1 - keep)], dim=1)[both] for keep in (1, 0)]
        half = weights[both] * dropped / 2
        weights[both] *= 1 - dropped
        rows, targets = torch.cat([rows, *alone]), torch.cat([targets, targets[both], targets[both]])
        weights = torch.cat([weights, half, half])
    assert isinstance(member.head, Linear)
    layer = member.head.out
    optimiser = torch.optim.LBFGS(
        member.parameters(), max_iter=member.recipe.epochs, history_size=10, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimiser.zero_grad()
        value = loss(layer(rows), targets, weights) + member.recipe.weight_decay * layer.weight.square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    return member


def _fit_lexical(
    recipe: MemberRecipe, examples: Examples, k: int, generator: np.random.Generator
) -> LexicalMember:
    """Adagrad over the buckets that training texts fill; a bucket seen once gets no weight."""
    words = examples.features.words
    member = LexicalMember(recipe, words.shape[1], k)
    documents = np.bincount(words.indices, minlength=words.shape[1])
    # Buckets that training never filled keep their (highest) rarity and get no weight: the more of a text is
    # unknown, the less the rest of it may say
    rarity = np.log((words.shape[0] + 1) / (documents + 1)) + 1
    member.rarity.copy_(torch.from_numpy(rarity).float())
    # Only buckets that occur get weights while fitting: the rest would cost memory and stay zero
    active = np.flatnonzero(documents > 1)
    place = np.full(words.shape[1], len(active), dtype=np.int64)  # the last row is nobody's
    place[active] = np.arange(len(active))
    outputs = member.weights.shape[1]
    weights = torch.zeros(len(active) + 1, outputs, requires_grad=True)
    bias = torch.zeros(outputs, requires_grad=True)
    optimiser = torch.optim.Adagrad([weights, bias], lr=recipe.learning_rate)
    loss = _loss(recipe, examples.targets, k)
    targets, emphasis = torch.from_numpy(examples.targets), torch.from_numpy(examples.weights)
    for _ in range(recipe.epochs):
        order = generator.permutation(len(targets))
        for start in range(0, len(order), recipe.batch_rows):
            index = order[start : start + recipe.batch_rows]
            buckets, offsets, values = _tf_idf(words[index], rarity)
            z = F.embedding_bag(
                torch.from_numpy(place[buckets]),
                weights,
                offsets,
                mode="sum",
                per_sample_weights=values,
                padding_idx=len(active),
            )
            step_loss = loss(z + bias, targets[index], emphasis[index])
            optimiser.zero_grad()
            step_loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    with torch.no_grad():
        member.weights[active] = weights[:-1]
        member.bias.copy_(bias)
    return member


def _tf_idf(words: csr_matrix, rarity: NDArray[np.float64]) -> tuple[NDArray[np.int64], Tensor, Tensor]:
    """Buckets, offsets and values of sparse rows, each row of length 1."""
    rows = words.multiply(rarity[None]).tocsr()
    lengths = np.sqrt(np.asarray(rows.multiply(rows).sum(axis=1)).ravel())
    values = rows.data / np.repeat(np.maximum(lengths, 1e-6), np.diff(rows.indptr))
    offsets = torch.from_numpy(rows.indptr[:-1].astype(np.int64))
    return rows.indices.astype(np.int64), offsets, torch.from_numpy(values).float()


def _lexical_rows(member: LexicalMember, features: Features) -> NDArray[np.float32]:
    rarity = member.rarity.numpy().astype(np.float64)
    pieces = []
    for start in range(0, len(features), _SCORE_ROWS):
        buckets, offsets, values = _tf_idf(features.words[start : start + _SCORE_ROWS], rarity)
        z = F.embedding_bag(
            torch.from_numpy(buckets), member.weights, offsets, mode="sum", per_sample_weights=values
        )
        pieces.append(member.log_odds(z + member.bias))
    return torch.cat(pieces).numpy() if pieces else np.empty((0, member.k), dtype=np.float32)
