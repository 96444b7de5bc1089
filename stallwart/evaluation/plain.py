"""An evaluation as JSON: every figure, under keys that stay.

No text and no photo of a listing is in it, only ids: the file may be kept and passed on.
"""

import json
import math
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from stallwart.evaluation.evaluate import Evaluation

FORMAT = 1
"""Raised when a key changes its meaning or goes; new keys may come without it."""


def as_json(evaluation: Evaluation) -> str:
    """Indented JSON with sorted keys; null where a figure has no value."""
    return json.dumps(as_dict(evaluation), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def as_dict(evaluation: Evaluation) -> dict[str, Any]:
    """What `as_json` writes."""
    made: dict[str, Any] = plain(evaluation)
    ids = evaluation.taxonomy.ids
    made["format"] = FORMAT
    made["gates"] = {kind: dict(zip(ids, values, strict=True)) for kind, values in made["gates"].items()}
    made["worst"] = [
        {key: error[key] for key in ("policy", "kind", "listing_id", "label", "score", "month")}
        for error in made["worst"]
    ]
    return made


def plain(value: Any) -> Any:
    """Dicts, lists, texts, numbers and None of any nesting of dataclasses, arrays and taxonomies."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, str | int | bool | None) else None
