"""A torch module -> an ONNX graph of one input and one output (torch; `train` extra)."""

import warnings
from pathlib import Path

import torch
from torch import nn

OPSET = 17


def export_graph(
    module: nn.Module,
    example: torch.Tensor | tuple[torch.Tensor, ...],
    path: Path,
    inputs: tuple[str, ...],
    dynamic: dict[str, dict[int, str]] | None = None,
) -> None:
    """Write `module` as ONNX to `path`.

    The tracing exporter is used although torch calls it legacy: on these networks it gives the same graph
    as the newer one, in a tenth of the time and without onnxscript. Its deprecation warnings are silenced
    here and nowhere else.
    """
    module = module.eval()  # the wrapper too: the exporter restores the mode it finds, dropout included
    with warnings.catch_warnings(), torch.inference_mode(False), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            example if isinstance(example, tuple) else (example,),
            str(path),
            input_names=list(inputs),
            output_names=["out"],
            dynamic_axes=dynamic,
            opset_version=OPSET,
            dynamo=False,
        )
