"""What the registry keeps of a report: how good a bundle was overall and by policy, with its facts."""

import json
from pathlib import Path
from typing import Any

from stallwart.core.errors import DataError
from stallwart.evaluation.plain import FORMAT

_LARGEST_BYTES = 50_000_000
_LARGEST_SUMMARY = 200_000
_KEPT = ("format", "facts", "part", "macro", "traffic")
_OF_POLICY = "average_precision"


def read_summary(path: Path, digest: str) -> dict[str, Any]:
    """The summary of a report.json of `stallwart evaluate`, at most 200,000 characters as JSON.

    No slices, no curves and no listing's id are in it.

    Args:
        path: the file.
        digest: of the bundle that it has to be about.

    Raises:
        DataError: it cannot be read, is no such report, or is about another bundle.
    """
    report = _read(path)
    about = report["facts"].get("bundle")
    if about != digest:
        raise DataError(
            f"{path}: is about bundle {str(about)[:12]}, not {digest[:12]}; give that one's report"
        )
    summary = {name: report[name] for name in _KEPT}
    summary["policies"] = {
        policy: {_OF_POLICY: figures.get(_OF_POLICY)} for policy, figures in report["policies"].items()
    }
    if len(json.dumps(summary)) > _LARGEST_SUMMARY:
        raise DataError(f"{path}: is too large for a report; give report.json of stallwart evaluate")
    return summary


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _LARGEST_BYTES:
            raise DataError(f"{path}: is too large for a report; give report.json of stallwart evaluate")
        report = json.loads(path.read_bytes())
    except OSError as err:
        raise DataError(f"{path}: cannot be read ({err.strerror or err})") from None
    except (ValueError, RecursionError) as err:
        raise DataError(f"{path}: is no JSON ({err}); give report.json of stallwart evaluate") from None
    whole = isinstance(report, dict) and all(name in report for name in (*_KEPT, "policies"))
    if not whole or report["format"] != FORMAT or not _tables(report):
        raise DataError(f"{path}: is no report of this version; make one with stallwart evaluate")
    found: dict[str, Any] = report
    return found


def _tables(report: dict[str, Any]) -> bool:
    tables = (report["facts"], report["policies"])
    return all(isinstance(one, dict) for one in tables) and all(
        isinstance(figures, dict) for figures in report["policies"].values()
    )
