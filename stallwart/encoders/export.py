"""A torch module -> an ONNX graph of one output that agrees with it (torch; `train` extra)."""

import hashlib
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from stallwart.core.errors import ConfigError
from stallwart.encoders.graphs import open_session

OPSET = 17
TOLERANCE = 1e-4  # largest difference between graph and module, for values up to 1; relative above that

Inputs = torch.Tensor | tuple[torch.Tensor, ...]


def export_graph(
    module: nn.Module,
    example: Inputs,
    path: Path,
    inputs: tuple[str, ...],
    dynamic: dict[str, dict[int, str]] | None = None,
    also: Sequence[Inputs] = (),
) -> None:
    """Write `module` as ONNX to `path`, and check that the graph computes what the module does.

    The tracing exporter is used although torch calls it legacy: on these networks it gives the same graph
    as the newer one, in a tenth of the time and without onnxscript. Its deprecation warnings are silenced
    here and nowhere else. Tracing turns a size that the module computes with into a constant; `also`, inputs
    of other sizes on which the graph is compared too, is what would show it.

    Raises:
        ConfigError: the module cannot be traced, or the graph's output is not the module's.
    """
    module = module.eval()  # the wrapper too: the exporter restores the mode it finds, dropout included
    with warnings.catch_warnings(), torch.inference_mode(False), torch.no_grad():
        warnings.simplefilter("ignore")
        try:
            torch.onnx.export(
                module,
                _tuple(example),
                str(path),
                input_names=list(inputs),
                output_names=["out"],
                dynamic_axes=dynamic,
                opset_version=OPSET,
                dynamo=False,
            )
        except (RuntimeError, ValueError, TypeError, AttributeError, IndexError) as err:
            first = (str(err).splitlines() or [""])[0]
            raise ConfigError(
                f"{type(module).__name__}: cannot be written as a graph ({first}); choose another model"
            ) from None
        for given in (example, *also):
            _compare(module, _tuple(given), path, inputs)


def _compare(module: nn.Module, given: tuple[torch.Tensor, ...], path: Path, inputs: tuple[str, ...]) -> None:
    expected = module(*given).numpy()
    feed = {name: tensor.numpy() for name, tensor in zip(inputs, given, strict=True)}
    try:
        found = open_session(path).run(None, feed)[0]
        worst = float(np.max(np.abs(found - expected) / np.maximum(1, np.abs(expected)), initial=0))
    except Exception as err:  # noqa: BLE001 - onnxruntime raises a dozen unrelated types
        raise ConfigError(
            f"{type(module).__name__}: its graph does not run on {_sizes(given)} ({type(err).__name__});"
            " choose another model"
        ) from None
    if not worst <= TOLERANCE:  # also where it is not a number
        raise ConfigError(
            f"{type(module).__name__}: its graph differs from it by {worst:.2g} on {_sizes(given)};"
            " choose another model"
        )


def state_digest(model: nn.Module, also: str = "", without: tuple[str, ...] = ()) -> str:
    """sha256 over the names and bytes of a model's weights, and over `also`, in hexadecimal.

    Weights whose name begins with one of `without` stay out.
    """
    digest = hashlib.sha256(also.encode())
    for name, tensor in sorted(model.state_dict().items()):
        if not name.startswith(without or ("\0",)):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def ramp(size: int) -> torch.Tensor:
    """Pixels to trace and compare on, (1, 3, size, size) float32 from -1 to 1, no two alike."""
    return torch.linspace(-1, 1, 3 * size * size).view(1, 3, size, size)


def _tuple(given: Inputs) -> tuple[torch.Tensor, ...]:
    return given if isinstance(given, tuple) else (given,)


def _sizes(given: tuple[torch.Tensor, ...]) -> str:
    return ", ".join(" x ".join(map(str, tensor.shape)) for tensor in given)
