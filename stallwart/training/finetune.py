"""Encoders whose top layers learn from the market: frozen embeddings first, then the last blocks with a head.

The head is fitted on the frozen embeddings before a block moves, or its first, random steps would undo what
the network knew (Kumar et al. 2022, arXiv:2202.10054). Everything up to the end of the last month that the
encoder learns from is lost to rolling origins, which begin after it: an encoder that has seen a month cannot
be part of the evidence on that month.
"""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stallwart.core.errors import ConfigError, DataError
from stallwart.core.progress import Track, silent
from stallwart.encoders.export import state_digest
from stallwart.encoders.spec import EncoderSpec, read_spec
from stallwart.encoders.table import exporter, write_spec
from stallwart.store.files import whole_file, whole_folder
from stallwart.training.fit import Examples, fit_member, macro_average_precision
from stallwart.training.members import EmbeddingMember, member_arrays, with_arrays
from stallwart.training.recipe import EncodersRecipe, MemberRecipe

Part = Literal["text", "photo"]

_BATCH_ROWS = 16
_HEAD_SPEED = 10.0  # the head's learning rate, in that of the blocks


class Tunable(Protocol):
    """An encoder that hands out its network and exports it as it is at that time."""

    def network(self) -> nn.Module:
        """The same module at every call: ids or pixels (n, ...) -> (n, d)."""

    def export(self, folder: Path) -> None:
        """Write the graph into `folder`."""


@dataclass(frozen=True)
class Shown:
    """n listings as one network reads them.

    Attributes:
        read: rows -> what the network is given; all rows of one size.
        sizes: (n,) int64; rows of one size may share a batch.
        examples: the same n listings by their frozen embeddings; `latest` are looked at to stop early.
    """

    read: Callable[[NDArray[np.int64]], Tensor]
    sizes: NDArray[np.int64]
    examples: Examples


def tuned(
    name: str,
    part: Part,
    frozen: Path,
    shown: Shown,
    recipe: EncodersRecipe,
    k: int,
    seed: int,
    said: str,
    cache_dir: Path,
    track: Track = silent,
) -> Path:
    """Folder of the encoder with its last blocks trained on `shown`; made now if it is not there yet.

    A run that was interrupted goes on after its last whole epoch. Where no epoch was better than the frozen
    network on the latest month, the folder holds that one.

    Args:
        name: of the encoder, as in the recipe.
        part: what it reads.
        frozen: folder of the exported encoder as it came.
        shown: what is learnt from.
        recipe: how many blocks, how long and how fast.
        k: number of policies.
        seed: of the order of rows.
        said: all that decides `shown`; a part of the folder's name.
        cache_dir: where encoders are kept.
        track: shows how far it is.

    Raises:
        ConfigError: the encoder does not hand out its network.
        DataError: no training listing has the part.
    """
    spec = read_spec(frozen)
    facts = [said, spec.digest.hex(), recipe.model_dump_json(exclude={"text", "photo"}), str(seed)]
    key = hashlib.sha256(json.dumps([*facts, torch.__version__]).encode()).hexdigest()[:32]
    folder = cache_dir / "encoders" / f"tuned-{part}-{key}"
    if folder.exists():
        return folder
    encoder = exporter(name)
    if not hasattr(encoder, "network"):
        raise ConfigError(f"the encoder {name!r} cannot be fine-tuned; set finetune_layers = 0")
    if not len(shown.sizes):
        raise DataError(f"no listing of the first months has a {part}; set finetune_layers = 0")
    tuner = _Tuner(encoder.network(), part, shown, recipe, k, seed)
    saved = cache_dir / "runs" / f"tune-{key}.npz"
    best = tuner.run(saved, track)
    with whole_folder(folder) as temporary:
        if best == 0:
            shutil.copytree(frozen, temporary, dirs_exist_ok=True)
        else:
            encoder.export(temporary)
            weights = state_digest(encoder.network())
            # Made anew, not copied: a copy would keep the digest of the frozen weights
            write_spec(
                temporary,
                EncoderSpec(**{**spec.model_dump(), "name": f"{spec.name} tuned", "weights": weights}),
            )
    saved.unlink(missing_ok=True)
    return folder


