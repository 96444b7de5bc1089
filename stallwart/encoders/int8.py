"""An exported encoder -> the same in 8-bit integers: smaller, faster, and a little off (`train` extra).

Photos: static quantisation, with ranges from given photos. Weights have 7 bits, since without the VNNI
instructions the kernel that multiplies 8-bit activations by 8-bit weights saturates, silently (mean cosine
0.90 in place of 0.97 on one network); those of depthwise convolutions, whose kernel does not, have 8.
Text: weights for each channel, activations at the moment they pass. One row a call keeps that range, and so
the embedding, free of what else is in a batch.

What it costs in quality is measured on held-out examples and handed back; whether that is good enough is
for the figures of the whole bundle to say.
"""

import itertools
import logging
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime import quantization
from onnxruntime.quantization.shape_inference import quant_pre_process

from stallwart.content.photo import Pixels
from stallwart.core.errors import ConfigError
from stallwart.encoders.graphs import Embedding, PhotoGraph, TextGraph
from stallwart.encoders.spec import GRAPH, TOKENIZER, read_spec
from stallwart.encoders.table import write_spec
from stallwart.store.files import file_digest, whole_folder

SUFFIX = "-int8"
MOST_EXAMPLES = 200  # more calibrate no better, and each costs a run of the network that keeps all its layers
FEWEST_EXAMPLES = 20


def quantise(source: Path, target: Path, examples: Iterable[Pixels] | Iterable[str]) -> float:
    """Write the 8-bit version of the exported encoder in `source` to the folder `target`.

    Its spec has the name with `-int8` behind it and the digest of its own graph in place of the weights', so
    that its embeddings are never taken for others.

    Args:
        source: folder of an exported encoder.
        target: folder to be written, whole or not at all.
        examples: photos as (height, width, 3) uint8 RGB, or texts, as they come in live use and of no test
            period; the first 200 are read, every second one is held out to measure.

    Returns:
        Mean cosine between the embeddings of both on the held-out examples, in [-1, 1].

    Raises:
        BundleError: `source` holds no encoder.
        ConfigError: it is an 8-bit version already, there are fewer than 20 examples, or `target` cannot be
            written.
    """
    spec = read_spec(source)
    if spec.name.endswith(SUFFIX):
        raise ConfigError(
            f"{source}: {spec.name} is in 8-bit integers already; quantise the one it was made from"
        )
    given: list[Any] = list(itertools.islice(examples, MOST_EXAMPLES))
    if len(given) < FEWEST_EXAMPLES:
        raise ConfigError(f"{source}: {len(given)} examples to calibrate on; give {FEWEST_EXAMPLES} or more")
    with whole_folder(target) as folder, _quiet():
        if spec.modality == "photo":
            _quantise_photo(source, folder / GRAPH, given[::2])
        else:
            _quantise_text(source / GRAPH, folder / GRAPH)
            (folder / TOKENIZER).write_bytes((source / TOKENIZER).read_bytes())
        facts = {"name": spec.name + SUFFIX, "weights": file_digest(folder / GRAPH)}
        write_spec(folder, spec.model_copy(update=facts))
        return _mean_cosine(source, folder, given[1::2])


class _Photos(quantization.CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, graph: PhotoGraph, photos: list[Pixels]):
        self._inputs = ({"pixels": graph.prepare(pixels)} for pixels in photos)

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        return next(self._inputs, None)


def _quantise_photo(source: Path, path: Path, photos: list[Pixels]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        prepared = Path(scratch) / GRAPH
        quant_pre_process(str(source / GRAPH), str(prepared), skip_symbolic_shape=True)
        quantization.quantize_static(
            str(prepared),
            str(path),
            _Photos(PhotoGraph(source), photos),
            quant_format=quantization.QuantFormat.QDQ,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            per_channel=True,
            reduce_range=True,
            extra_options={"TensorQuantOverrides": _eight_bits(onnx.load(prepared))},
        )


def _eight_bits(model: onnx.ModelProto) -> dict[str, list[dict[str, Any]]]:
    """Full-range weights for each channel of the depthwise convolutions."""
    overrides = {}
    for node in model.graph.node:
        groups = next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)
        if node.op_type == "Conv" and groups > 1:
            facts = {"quant_type": quantization.QuantType.QInt8, "reduce_range": False, "axis": 0}
            overrides[node.input[1]] = [facts]
    return overrides


def _quantise_text(graph: Path, path: Path) -> None:
    quantization.quantize_dynamic(
        str(graph), str(path), weight_type=quantization.QuantType.QInt8, per_channel=True, reduce_range=True
    )


def _mean_cosine(source: Path, target: Path, examples: list[Any]) -> float:
    kind = PhotoGraph if read_spec(source).modality == "photo" else TextGraph
    one, other = kind(source), kind(target)
    return float(np.mean([_cosine(one.encode(example), other.encode(example)) for example in examples]))


def _cosine(a: Embedding, b: Embedding) -> float:
    return float(a @ b / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-12))


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the quantiser's advice, which goes to the root logger."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
