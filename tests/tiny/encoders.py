"""Two encoders of a few numbers each, as an operator's own module would define them."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, pre_tokenizers

from stallwart.encoders.spec import GRAPH, TOKENIZER, EncoderSpec

VOCABULARY, D_TEXT, D_PHOTO = 512, 16, 12


class Text:
    """The mean of a random vector for each character pair."""

    def spec(self) -> EncoderSpec:
        return EncoderSpec(name="tiny-text", modality="text", d=D_TEXT, weights="0" * 64, max_tokens=32)

    def export(self, folder: Path) -> None:
        vectors = np.random.default_rng(1).normal(size=(VOCABULARY, D_TEXT)).astype(np.float32)
        nodes = [
            helper.make_node("Gather", ["vectors", "ids"], ["tokens"]),
            helper.make_node("ReduceMean", ["tokens"], ["out"], axes=[1], keepdims=0),
        ]
        ids = helper.make_tensor_value_info("ids", TensorProto.INT64, [1, "t"])
        _save(folder, nodes, ids, D_TEXT, {"vectors": vectors})
        words = (
            "whisky vodka ron wine dagger knife xanax pills cannabis weed hash cigarettes tobacco vape lamp"
        )
        known = {word: i for i, word in enumerate(["[UNK]", *words.split()])}
        tokenizer = Tokenizer(models.WordLevel(known, unk_token="[UNK]"))
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        tokenizer.save(str(folder / TOKENIZER))


class Photo:
    """Mean colours, through a random layer."""

    def spec(self) -> EncoderSpec:
        return EncoderSpec(
            name="tiny-photo", modality="photo", d=D_PHOTO, weights="1" * 64, size=16, scale=(255.0,) * 3
        )

    def export(self, folder: Path) -> None:
        layer = np.random.default_rng(2).normal(size=(3 * 16, D_PHOTO)).astype(np.float32)
        nodes = [
            helper.make_node("AveragePool", ["pixels"], ["pooled"], kernel_shape=[4, 4], strides=[4, 4]),
            helper.make_node("Flatten", ["pooled"], ["flat"], axis=1),
            helper.make_node("MatMul", ["flat", "layer"], ["out"]),
        ]
        pixels = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, [1, 3, 16, 16])
        _save(folder, nodes, pixels, D_PHOTO, {"layer": layer})


def _save(folder: Path, nodes: list, given, d: int, weights: dict) -> None:
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, d])
    stored = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "tiny", [given], [out], stored)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / GRAPH
    )
