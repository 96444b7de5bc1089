"""The table of encoders, and their one-time export.

An encoder is named in the recipe as `minilm-l6`, `efficientnet-lite0`, `transformers:<folder or hub name>`,
`timm:<folder or model name>`, or by a dotted path such as `acme.clip:Clip`; each is one module here.
"""

import importlib
import json
import re
from pathlib import Path

from stallwart.core.errors import ConfigError
from stallwart.encoders.spec import GRAPH, SPEC, EncoderSpec, Exporter
from stallwart.store.files import whole_folder

ENCODERS = {
    "minilm-l6": "stallwart.encoders.minilm:MiniLM",
    "efficientnet-lite0": "stallwart.encoders.lite0:EfficientNetLite0",
    "minilm-l6-normalised": "stallwart.encoders.minilm:MiniLMNormalised",
    "transformers": "stallwart.encoders.transformers:TransformersText",
    "timm": "stallwart.encoders.timm:TimmPhoto",
}
_ANY_MODEL = ("transformers", "timm")  # these need to be told which


def exporter(name: str) -> Exporter:
    """The encoder called `name`; needs the `train` extra.

    Raises:
        ConfigError: there is no such encoder, or what it needs is not installed.
    """
    kind, _, argument = name.partition(":")
    path = ENCODERS.get(kind)
    if path is None:
        if not (argument and "." in kind):
            known = ", ".join(ENCODERS)
            raise ConfigError(
                f"no encoder named {name!r}; there are: {known}, or a path such as acme.clip:Clip"
            )
        path, argument = name, ""
    elif bool(argument) != (kind in _ANY_MODEL):
        example = f"{kind}:<folder or model name>" if kind in _ANY_MODEL else kind
        raise ConfigError(f"no encoder named {name!r}; write {example}")
    module, _, attribute = path.partition(":")
    try:
        made = getattr(importlib.import_module(module), attribute)
        return made(argument) if argument else made()  # type: ignore[no-any-return]
    except (ImportError, AttributeError) as err:
        extra = "encoders" if kind in _ANY_MODEL else "train"
        raise ConfigError(
            f"the encoder {name!r} cannot be loaded ({err}); pip install 'stallwart[{extra}]'"
        ) from None


def exported(name: str, cache_dir: Path) -> Path:
    """Folder of the exported encoder called `name`; exported now if it is not there yet."""
    encoder = exporter(name)
    spec = encoder.spec()
    readable = re.sub(r"[^A-Za-z0-9.-]+", "_", name)[-60:].strip("_.")
    folder = cache_dir / "encoders" / f"{readable}-{spec.digest.hex()[:16]}"
    if not (folder / GRAPH).exists():
        with whole_folder(folder) as temporary:
            encoder.export(temporary)
            write_spec(temporary, spec)
    return folder


def write_spec(folder: Path, spec: EncoderSpec) -> None:
    """Write spec.json into an exported encoder's folder."""
    (folder / SPEC).write_text(json.dumps(spec.model_dump(), indent=1, sort_keys=True) + "\n")
