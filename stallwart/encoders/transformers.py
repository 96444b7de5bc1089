"""Any text model that `transformers` can load, from a local folder or a hub (`encoders` extra).

`transformers:albert-base-v2` pools the mean of the last layer's states; `transformers:albert-base-v2#pooler`
takes the model's own pooled output, as the reference network of the literature does.
"""

import hashlib
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn

from stallwart.core.errors import ConfigError
from stallwart.encoders.export import export_graph
from stallwart.encoders.spec import GRAPH, TOKENIZER, EncoderSpec


class _Pooled(nn.Module):
    """ids (1, t) int64 -> (1, d) float32; one unpadded row, so there is nothing to mask."""

    def __init__(self, model: nn.Module, pooler: bool):
        super().__init__()
        self.model = model
        self.pooler = pooler

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        # An additive mask of zeros keeps the tracer out of transformers' own mask making
        nothing_masked = torch.zeros_like(ids)[:, None, None, :].float()
        states = self.model(input_ids=ids, attention_mask=nothing_masked)
        pooled: torch.Tensor = states.pooler_output if self.pooler else states.last_hidden_state.mean(dim=1)
        return pooled


def export_text_model(source: Path | str, folder: Path, pooler: bool = False) -> None:
    """Write the graph and the tokenizer of a transformers text model into `folder`."""
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    model = transformers.AutoModel.from_pretrained(source, attn_implementation="eager").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(source)
    tokenizer.backend_tokenizer.save(str(folder / TOKENIZER))
    example = torch.arange(5, 22)[None]  # 17 tokens: no size that could be mistaken for another
    export_graph(_Pooled(model, pooler), example, folder / GRAPH, ("ids",), {"ids": {1: "t"}})


class TransformersText:
    """A text model by its folder or hub name."""

    def __init__(self, argument: str):
        self._source, _, option = argument.partition("#")
        if option not in ("", "pooler"):
            raise ConfigError(f"transformers:{argument}: no option {option!r}; there is: pooler")
        self._pooler = option == "pooler"
        self._argument = argument

    def spec(self) -> EncoderSpec:
        """The facts; loads the model to digest its weights.

        Raises:
            ConfigError: no such model can be had.
        """
        try:
            model = transformers.AutoModel.from_pretrained(self._source)
        except (OSError, ValueError) as err:
            raise ConfigError(
                f"transformers:{self._source}: no text model can be loaded from there"
                f" ({str(err).splitlines()[0]}); name a folder with config.json and weights"
            ) from None
        config: Any = model.config
        longest = int(getattr(config, "max_position_embeddings", 128))
        return EncoderSpec(
            name=f"transformers:{self._argument}",
            modality="text",
            d=int(config.hidden_size),
            weights=state_digest(model),
            max_tokens=min(128, longest),
        )

    def export(self, folder: Path) -> None:
        """Write the graph and the tokenizer into `folder`."""
        export_text_model(self._source, folder, self._pooler)


def state_digest(model: nn.Module) -> str:
    """sha256 over the names and bytes of a model's weights, in hexadecimal."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
