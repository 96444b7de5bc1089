"""A bundle that rules otherwise: other thresholds, or fewer policies; what it scores stays the same."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from stallwart.core.decision import Limits
from stallwart.core.errors import ConfigError
from stallwart.core.taxonomy import Taxonomy
from stallwart.estimate.certify import Certificate
from stallwart.model.bundle import Bundle

NEVER = "never"
_LIMITS = TypeAdapter(dict[str, Limits])
_ASKS_NEVER = float("inf")


def limits_of(bundle: Bundle) -> dict[str, Limits]:
    """From which score each policy of a bundle blocks and asks, as its decisions say it."""
    act, review = bundle.thresholds.act, bundle.thresholds.review
    return {
        name: Limits(block=act.get(name), review=review[name] if review[name] <= 1 else None)
        for name in bundle.taxonomy.ids
    }


def read_limits(path: Path) -> dict[str, Limits]:
    """The limits in a JSON file: a bundle's thresholds.json, or what a decision says under `thresholds`.

    Raises:
        ConfigError: it cannot be read, or is neither.
    """
    try:
        content = json.loads(path.read_bytes())
        if isinstance(content, dict) and "certificates" in content:
            granted = {one["policy"]: one["threshold"] for one in content["certificates"] if one["certified"]}
            review = {name: value if value <= 1 else None for name, value in content["review"].items()}
            content = {name: {"block": granted.get(name), "review": value} for name, value in review.items()}
        return _LIMITS.validate_python(content)
    except OSError as err:
        raise ConfigError(f"{path}: cannot be read ({err.strerror or err})") from None
    except (ValidationError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as err:
        said = str(err).splitlines()[0] if str(err) else type(err).__name__
        raise ConfigError(
            f"{path}: holds no thresholds ({said}); give a bundle's thresholds.json, or"
            ' {"policy": {"block": 0.9, "review": 0.2}, ...}'
        ) from None


def read_changes(given: Iterable[str], option: str) -> dict[str, float | None]:
    """Scores by policy from texts as tobacco=0.8 or tobacco=never.

    Raises:
        ConfigError: a text is not of that form, or its score is not in [0, 1].
    """
    found: dict[str, float | None] = {}
    for text in given:
        policy, _, value = text.partition("=")
        try:
            score = None if value == NEVER else float(value)
        except ValueError:
            score = -1.0
        if not policy or (score is not None and not 0 <= score <= 1):
            raise ConfigError(f"{option} {text!r}: write policy=score in 0 to 1, or policy={NEVER}")
        found[policy] = score
    return found


def changed(
    bundle: Bundle,
    limits: Mapping[str, Limits],
    block: Mapping[str, float | None],
    review: Mapping[str, float | None],
    rulebook: Taxonomy | None = None,
) -> Bundle:
    """The bundle with other limits; it keeps its digest and its scores.

    Args:
        bundle: what scores.
        limits: of some or all of its policies.
        block: scores from which single policies block, over `limits`; None is never.
        review: scores from which they ask, likewise.
        rulebook: policies that rule; one of the bundle that it lacks neither blocks nor asks.

    Raises:
        ConfigError: a policy is named that the bundle does not know.
    """
    now, ids = limits_of(bundle), bundle.taxonomy.ids
    named = {*limits, *block, *review, *(rulebook.ids if rulebook else ())}
    if unknown := sorted(named - set(ids)):
        raise ConfigError(
            f"{bundle.folder}: knows no policy {', '.join(unknown)}; it knows {', '.join(ids)}. A new policy"
            " needs a bundle that was trained with it: stallwart train --policies"
        )
    now.update(limits)
    for name in ids:
        now[name] = Limits(block=block.get(name, now[name].block), review=review.get(name, now[name].review))
        if rulebook and name not in rulebook.ids:
            now[name] = Limits(block=None, review=None)
    return replace(
        bundle,
        certificates=tuple(_granted(one, now[one.policy].block) for one in bundle.certificates),
        review={name: _ASKS_NEVER if (asks := now[name].review) is None else asks for name in ids},
    )


def _granted(certificate: Certificate, threshold: float | None) -> Certificate:
    return replace(certificate, certified=threshold is not None, threshold=threshold)
