"""What a run came to: what became of violations week by week, and average precision month by month."""

import json
from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from bench.circles.play import Play
from bench.experiments import embedder_of
from stallwart.core.scored import Rows, Scored
from stallwart.core.settings import Settings
from stallwart.core.taxonomy import NEUTRAL, Taxonomy, read_taxonomy
from stallwart.dataset.columns import Columns
from stallwart.evaluation.compare import Candidate, Comparison, compare
from stallwart.evaluation.figures import Gates
from stallwart.model.material import Sources, gather

_WEEK = timedelta(days=7)


@dataclass(frozen=True)
class Run:
    """What a run left behind.

    Attributes:
        story: days, acts, alerts, rollouts, verdicts.
        answers: one for each listing.
        labels: of all listings.
        taxonomy: the rulebook.
    """

    story: dict[str, Any]
    answers: list[dict[str, Any]]
    labels: dict[str, str]
    taxonomy: Taxonomy


def read_run(play: Play) -> Run:
    folder = play.script.folder
    with (folder / "answers.jsonl").open(encoding="utf-8") as file:
        answers = [json.loads(line) for line in file]
    story = json.loads((folder / "story.json").read_text(encoding="utf-8"))
    return Run(story, answers, play.labels, read_taxonomy(play.script.market / "policies.toml"))


def weeks(run: Run, start: datetime) -> list[dict[str, Any]]:
    """For each week: listings, violations by what the service did, blocks and how many were right, reads."""
    counts: dict[int, Counter[str]] = defaultdict(Counter)
    for one in run.answers:
        label, week = run.labels[one["listing_id"]], counts[_week(one["at_ms"], start)]
        week["listings"] += 1
        week[one["action"]] += 1
        if label != NEUTRAL:
            week["violations"] += 1
            week[f"violations {one['action']}"] += 1
        if one["action"] == "block":
            week["blocks right"] += label in one["policies"]
    for verdict in run.story["verdicts"]:
        counts[_week(verdict["at_ms"], start)]["read"] += 1
    return [{"from": f"{start + number * _WEEK:%Y-%m-%d}", **counts[number]} for number in sorted(counts)]


def months(play: Play, run: Run, frozen: Path) -> dict[str, Comparison]:
    """By month: the first bundle's scores of these listings against those that were answered.

    Near duplicates of a listing of an earlier month are left out.
    """
    settings = Settings()
    sources = Sources(
        listings=(*play.past, *play.played),
        labels=(play.script.market / "labels.csv",),
        taxonomy=run.taxonomy,
        columns=Columns(),
        train_until=play.script.train_until,
        validate_until=play.script.start,
    )
    rows = gather(sources, embedder_of(settings), settings, ()).rows
    ids = rows.listing_ids.tolist()
    played = {one["listing_id"]: one["scores"] for one in run.answers if one["scores"]}
    first = _scores_of(frozen, run.taxonomy)
    of_month = rows.months
    earliest = {group: min(of_month[rows.groups == group]) for group in np.unique(rows.groups).tolist()}
    fresh = np.array(
        [earliest[group] == month for group, month in zip(rows.groups.tolist(), of_month, strict=True)]
    )
    both = np.array([name in played and name in first for name in ids])
    told = {}
    for month in np.unique(of_month[both]).tolist():
        places = np.flatnonzero((of_month == month) & both & fresh)
        names = [ids[place] for place in places]
        answered = np.array([[played[name][policy] for policy in run.taxonomy.ids] for name in names])
        told[month] = compare(
            _candidate("first", rows[places], np.array([first[name] for name in names]), run.taxonomy),
            _candidate("played", rows[places], answered, run.taxonomy),
        )
    return told


def _candidate(name: str, rows: Rows, scores: np.ndarray, taxonomy: Taxonomy) -> Candidate:
    """Somebody of whom only the order of listings counts."""
    k = len(taxonomy.ids)
    return Candidate(name, Scored(rows, scores, taxonomy), Gates(np.full(k, np.inf), np.ones(k)))


def _scores_of(path: Path, taxonomy: Taxonomy) -> dict[str, list[float]]:
    table = pq.read_table(path)
    columns = [table[name].to_pylist() for name in taxonomy.ids]
    return dict(zip(table["listing_id"].to_pylist(), map(list, zip(*columns, strict=True)), strict=True))


def _week(at_ms: int, start: datetime) -> int:
    return (datetime.fromtimestamp(at_ms / 1_000, UTC) - start) // _WEEK
