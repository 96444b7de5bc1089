"""Members of an ensemble as torch modules: features -> log-odds of each policy.

Fitting needs batches with gradients, a bundle needs one graph for one listing; both run the same modules.
"""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from stallwart.training.fusion import FUSIONS
from stallwart.training.recipe import MemberRecipe

_NEVER = -1e9  # stands for minus infinity where a graph must stay finite


def softmax_log_odds(logits: Tensor) -> Tensor:
    """(n, k) log(p_c / (1 - p_c)) of each policy under a softmax over (n, k+1) logits, column 0 neutral."""
    k1 = logits.shape[1]
    others = logits[:, None, :] + _NEVER * torch.eye(k1)  # (n, k+1, k+1): row c without its own column
    return (logits - torch.logsumexp(others, dim=2))[:, 1:]


class Linear(nn.Module):
    """One linear layer on both parts, zero where a part is missing: logistic regression."""

    def __init__(self, d_text: int, d_photo: int, outputs: int, width: int, dropout: float):  # noqa: ARG002
        super().__init__()
        self.out = nn.Linear(d_text + d_photo, outputs)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, text: Tensor, has_text: Tensor, photo: Tensor, has_photo: Tensor) -> Tensor:
        """(n, outputs) logits."""
        logits: Tensor = self.out(torch.cat([text * has_text, photo * has_photo], dim=1))
        return logits


HEADS: dict[str, type[nn.Module]] = {**FUSIONS, "linear": Linear}


class EmbeddingMember(nn.Module):
    """A head over the embeddings; several photos are pooled by the strongest evidence for each policy.

    Pooling takes, for each policy, the photo that speaks most for it: one violating photo among many is
    enough, and with one photo nothing is pooled at all.
    """

    text_mean: Tensor
    text_scale: Tensor
    photo_mean: Tensor
    photo_scale: Tensor

    def __init__(self, recipe: MemberRecipe, d_text: int, d_photo: int, k: int):
        super().__init__()
        self.recipe, self.k = recipe, k
        self.softmax = recipe.output == "softmax"
        outputs = k + 1 if self.softmax else k
        self.head = HEADS[recipe.kind](d_text, d_photo, outputs, recipe.width, recipe.dropout)
        self.register_buffer("text_mean", torch.zeros(d_text))
        self.register_buffer("text_scale", torch.ones(1))
        self.register_buffer("photo_mean", torch.zeros(d_photo))
        self.register_buffer("photo_scale", torch.ones(1))

    def standardise_on(self, text: Tensor, photo: Tensor) -> None:
        """Learn the mean of the (n, d_text) texts and (m, d_photo) photos that are there, one scale for each.

        One scale for all dimensions: those that hardly vary are noise, and would be blown up by their own.
        """
        for name, part in (("text", text), ("photo", photo)):
            if len(part) > 1:
                mean = part.mean(dim=0)
                getattr(self, f"{name}_mean").copy_(mean)
                getattr(self, f"{name}_scale").fill_(1 / ((part - mean).square().mean().sqrt() + 1e-6))

    def prepared(self, text: Tensor, photo: Tensor) -> tuple[Tensor, Tensor]:
        """Both parts centred, each row then of length sqrt(d): how odd a row is must not be how loud."""
        text = F.normalize((text - self.text_mean) * self.text_scale, dim=-1) * text.shape[-1] ** 0.5
        photo = F.normalize((photo - self.photo_mean) * self.photo_scale, dim=-1) * photo.shape[-1] ** 0.5
        return text, photo

    def logits(
        self, text: Tensor, has_text: Tensor, photos: Tensor, has_photo: Tensor, there: Tensor | None = None
    ) -> Tensor:
        """(n, k+1) logits with a neutral column of zeros, or (n, k) log-odds for `per_policy`.

        Args:
            text: (n, d_text) standardised.
            has_text: (n, 1).
            photos: (n, p, d_photo) standardised, p >= 1.
            has_photo: (n, 1).
            there: (n, p) bool, which of the p photos are real; None where all are.
        """
        n, p, d = photos.shape
        repeated = text[:, None, :].expand(n, p, text.shape[1]).reshape(n * p, -1)
        wide = [part.expand(n, p).reshape(n * p, 1) for part in (has_text, has_photo)]
        z = self.head(repeated, wide[0], photos.reshape(n * p, d), wide[1]).reshape(n, p, -1)
        margins = z[..., 1:] - z[..., :1] if self.softmax else z  # (n, p, k)
        if there is not None:
            margins = margins.masked_fill(~there[..., None], _NEVER)
        pooled = margins.amax(dim=1)
        return torch.cat([torch.zeros_like(pooled[:, :1]), pooled], dim=1) if self.softmax else pooled

    def log_odds(self, logits: Tensor) -> Tensor:
        """(n, k) from what `logits` gives."""
        return softmax_log_odds(logits) if self.softmax else logits


