"""Any image model that `timm` can load, from a local folder or a hub (`encoders` extra).

`timm:efficientnet_b0` takes timm's own pretrained weights; `timm:<folder>` a folder with config.json and
weights, as `timm.models.save_for_hf` writes it; `timm:<owner>/<model>` one from the hub. The embedding is the
pooled features, without the classifier.
"""

from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from stallwart.core.errors import ConfigError
from stallwart.encoders.export import export_graph, ramp, state_digest
from stallwart.encoders.spec import GRAPH, EncoderSpec

try:
    import timm
except RuntimeError as err:  # torchvision asks torch for operators that only its own build registers
    raise ConfigError(
        f"timm cannot be imported, since torchvision was built for another torch ({err});"
        f" install a torchvision of the same build as torch {torch.__version__}"
    ) from None


class TimmPhoto:
    """An image model by its folder, timm name or hub name."""

    def __init__(self, argument: str):
        self._argument = argument

    def spec(self) -> EncoderSpec:
        """The facts, as the model's own pretrained_cfg states them; loads the model to digest its weights.

        Raises:
            ConfigError: no such model can be had, or it does not read square RGB photos.
        """
        config = self._network.pretrained_cfg
        channels, height, width = config["input_size"]
        if channels != 3 or height != width or len(config["mean"]) != 3:
            raise ConfigError(
                f"timm:{self._argument}: reads {channels} x {height} x {width} pixels;"
                " choose a model that reads square photos of three colours"
            )
        red, green, blue = (255 * float(value) for value in config["mean"])
        red_std, green_std, blue_std = (255 * float(value) for value in config["std"])
        with torch.no_grad():
            pooled = self._network(torch.zeros(1, channels, height, width))
        if pooled.ndim != 2:
            raise ConfigError(
                f"timm:{self._argument}: gives {tuple(pooled.shape)} for one photo, not one row of features;"
                " choose another model"
            )
        return EncoderSpec(
            name=f"timm:{self._argument}",
            modality="photo",
            d=pooled.shape[1],
            weights=state_digest(self._network, config["architecture"] + str(self._network)),
            size=height,
            mean=(red, green, blue),
            scale=(red_std, green_std, blue_std),
            licence=str(config.get("license") or ""),
        )

    def network(self) -> nn.Module:
        """pixels (n, 3, size, size) float32, scaled as the spec says -> (n, d); in evaluation mode."""
        return self._network  # type: ignore[no-any-return]

    def export(self, folder: Path) -> None:
        """Write the graph into `folder`."""
        size = self.spec().size
        export_graph(self._network, ramp(size), folder / GRAPH, ("pixels",))

    @cached_property
    def _network(self) -> Any:
        try:
            # With its classifier first: timm loads strictly only then, and without it fills what is
            # missing from the file with random weights
            network = timm.create_model(_source(self._argument), pretrained=True, exportable=True)
        except Exception as err:  # noqa: BLE001 - timm, its hub and its formats raise a dozen unrelated types
            first = (str(err).splitlines() or [""])[0]
            raise ConfigError(
                f"timm:{self._argument}: no image model can be loaded from there"
                f" ({type(err).__name__}: {first});"
                " name a folder with config.json and weights, or a model that timm has weights for"
            ) from None
        network.reset_classifier(0)
        return network.eval()


def _source(argument: str) -> str:
    if Path(argument).is_dir():
        return f"local-dir:{argument}"
    if Path(argument).is_absolute() or argument.startswith("."):
        raise FileNotFoundError(f"there is no folder {argument}")
    return f"hf-hub:{argument}" if "/" in argument else argument
