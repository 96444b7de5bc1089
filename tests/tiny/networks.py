"""Two encoders of a few hundred weights that hand out their networks, to be fine-tuned."""

from functools import cached_property
from pathlib import Path

import torch
from torch import nn

from stallwart.encoders.export import export_graph, ramp, state_digest
from stallwart.encoders.spec import GRAPH, EncoderSpec
from tiny.encoders import D_PHOTO, D_TEXT
from tiny.encoders import Photo as FixedPhoto
from tiny.encoders import Text as FixedText


class Blocks(nn.Module):
    """Three residual blocks of one layer each."""

    def __init__(self, d: int):
        super().__init__()
        self.blocks = nn.ModuleList(nn.Linear(d, d) for _ in range(3))

    def forward(self, x):
        for block in self.blocks:
            x = x + torch.tanh(block(x))
        return x


class WordNetwork(Blocks):
    """ids (n, t) -> (n, d)."""

    def __init__(self):
        super().__init__(D_TEXT)
        self.words = nn.Embedding(64, D_TEXT)

    def forward(self, ids):
        return super().forward(self.words(ids)).mean(dim=1)


class PixelNetwork(Blocks):
    """pixels (n, 3, 16, 16) -> (n, d)."""

    def __init__(self):
        super().__init__(D_PHOTO)
        self.stem = nn.Linear(3 * 16, D_PHOTO)

    def forward(self, pixels):
        return super().forward(self.stem(nn.functional.avg_pool2d(pixels, 4).flatten(1)))


class Text(FixedText):
    """Words of a tiny vocabulary."""

    def spec(self) -> EncoderSpec:
        facts = super().spec().model_dump()
        return EncoderSpec(**{**facts, "name": "tunable-text", "weights": state_digest(self.network())})

    def network(self) -> nn.Module:
        return self._network

    def export(self, folder: Path) -> None:
        super().export(folder)  # for its tokenizer
        ids = torch.arange(5)[None]
        export_graph(self._network, ids, folder / GRAPH, ("ids",), {"ids": {1: "t"}})

    @cached_property
    def _network(self) -> nn.Module:
        torch.manual_seed(5)
        return WordNetwork().eval()


class Photo(FixedPhoto):
    """Mean colours of sixteen places."""

    def spec(self) -> EncoderSpec:
        facts = super().spec().model_dump()
        return EncoderSpec(**{**facts, "name": "tunable-photo", "weights": state_digest(self.network())})

    def network(self) -> nn.Module:
        return self._network

    def export(self, folder: Path) -> None:
        export_graph(self._network, ramp(16), folder / GRAPH, ("pixels",))

    @cached_property
    def _network(self) -> nn.Module:
        torch.manual_seed(6)
        return PixelNetwork().eval()
