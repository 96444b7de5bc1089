"""What an exported encoder is: a folder with a graph and a few facts, complete without torch.

    graph.onnx       ids (1, t) int64 or pixels (1, 3, size, size) float32 -> embedding (1, d) float32
    spec.json        an `EncoderSpec`
    tokenizer.json   text encoders only, as the `tokenizers` library writes it

One row a call is the rule: a row's embedding then cannot depend on what it was batched with, there is
no padding to mask, and on a CPU it costs a few per cent at most (`bench/bulk.py`).
"""

import hashlib
import json
from functools import cached_property
from pathlib import Path
from typing import Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stallwart.core.errors import BundleError

GRAPH, SPEC, TOKENIZER = "graph.onnx", "spec.json", "tokenizer.json"


class EncoderSpec(BaseModel):
    """The facts that decide what an encoder computes.

    Attributes:
        name: as in the recipe, for people.
        modality: what it reads.
        d: length of the embedding.
        weights: sha256 of the weights that it was exported from.
        max_tokens: text is cut after so many tokens (text only).
        normalised: text is read as `content/text.py` normalises it, so that what hides words from a filter
            does not hide them from the encoder; for encoders that know no capitals (text only).
        size: photos are resized to size x size pixels (photo only).
        mean: subtracted from each of red, green, blue, in 0 to 255 (photo only).
        scale: divides each of them after that (photo only).
        licence: of the weights, for NOTICE.
        reading: version of the code in graphs.py that turns content into the graph's input; raised with it,
            so that embeddings of the old code are not taken for those of the new.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    modality: Literal["text", "photo"]
    d: int = Field(gt=0)
    weights: str
    max_tokens: int = Field(default=0, ge=0)
    normalised: bool = False
    size: int = Field(default=0, ge=0)
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    scale: tuple[float, float, float] = (1.0, 1.0, 1.0)
    licence: str = ""
    reading: int = 1

    @cached_property
    def digest(self) -> bytes:
        """sha256 of all that decides an embedding; part of each key of the cache."""
        # An encoder that reads text as it is written has the digest that it had before there were others
        without = {"licence"} if self.normalised else {"licence", "normalised"}
        return hashlib.sha256(self.model_dump_json(exclude=without).encode()).digest()


class Exporter(Protocol):
    """An encoder as torch knows it: it can say what it is and write itself as a graph."""

    def spec(self) -> EncoderSpec:
        """The facts, without loading more than it must."""

    def export(self, folder: Path) -> None:
        """Write graph.onnx, and tokenizer.json for text, into `folder`."""


def read_spec(folder: Path) -> EncoderSpec:
    """The spec in an exported encoder's folder.

    Raises:
        BundleError: there is none, or it is not one.
    """
    path = folder / SPEC
    try:
        return EncoderSpec.model_validate(json.loads(path.read_bytes()))
    except (OSError, ValueError, ValidationError) as err:
        raise BundleError(f"{path}: is no encoder ({err}); train the bundle again") from None
