"""Verdicts as files that other tools read and write: CSV, one row each, and the JSON of Label Studio.

Read and written one after the other. What cannot be read is handed on with its reason, and the rest goes on.
"""

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from stallwart.core.errors import DataError
from stallwart.store.labels import NEUTRAL, KnownLabel
from stallwart.store.verdicts import Answer

COLUMNS = (
    "decision_id", "yes", "no", "unknown", "severity", "who", "at", "weight", "probability", "source",
    "listing_id", "revision", "verdict_id",
)  # fmt: skip
"""Of the CSV. `yes`, `no` and `unknown` hold policies with `;` between them."""
UNKNOWN = "unknown"
FROM_NAME, TO_NAME = "policy", "listing"
"""Names of the control and of what it labels in a project of Label Studio."""
_CHUNK = 1 << 16
_LONGEST = 32_000_000  # characters of one task


@dataclass(frozen=True, slots=True)
class Given:
    """One verdict of a file.

    Attributes:
        place: its row or its task, from 1.
        decision_id: what it is about; empty where the file names none.
        answers: policy -> answer.
        others: the answer to policies that are not named; None where nothing is said of them.
        who: said it; empty where the file names nobody.
        severity: how bad it is, or None.
        problem: why it cannot be taken; "" where it can.
    """

    place: int
    decision_id: str
    answers: Mapping[str, Answer]
    others: Answer | None = None
    who: str = ""
    severity: int | None = None
    problem: str = ""


def write_csv(labels: Iterable[KnownLabel], file: IO[str]) -> int:
    """How many rows were written."""
    rows, count = csv.writer(file), 0
    rows.writerow(COLUMNS)
    for one in labels:
        count += 1
        said = {
            answer: ";".join(policy for policy, given in one.answers.items() if given == answer)
            for answer in Answer
        }
        rows.writerow(
            (
                one.decision_id, said[Answer.YES], said[Answer.NO], said[Answer.UNKNOWN],
                "" if one.severity is None else one.severity, one.who, _moment(one.at_ms),
                f"{one.weight:.6g}", "" if one.probability is None else f"{one.probability:.6g}",
                one.source.value, one.listing_id, one.revision, one.verdict_id,
            )
        )  # fmt: skip
    return count


def write_label_studio(labels: Iterable[KnownLabel], file: IO[str]) -> int:
    """How many tasks were written, each with its annotation, as one JSON array."""
    count = 0
    file.write("[")
    for count, one in enumerate(labels, 1):
        file.write(",\n" if count > 1 else "\n")
        json.dump(_task(one), file, ensure_ascii=False)
    file.write("\n]\n")
    return count


def _task(one: KnownLabel) -> dict[str, Any]:
    content = one.content
    choices = list(one.broken) or [
        NEUTRAL if all(answer == Answer.NO for answer in one.answers.values()) else UNKNOWN
    ]
    result = {
        "id": one.verdict_id[-10:],
        "from_name": FROM_NAME,
        "to_name": TO_NAME,
        "type": "choices",
        "value": {"choices": choices},
    }
    return {
        "data": {
            "text": "\n".join(part for part in (content.title, content.description) if part),
            "decision_id": one.decision_id,
            "listing_id": one.listing_id,
            "revision": one.revision,
            "photos": list(content.photos),
            "answers": {policy: answer.value for policy, answer in one.answers.items()},
            "who": one.who,
            "weight": one.weight,
            "probability": one.probability,
            "source": one.source.value,
        },
        "annotations": [
            {
                "result": [result],
                "created_at": _moment(one.at_ms),
                "was_cancelled": False,
                "ground_truth": False,
            }
        ],
    }


