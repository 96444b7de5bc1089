"""Exported encoders at work: one listing's words or one photo -> one embedding. No torch.

Sessions run one thread each and are safe to call from several; whoever embeds in bulk calls them from as
many threads as there are cores, which beats one call on many threads and leaves no pool spinning.
"""

from pathlib import Path
from typing import Literal

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image
from tokenizers import Tokenizer

from stallwart.content.photo import Pixels
from stallwart.content.text import normalise
from stallwart.core.errors import BundleError, ConfigError
from stallwart.encoders.spec import GRAPH, TOKENIZER, EncoderSpec, read_spec

Provider = Literal["cpu", "cuda"]
# What the graph cannot do on the first runs on the next
_PROVIDERS = {
    "cpu": ("CPUExecutionProvider",),
    "cuda": ("CUDAExecutionProvider", "CPUExecutionProvider"),
}
Embedding = NDArray[np.float32]

# The longest text that is handed to the tokenizer, in characters for each token that it may keep: no
# tokenizer of these models makes tokens longer on average, and a hostile text must not cost seconds.
_CHARS_PER_TOKEN = 16


def open_session(graph: Path | bytes, provider: Provider = "cpu") -> onnxruntime.InferenceSession:
    """A session on one thread that never spins.

    Raises:
        BundleError: the graph does not load.
        ConfigError: the provider is not part of the installed onnxruntime.
    """
    wanted = _PROVIDERS[provider]
    if wanted[0] not in onnxruntime.get_available_providers():
        raise ConfigError(
            f"STALLWART_PROVIDER={provider}: the installed onnxruntime cannot; with CUDA,"
            " pip install onnxruntime-gpu in its place"
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(
            graph if isinstance(graph, bytes) else str(graph), options, providers=list(wanted)
        )
    except Exception as err:  # noqa: BLE001 - onnxruntime raises a dozen unrelated types
        where = "graph" if isinstance(graph, bytes) else graph
        raise BundleError(
            f"{where}: does not load as a graph ({type(err).__name__}); make it again"
        ) from None


class TextGraph:
    """A text encoder: text -> (d,) float32."""

    def __init__(self, folder: Path, provider: Provider = "cpu"):
        self.spec: EncoderSpec = read_spec(folder)
        self._session = open_session(folder / GRAPH, provider)
        try:
            self._tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
        except Exception as err:  # noqa: BLE001 - the library raises bare Exception
            raise BundleError(f"{folder / TOKENIZER}: is no tokenizer ({err})") from None
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(self.spec.max_tokens)

    def tokens(self, text: str) -> list[int]:
        """What the graph reads of one text: at most `spec.max_tokens` numbers of tokens."""
        text = text[: self.spec.max_tokens * _CHARS_PER_TOKEN]
        if self.spec.normalised:
            text = normalise(text)
        # A lone surrogate is legal in a Python string and in JSON, and an error to the tokenizer
        ids: list[int] = self._tokenizer.encode(text.encode("utf-8", "replace").decode()).ids
        return ids

    def encode(self, text: str) -> Embedding:
        """The embedding of one text, (d,) float32; zeros where the tokenizer finds nothing in it."""
        ids = self.tokens(text)
        if not ids:
            return np.zeros(self.spec.d, dtype=np.float32)
        (embedding,) = self._session.run(None, {"ids": np.array([ids], dtype=np.int64)})
        return np.asarray(embedding[0], dtype=np.float32)


class PhotoGraph:
    """A photo encoder: pixels -> (d,) float32."""

    def __init__(self, folder: Path, provider: Provider = "cpu"):
        self.spec: EncoderSpec = read_spec(folder)
        self._session = open_session(folder / GRAPH, provider)
        self._mean = np.array(self.spec.mean, dtype=np.float32)
        self._scale = 1 / np.array(self.spec.scale, dtype=np.float32)

    def encode(self, pixels: Pixels) -> Embedding:
        """The embedding of one photo, (d,) float32, from (height, width, 3) uint8 RGB."""
        (embedding,) = self._session.run(None, {"pixels": self.prepare(pixels)})
        return np.asarray(embedding[0], dtype=np.float32)

    def prepare(self, pixels: Pixels) -> NDArray[np.float32]:
        """What the graph reads, (1, 3, size, size), from (height, width, 3) uint8 RGB.

        The whole photo is squeezed into the square that the network reads: a crop could cut away the one
        corner that matters.
        """
        side = (self.spec.size, self.spec.size)
        resized = np.asarray(Image.fromarray(pixels).resize(side, Image.Resampling.BICUBIC))
        scaled = (resized.astype(np.float32) - self._mean) * self._scale
        return np.asarray(scaled.transpose(2, 0, 1)[None], dtype=np.float32)