class LexicalMember(nn.Module):
    """Logistic regression over hashed n-grams, weighted by how rare they are (tf-idf, rows of length 1)."""

    rarity: Tensor

    def __init__(self, recipe: MemberRecipe, width: int, k: int):
        super().__init__()
        self.recipe, self.k = recipe, k
        self.softmax = recipe.output == "softmax"
        self.weights = nn.Parameter(torch.zeros(width, k + 1 if self.softmax else k))
        self.bias = nn.Parameter(torch.zeros(self.weights.shape[1]))
        self.register_buffer("rarity", torch.ones(width))

    def forward(self, buckets: Tensor) -> Tensor:
        """(1, outputs) logits of one text from the (m,) buckets that it fills."""
        values = self.rarity[buckets]
        values = values / values.square().sum().clamp_min(1e-12).sqrt()
        logits: Tensor = (self.weights[buckets] * values[:, None]).sum(dim=0, keepdim=True) + self.bias
        return logits

    def log_odds(self, logits: Tensor) -> Tensor:
        """(n, k) from what `forward` gives."""
        return softmax_log_odds(logits) if self.softmax else logits


Member = EmbeddingMember | LexicalMember


def new_member(recipe: MemberRecipe, d_text: int, d_photo: int, width: int, k: int) -> Member:
    """An unfitted member; its weights are drawn from torch's current random state."""
    if recipe.kind == "lexical":
        return LexicalMember(recipe, width, k)
    return EmbeddingMember(recipe, d_text, d_photo, k)


def member_arrays(member: Member) -> dict[str, NDArray[np.float32]]:
    """All weights and statistics of a member by name."""
    return {name: value.numpy(force=True) for name, value in member.state_dict().items()}


def with_arrays(member: Member, arrays: dict[str, NDArray[np.float32]]) -> Member:
    """The member with weights and statistics that `member_arrays` gave, in evaluation mode."""
    member.load_state_dict({name: torch.from_numpy(value) for name, value in arrays.items()})
    return member.eval()


class Ensemble(nn.Module):
    """All members of a bundle on one listing: the weighted mean of the log-odds of those that may speak."""

    def __init__(self, members: list[Member]):
        super().__init__()
        self.parts = nn.ModuleList(members)  # where torch looks for weights
        self.members = members

    def forward(
        self, text: Tensor, has_text: Tensor, photos: Tensor, has_photo: Tensor, buckets: Tensor
    ) -> Tensor:
        """(1, k) log-odds before calibration; NaN where no member may speak, which is ruled `review`.

        Args:
            text: (1, d_text) float32.
            has_text: (1, 1) float32, 0 or 1.
            photos: (p, d_photo) float32, p >= 1; one row of zeros where there is none.
            has_photo: (1, 1) float32, 0 or 1.
            buckets: (m,) int64, m >= 1.
        """
        parts = {"text": has_text, "photo": has_photo}
        total, weight = torch.zeros(()), torch.zeros(())
        for member in self.members:
            reads = member.recipe.reads
            if isinstance(member, EmbeddingMember):
                t, p = member.prepared(text, photos)
                seen_text = has_text if "text" in reads else torch.zeros_like(has_text)
                seen_photo = has_photo if "photo" in reads else torch.zeros_like(has_photo)
                logits = member.logits(t, seen_text, p[None], seen_photo)
            else:
                logits = member(buckets)
            speaks = torch.stack([parts[part] for part in reads]).amax(dim=0) * member.recipe.weight
            total = total + speaks * member.log_odds(logits)
            weight = weight + speaks
        return total / weight
