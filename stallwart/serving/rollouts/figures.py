"""What a look at a rollout comes to, as it is stored, answered and drawn: plain JSON."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from stallwart.core.rollout import Arm, Rollout
from stallwart.rollout.compare import Comparison
from stallwart.rollout.guards import GuardState, latency_ms
from stallwart.rollout.plan import Plan
from stallwart.rollout.stages import Numbers, expectation
from stallwart.rollout.tally import Tally

_ARMS = (Arm.CHAMPION, Arm.CHALLENGER)


def figures_of(
    rollout: Rollout,
    plan: Plan,
    tally: Tally,
    guards: Sequence[GuardState],
    comparison: Comparison,
    numbers: Numbers,
    now_ms: int,
) -> dict[str, Any]:
    """All that was seen; numbers that are not finite become null."""
    exposures = tally.exposures()
    quantiles = {name: latency_ms(tally, quantile) for name, quantile in (("p50", 0.5), ("p99", 0.99))}
    arms = {
        arm.value: {
            "exposures": int(exposures[:, number].sum()),
            "exposures_in_step": int(exposures[rollout.step, number]),
            "precision": asdict(comparison.precision[number]),
            "coverage": asdict(comparison.coverage[number]),
            "verdicts_on_blocks": comparison.verdicts[number],
            "latency_ms": {name: both[number] for name, both in quantiles.items()},
        }
        for number, arm in enumerate(_ARMS)
    }
    plain: dict[str, Any] = _plain(
        {
            "version": rollout.version,
            "stage": rollout.stage.value,
            "step": rollout.step,
            "share": rollout.share,
            "held": rollout.held,
            "arms": arms,
            "shadowed": int(tally.pairs().sum()),
            "numbers": asdict(numbers),
            "guards": [asdict(state) for state in guards],
            "comparison": {
                "rows": comparison.rows,
                "unknown": comparison.unknown,
                "answer": comparison.answer,
                "precision": asdict(comparison.precision_difference),
                "coverage": asdict(comparison.coverage_difference),
            },
            "next": expectation(rollout, plan, guards, comparison, numbers, now_ms),
        }
    )
    return plain


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value
