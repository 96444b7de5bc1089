"""Through timm's real loading code, on a small checkpoint with random weights that is made here.

torchvision's compiled operators load only beside the very build of torch that they were made for. timm's
models use none of them, so where they do not load, this test leaves out the one module of torchvision that
insists on them.
"""

import json
import sys
import types

import numpy as np
import pytest
import torch
from samples import draw_photo

from stallwart.core.errors import ConfigError
from stallwart.encoders.graphs import PhotoGraph
from stallwart.encoders.table import exported, exporter

try:
    import torchvision
except ImportError:
    pytest.skip("torchvision is not installed: pip install 'stallwart[encoders]'", allow_module_level=True)
except RuntimeError:
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    sys.modules["torchvision._meta_registrations"] = types.ModuleType("torchvision._meta_registrations")
    import torchvision  # noqa: F401
timm = pytest.importorskip("timm", reason="timm is not installed: pip install 'stallwart[encoders]'")

SIZE, MEAN, STD = 64, (0.5, 0.4, 0.3), (0.2, 0.25, 0.5)


def make_network():
    torch.manual_seed(0)
    return timm.create_model("test_efficientnet.r160_in1k", pretrained=False, num_classes=7).eval()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("timm")
    network = make_network()
    config = {"input_size": (3, SIZE, SIZE), "mean": MEAN, "std": STD, "license": "mit"}
    network.pretrained_cfg.update(config)
    timm.models.save_for_hf(network, folder, safe_serialization=True)
    return folder


def test_the_spec_holds_the_models_own_preprocessing_in_0_to_255(checkpoint):
    spec = exporter(f"timm:{checkpoint}").spec()
    assert (spec.modality, spec.size) == ("photo", SIZE)
    np.testing.assert_allclose(spec.mean, 255 * np.array(MEAN))
    np.testing.assert_allclose(spec.scale, 255 * np.array(STD))
    assert spec.digest == exporter(f"timm:{checkpoint}").spec().digest


def test_the_graph_gives_the_pooled_features_of_the_saved_network(checkpoint, tmp_path):
    network = make_network()
    network.load_state_dict(_weights(checkpoint))
    graph = PhotoGraph(exported(f"timm:{checkpoint}", tmp_path))
    for seed in range(20):
        pixels = np.asarray(draw_photo(seed, SIZE))
        scaled = (pixels / 255 - np.array(MEAN)) / np.array(STD)
        with torch.no_grad():
            x = torch.from_numpy(scaled.transpose(2, 0, 1)[None]).float()
            pooled = network.forward_head(network.forward_features(x), pre_logits=True)
        np.testing.assert_allclose(graph.encode(pixels), pooled[0].numpy(), atol=1e-4)


def _weights(folder):
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def _copy(checkpoint, folder):
    for path in checkpoint.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def test_weights_that_lack_a_layer_are_refused_and_not_made_up(checkpoint, tmp_path):
    from safetensors.torch import save_file

    weights = _weights(_copy(checkpoint, tmp_path))
    del weights["conv_stem.weight"]
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(ConfigError, match="no image model can be loaded"):
        exporter(f"timm:{tmp_path}").spec()


def test_other_weights_have_another_digest(checkpoint, tmp_path):
    from safetensors.torch import save_file

    weights = _weights(_copy(checkpoint, tmp_path))
    weights["conv_stem.weight"] += 1
    save_file(weights, tmp_path / "model.safetensors")
    assert exporter(f"timm:{tmp_path}").spec().weights != exporter(f"timm:{checkpoint}").spec().weights


def test_a_model_of_other_than_square_photos_is_refused(checkpoint, tmp_path):
    config = json.loads((_copy(checkpoint, tmp_path) / "config.json").read_text())
    config["pretrained_cfg"]["input_size"] = [3, 64, 96]
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match="3 x 64 x 96"):
        exporter(f"timm:{tmp_path}").spec()


@pytest.mark.parametrize("source", ["/no/such/folder", "./nowhere", "nobody/no-such-model", "no_such_model"])
def test_a_missing_model_is_one_line_and_no_network(source):
    with pytest.raises(ConfigError, match="no image model can be loaded") as caught:
        exporter(f"timm:{source}").spec()
    assert "\n" not in str(caught.value)
