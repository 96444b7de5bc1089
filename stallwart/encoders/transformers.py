"""Any text model that `transformers` can load, from a local folder or a hub (`encoders` extra).

`transformers:albert-base-v2` pools the mean of the last layer's states; `transformers:albert-base-v2#pooler`
takes the model's own pooled output, as the reference network of the literature does. A model is one that
reads `input_ids`, with a tokenizer that the `tokenizers` library can run; code from a hub is never run.
"""

from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn

from stallwart.core.errors import ConfigError
from stallwart.encoders.export import export_graph, state_digest
from stallwart.encoders.spec import GRAPH, TOKENIZER, EncoderSpec

MAX_TOKENS = 128  # as in the reference network; most of a listing's sense is at its beginning
_POOLER = "pooler"


class Pooled(nn.Module):
    """ids (1, t) int64 -> (1, d) float32; one unpadded row, so there is nothing to mask."""

    def __init__(self, model: nn.Module, pooler: bool):
        super().__init__()
        self.model = model
        self.pooler = pooler

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """The pooled output or the mean of the last layer's states."""
        # An additive mask of zeros keeps the tracer out of transformers' own mask making
        nothing_masked = torch.zeros_like(ids)[:, None, None, :].float()
        states = self.model(input_ids=ids, attention_mask=nothing_masked)
        pooled: torch.Tensor = states.pooler_output if self.pooler else states.last_hidden_state.mean(dim=1)
        return pooled


class TransformersText:
    """A text model by its folder or hub name.

    Raises:
        ConfigError: an option that there is not.
    """

    def __init__(self, argument: str):
        self._source, _, option = argument.partition("#")
        if option not in ("", _POOLER):
            raise ConfigError(f"transformers:{argument}: no option {option!r}; there is: {_POOLER}")
        self._pooler = option == _POOLER
        self._argument = argument

    def spec(self) -> EncoderSpec:
        """The facts; loads the model, once, to digest its weights.

        Raises:
            ConfigError: no such model can be had, weights or a fast tokenizer are missing, or there is no
                pooled output where one is asked for.
        """
        config, tokenizer = self._model.config, self._tokenizer
        facts = config.to_dict()
        for name in ("_name_or_path", "transformers_version", "dtype", "torch_dtype"):
            facts.pop(name, None)
        decides = repr(sorted(facts.items(), key=str)) + tokenizer.backend_tokenizer.to_str()
        # Where the mean is taken the pooler decides nothing, and may be random for want of weights
        without = () if self._pooler else (f"{_POOLER}.",)
        return EncoderSpec(
            name=f"transformers:{self._argument}",
            modality="text",
            d=int(config.hidden_size),
            weights=state_digest(self._model, decides, without),
            max_tokens=self._max_tokens,
        )

    def network(self) -> Pooled:
        """The network, the same one at every call, in evaluation mode; what is exported is as it is then."""
        return self._network

    @cached_property
    def _network(self) -> Pooled:
        return Pooled(self._model, self._pooler).eval()

    def export(self, folder: Path) -> None:
        """Write the graph and the tokenizer into `folder`."""
        self._tokenizer.backend_tokenizer.save(str(folder / TOKENIZER))
        # 17 tokens: no size that could be mistaken for another
        lengths = [length for length in (17, 1, 2, self._max_tokens) if length <= self._max_tokens]
        traced, *others = [torch.arange(length)[None] % self._model.config.vocab_size for length in lengths]
        export_graph(self.network(), traced, folder / GRAPH, ("ids",), {"ids": {1: "t"}}, also=others)

    @property
    def _max_tokens(self) -> int:
        limits = [
            getattr(self._model.config, "max_position_embeddings", None),
            self._tokenizer.model_max_length,
        ]
        return min(MAX_TOKENS, *(int(limit) for limit in limits if limit and limit > 0))

    @cached_property
    def _model(self) -> Any:
        model, loading = self._load(
            transformers.AutoModel, attn_implementation="eager", dtype=torch.float32, output_loading_info=True
        )
        # transformers fills what is missing with random weights, and says so in a log line
        missing = [name for name in loading["missing_keys"] if self._pooler or not name.startswith(_POOLER)]
        if missing or loading["mismatched_keys"]:
            raise ConfigError(
                f"transformers:{self._source}: the weights lack {len(missing)} of the model's tensors"
                f" ({', '.join(sorted(missing)[:3])}); use the weights that belong to its config.json"
            )
        if self._pooler and getattr(model, _POOLER, None) is None:
            raise ConfigError(
                f"transformers:{self._source}: {type(model).__name__} has no pooled output;"
                f" leave out #{_POOLER}"
            )
        return model.eval()

    @cached_property
    def _tokenizer(self) -> Any:
        tokenizer = self._load(transformers.AutoTokenizer)
        if getattr(tokenizer, "backend_tokenizer", None) is None:
            raise ConfigError(
                f"transformers:{self._source}: {type(tokenizer).__name__} is no fast tokenizer; add a"
                " tokenizer.json, as the `tokenizers` library writes it, to the model's folder"
            )
        ids, known = tokenizer.get_vocab().values(), self._model.config.vocab_size
        # Where its files are missing, transformers makes a tokenizer of special tokens alone
        if len(ids) <= len(tokenizer.all_special_ids) or max(ids) >= known:
            raise ConfigError(
                f"transformers:{self._source}: the tokenizer has {len(ids)} tokens and the model {known};"
                " add the tokenizer.json that belongs to the model to its folder"
            )
        return tokenizer

    def _load(self, kind: Any, **options: Any) -> Any:
        path = Path(self._source)
        if (path.is_absolute() or self._source.startswith(".")) and not path.is_dir():
            raise ConfigError(f"transformers:{self._source}: there is no such folder")
        transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        before = transformers.utils.logging.get_verbosity()
        transformers.utils.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
        try:
            return kind.from_pretrained(self._source, trust_remote_code=False, **options)
        except Exception as err:  # noqa: BLE001 - its hub, formats and tokenizers raise a dozen unrelated types
            first = (str(err).splitlines() or [""])[0]
            raise ConfigError(
                f"transformers:{self._source}: no text model can be loaded from there ({first});"
                " name a folder with config.json, weights and tokenizer.json"
            ) from None
        finally:
            transformers.utils.logging.set_verbosity(before)