def top_parameters(network: nn.Module, layers: int) -> dict[str, nn.Parameter]:
    """The parameters of the last `layers` blocks and of all that comes after them, by name.

    Blocks are the entries of the longest list of modules that the network holds; of several, the first.
    """
    lists = [
        (name, module)
        for name, module in network.named_modules()
        if isinstance(module, (nn.ModuleList, nn.Sequential)) and len(module)
    ]
    if not lists:
        raise ConfigError(f"{type(network).__name__} has no list of blocks; set finetune_layers = 0")
    name, blocks = max(lists, key=lambda one: len(one[1]))
    first = f"{name}.{max(len(blocks) - layers, 0)}."
    every = list(network.named_parameters())
    begin = next(i for i, (parameter, _) in enumerate(every) if parameter.startswith(first))
    return dict(every[begin:])


class _Tuner:
    """A network and a head that learn together, one whole epoch after the other."""

    def __init__(
        self, network: nn.Module, part: Part, shown: Shown, recipe: EncodersRecipe, k: int, seed: int
    ):
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        # Evaluation mode throughout: batches are too small for their own statistics
        self._network = network.eval().to(self._device)
        self._part, self._shown, self._seed, self._epochs = part, shown, seed, recipe.finetune_epochs
        self._fitted = np.flatnonzero(~shown.examples.latest)
        self._watched = np.flatnonzero(shown.examples.latest)
        head = MemberRecipe(
            kind="linear", reads=(part,), gamma=0, alpha=0.5, modality_dropout=0, weight_decay=3e-3, epochs=60
        )
        self._head = self._fit_head(head, k)
        for parameter in network.parameters():
            parameter.requires_grad_(False)
        self._top = top_parameters(network, recipe.finetune_layers)
        for parameter in self._top.values():
            parameter.requires_grad_(True)
        rate = recipe.finetune_learning_rate
        self._optimiser = torch.optim.AdamW(
            [
                {"params": list(self._top.values()), "lr": rate},
                {"params": list(self._head.parameters()), "lr": _HEAD_SPEED * rate},
            ]
        )
        self._done, self._best, self._best_figure = 0, 0, self._figure(silent)
        self._kept = self._top_arrays()

    def run(self, saved: Path, track: Track) -> int:
        """Train all epochs and put the best weights back; the number of the best epoch, 0 the frozen one."""
        self._resume(saved)
        for epoch in range(self._done + 1, self._epochs + 1):
            self._epoch(epoch, track)
            if (figure := self._figure(track)) > self._best_figure:
                self._best, self._best_figure, self._kept = epoch, figure, self._top_arrays()
            self._done = epoch
            self._save(saved)
        self._put_back(self._kept)
        self._network.cpu()
        for parameter in self._network.parameters():
            parameter.requires_grad_(True)
        return self._best

    def _fit_head(self, recipe: MemberRecipe, k: int) -> EmbeddingMember:
        early = np.zeros(len(self._shown.examples.targets), dtype=np.bool_)
        early[self._fitted] = True
        head = fit_member(recipe, self._shown.examples[early], k, self._seed)
        assert isinstance(head, EmbeddingMember)
        return head.to(self._device)

    def _epoch(self, epoch: int, track: Track) -> None:
        targets = torch.from_numpy(self._shown.examples.targets)
        counts = np.bincount(self._shown.examples.targets[self._fitted], minlength=self._head.k + 1)
        rarity = torch.from_numpy((counts.sum() / np.maximum(counts, 1)) ** 0.5).float().to(self._device)
        batches = self._batches(self._fitted, np.random.default_rng([self._seed, epoch]))
        what = f"fine-tuning {self._part}, epoch {epoch} of {self._epochs}"
        for rows in track(batches, what, len(batches)):
            loss = nn.functional.cross_entropy(
                self._logits(rows), targets[rows].to(self._device), weight=rarity
            )
            self._optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self._optimiser.step()

    def _figure(self, track: Track) -> float:
        """Macro average precision on the latest month."""
        odds = np.zeros((len(self._shown.sizes), self._head.k), dtype=np.float32)
        batches = self._batches(self._watched, None)
        with torch.no_grad():
            for rows in track(batches, f"judging {self._part}", len(batches)):
                odds[rows] = self._head.log_odds(self._logits(rows).cpu()).numpy()
        watched = self._watched
        return macro_average_precision(odds[watched], self._shown.examples.targets[watched], least=1)

    def _logits(self, rows: NDArray[np.int64]) -> Tensor:
        embeddings = self._network(self._shown.read(rows).to(self._device))
        n, ones = len(rows), torch.ones(len(rows), 1, device=self._device)
        nothing = torch.zeros(n, self._head.text_mean.shape[0], device=self._device)
        no_photo = torch.zeros(n, self._head.photo_mean.shape[0], device=self._device)
        if self._part == "text":
            text, _ = self._head.prepared(embeddings, no_photo)
            return self._head.logits(text, ones, no_photo[:, None], 0 * ones)
        _, photo = self._head.prepared(nothing, embeddings)
        return self._head.logits(nothing, 0 * ones, photo[:, None], ones)

    def _batches(
        self, rows: NDArray[np.int64], random: np.random.Generator | None
    ) -> list[NDArray[np.int64]]:
        """Rows in batches of one size each, in a drawn order or, without a generator, in their own."""
        drawn = rows if random is None else random.permutation(rows)
        drawn = drawn[np.argsort(self._shown.sizes[drawn], kind="stable")]
        ends = np.flatnonzero(np.diff(self._shown.sizes[drawn])) + 1
        batches = [
            group[start : start + _BATCH_ROWS]
            for group in np.split(drawn, ends)
            for start in range(0, len(group), _BATCH_ROWS)
        ]
        return batches if random is None else [batches[i] for i in random.permutation(len(batches))]

    def _top_arrays(self) -> dict[str, NDArray[np.float32]]:
        return {name: value.detach().cpu().numpy().copy() for name, value in self._top.items()}

    def _put_back(self, arrays: dict[str, NDArray[np.float32]]) -> None:
        with torch.no_grad():
            for name, value in self._top.items():
                value.copy_(torch.from_numpy(arrays[name]))

    def _save(self, path: Path) -> None:
        """Everything that the next epoch starts from; arrays only, nothing is pickled."""
        said: dict[str, NDArray[np.generic]] = {
            "progress": np.array([self._done, self._best, self._best_figure], dtype=np.float64),
            **{f"top/{name}": value for name, value in self._top_arrays().items()},
            **{f"kept/{name}": value for name, value in self._kept.items()},
            **{f"head/{name}": value for name, value in member_arrays(self._head).items()},
        }
        for place, state in self._optimiser.state_dict()["state"].items():
            said |= {f"adam/{place}/{name}": value.cpu().numpy() for name, value in state.items()}
        with whole_file(path) as temporary, temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **said)

    def _resume(self, path: Path) -> None:
        if not path.exists():
            return
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}

        def under(prefix: str) -> dict[str, NDArray[np.float32]]:
            return {name[len(prefix) :]: value for name, value in arrays.items() if name.startswith(prefix)}

        self._done, self._best = int(arrays["progress"][0]), int(arrays["progress"][1])
        self._best_figure, self._kept = float(arrays["progress"][2]), under("kept/")
        self._put_back(under("top/"))
        with_arrays(self._head, under("head/"))
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in under("adam/").items():
            place, _, which = name.partition("/")
            state.setdefault(int(place), {})[which] = torch.from_numpy(value)
        groups = self._optimiser.state_dict()["param_groups"]
        self._optimiser.load_state_dict({"state": state, "param_groups": groups})
