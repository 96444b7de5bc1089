"""Fusion heads: one listing's text and one photo -> logits, with either part missing.

Each class joins (n, d_text) and (n, d_photo) embeddings, standardised by the caller, with masks of shape
(n, 1) that are 1 where the part is there. A missing part is replaced by a learnt vector, never by zeros that
could be mistaken for an embedding. Adding a head is adding a class and a line in `FUSIONS`.
"""

from typing import Protocol

import torch
from torch import Tensor, nn


class Fusion(Protocol):
    """What every head is built from and called with."""

    def __init__(self, d_text: int, d_photo: int, outputs: int, width: int, dropout: float) -> None: ...

    def __call__(self, text: Tensor, has_text: Tensor, photo: Tensor, has_photo: Tensor) -> Tensor:
        """(n, outputs) logits."""


class _Projected(nn.Module):
    """Both parts at one width, missing ones replaced by their learnt vector."""

    def __init__(self, d_text: int, d_photo: int, width: int, dropout: float):
        super().__init__()
        self.text = nn.Sequential(nn.Dropout(dropout), nn.Linear(d_text, width))
        self.photo = nn.Sequential(nn.Dropout(dropout), nn.Linear(d_photo, width))
        self.no_text = nn.Parameter(torch.zeros(width))
        self.no_photo = nn.Parameter(torch.zeros(width))

    def forward(
        self, text: Tensor, has_text: Tensor, photo: Tensor, has_photo: Tensor
    ) -> tuple[Tensor, Tensor]:
        t = has_text * self.text(text) + (1 - has_text) * self.no_text
        p = has_photo * self.photo(photo) + (1 - has_photo) * self.no_photo
        return t, p  # (n, width) each


class Concat(nn.Module):
    """Both parts projected to one width, joined, one linear layer: the reference."""

    def __init__(self, d_text: int, d_photo: int, outputs: int, width: int, dropout: float):
        super().__init__()
        self.project = _Projected(d_text, d_photo, width, dropout)
        self.out = nn.Sequential(nn.ReLU(), nn.Dropout(dropout), nn.Linear(2 * width, outputs))

    def forward(self, text: Tensor, has_text: Tensor, photo: Tensor, has_photo: Tensor) -> Tensor:
        """(n, outputs) logits."""
        logits: Tensor = self.out(torch.cat(self.project(text, has_text, photo, has_photo), dim=1))
        return logits


class Gated(nn.Module):
    """Gated multimodal unit: how much each part speaks is learnt (Arevalo et al. 2017, arXiv:1702.01992)."""

    def __init__(self, d_text: int, d_photo: int, outputs: int, width: int, dropout: float):
        super().__init__()
        self.project = _Projected(d_text, d_photo, width, dropout)
        self.gate = nn.Linear(2 * width + 2, width)
        self.out = nn.Sequential(nn.Dropout(dropout), nn.Linear(width, outputs))

    def forward(self, text: Tensor, has_text: Tensor, photo: Tensor, has_photo: Tensor) -> Tensor:
        """(n, outputs) logits."""
        t, p = self.project(text, has_text, photo, has_photo)
        gate = torch.sigmoid(self.gate(torch.cat([t, p, has_text, has_photo], dim=1)))
        logits: Tensor = self.out(gate * torch.tanh(t) + (1 - gate) * torch.tanh(p))
        return logits


class Embrace(nn.Module):
    """EmbraceNet: each feature is drawn from one of the parts that are there.

    Choi & Lee 2019 (arXiv:1904.09078).

    While training, a feature comes from the text or from the photo by a fair coin; a part that is missing
    is never drawn. When scoring, the draw's expectation is taken, so that a score does not depend on luck.
    """

    def __init__(self, d_text: int, d_photo: int, outputs: int, width: int, dropout: float):
        super().__init__()
        self.project = _Projected(d_text, d_photo, width, dropout)
        self.out = nn.Sequential(nn.Dropout(dropout), nn.Linear(width, outputs))

    def forward(self, text: Tensor, has_text: Tensor, photo: Tensor, has_photo: Tensor) -> Tensor:
        """(n, outputs) logits."""
        t, p = (torch.relu(part) for part in self.project(text, has_text, photo, has_photo))
        share = 0.5 * (has_text + 1 - has_photo)  # of the text: 1 alone, 0 where it is missing, else 1/2
        drawn = (torch.rand_like(t) < share).float() if self.training else share
        logits: Tensor = self.out(drawn * t + (1 - drawn) * p)
        return logits


class Late(nn.Module):
    """Each part judges alone; the verdicts of those that are there are averaged."""

    def __init__(self, d_text: int, d_photo: int, outputs: int, width: int, dropout: float):
        super().__init__()
        self.project = _Projected(d_text, d_photo, width, dropout)
        self.text_out = nn.Sequential(nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, outputs))
        self.photo_out = nn.Sequential(nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, outputs))

    def forward(self, text: Tensor, has_text: Tensor, photo: Tensor, has_photo: Tensor) -> Tensor:
        """(n, outputs) logits."""
        t, p = self.project(text, has_text, photo, has_photo)
        share = 0.5 * (has_text + 1 - has_photo)
        logits: Tensor = share * self.text_out(t) + (1 - share) * self.photo_out(p)
        return logits


FUSIONS: dict[str, type[nn.Module]] = {"concat": Concat, "gated": Gated, "embrace": Embrace, "late": Late}