def read_verdict_file(path: Path) -> Iterator[Given]:
    """The verdicts of a file: Label Studio's JSON by its ending `.json`, else CSV.

    Raises:
        DataError: it cannot be read, is no such file, or lacks a column.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield from _read_tasks(file, path) if path.suffix.lower() == ".json" else _read_rows(file, path)
    except (OSError, UnicodeDecodeError, csv.Error) as err:
        raise DataError(f"{path}: cannot be read ({err})") from None


def _read_rows(file: IO[str], path: Path) -> Iterator[Given]:
    reader = csv.DictReader(file)
    there = set(reader.fieldnames or ())
    if "decision_id" not in there or not there & {"yes", "no"}:
        raise DataError(
            f"{path}: needs the columns decision_id, yes and no; it has: {', '.join(sorted(there))}"
        )
    for place, row in enumerate(reader, 1):
        yield _row(
            place, {key: (value or "").strip() for key, value in row.items() if isinstance(value, str)}
        )


def _row(place: int, row: Mapping[str, str]) -> Given:
    answers: dict[str, Answer] = {}
    problem = "" if row.get("decision_id") else "no decision_id"
    for answer in Answer:
        for policy in filter(None, (part.strip() for part in row.get(answer.value, "").split(";"))):
            if policy in answers:
                problem = "a policy has two answers"
            answers[policy] = answer
    if not answers:
        problem = problem or "no policy is named"
    severity = row.get("severity", "")
    whole = severity.isascii() and severity.isdigit() and len(severity) < 4
    if severity and not whole:
        problem = problem or "severity is no whole number"
    level = int(severity) if whole else None
    return Given(place, row.get("decision_id", ""), answers, None, row.get("who", ""), level, problem)


def _read_tasks(file: IO[str], path: Path) -> Iterator[Given]:
    for place, task in enumerate(_objects(file, path), 1):
        try:
            yield _from_task(place, task)
        except (KeyError, TypeError, AttributeError, ValueError):
            yield Given(place, "", {}, problem="is no task with data and annotations")


def _from_task(place: int, task: Mapping[str, Any]) -> Given:
    decision_id = str(task["data"].get("decision_id") or "")
    done = [one for one in task.get("annotations") or [] if not one.get("was_cancelled")]
    if not decision_id or not done:
        problem = "no annotation" if decision_id else "no decision_id in its data"
        return Given(place, decision_id, {}, problem=problem)
    last = max(done, key=lambda one: str(one.get("updated_at") or one.get("created_at") or ""))
    chosen = {
        str(choice)
        for result in last["result"]
        if result.get("type") == "choices"
        for choice in result["value"]["choices"]
    }
    who = last.get("completed_by") or task["data"].get("who") or ""
    name = str(who.get("email") or who.get("id") or "") if isinstance(who, dict) else str(who)
    if not chosen or (len(chosen) > 1 and chosen & {NEUTRAL, UNKNOWN}):
        problem = "no choice" if not chosen else f"{NEUTRAL} or {UNKNOWN} beside others"
        return Given(place, decision_id, {}, who=name, problem=problem)
    # Whoever chose had all policies before them, so that what they did not choose they denied
    others = Answer.UNKNOWN if chosen == {UNKNOWN} else Answer.NO
    broken = dict.fromkeys(sorted(chosen - {NEUTRAL, UNKNOWN}), Answer.YES)
    return Given(place, decision_id, broken, others, name)


def _objects(file: IO[str], path: Path) -> Iterator[Any]:
    """The members of a JSON array, one after the other; memory holds one of them."""
    decoder, text, begun = json.JSONDecoder(), "", False
    while True:
        chunk = file.read(_CHUNK)
        text += chunk
        while True:
            text = text.lstrip(" \t\r\n,")
            if not begun:
                if not text:
                    break
                if text[0] != "[":
                    raise DataError(f"{path}: is no JSON array of tasks")
                text, begun = text[1:], True
                continue
            if text.startswith("]"):
                return
            try:
                found, end = decoder.raw_decode(text)
            except ValueError:
                break  # it goes on in the next chunk
            yield found
            text = text[end:]
        if not chunk or len(text) > _LONGEST:
            raise DataError(f"{path}: its JSON breaks off or cannot be read")


def _moment(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1_000, UTC).isoformat(timespec="milliseconds")
