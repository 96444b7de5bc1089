"""A market played in order through the real programs: served, read, watched, learned from, rolled out.

The listings of a folder come as they were listed, under a clock that is moved to each of them. `stallwart
serve` decides, people who know the labels read at `stallwart review` as many tasks a day as they can,
`stallwart watch` looks on, and each week `stallwart retrain` is asked whether it is time. Nothing is done by
hand: a challenger that the gate lets pass is rolled out by the service, or leaves.
"""

import csv
import json
import secrets
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, Self

import pyarrow.compute as pc
import pyarrow.parquet as pq
import tomli_w

from bench.circles.programs import House, wait_for
from bench.circles.reviewer import Reviewer
from stallwart.client import Client
from stallwart.core.decision import Decision
from stallwart.core.listing import Listing
from stallwart.core.settings import Settings
from stallwart.dataset.columns import Columns
from stallwart.dataset.read import read_listings
from stallwart.dataset.rejects import Rejects
from stallwart.store.files import whole_file

_BATCH = 8
_DEADLINE_MS = 30_000
_ROUNDS = 20
_PEOPLE = ("ana", "ben")  # two: a violation in a sample is asked of somebody else
# Of programs that live through a day in a second; nobody looks at the pages
_QUICK = {
    "rollout_seconds": 0.2,
    "follow_seconds": 30,
    "known_seconds": 0.2,
    "watch_seconds": 1,
    "review_explain_seconds": 0,
    "review_meaning": False,
}
_NO_TASK_YET = (
    "SELECT count(*) FROM decisions AS d WHERE NOT EXISTS (SELECT 1 FROM tasks AS t WHERE"
    " t.decision_id = d.decision_id) AND ((d.action = 'review' AND d.cause = 'new')"
    " OR EXISTS (SELECT 1 FROM audit_draws AS a WHERE a.decision_id = d.decision_id))"
)


@dataclass(frozen=True)
class Script:
    """What is played, and how.

    Attributes:
        market: folder of monthly Parquet files, labels.csv and policies.toml.
        folder: where everything that is made goes; kept.
        train_until: what is listed from then on calibrates the first bundle.
        start: first day that is played; the first bundle knows what was listed and labelled before it.
        until: first day that is not.
        recipe: of all trainings.
        plan: of rollouts, TOML.
        reads: tasks that people answer in a turn.
        when: makes a retraining due, as `stallwart retrain --when` takes it.
        policies: rulebook of retrainings; the market's own if None.
        turn_days: how often people read and the watcher is waited for; each week begins with a turn.
        settings: of all programs.
    """

    market: Path
    folder: Path
    train_until: datetime
    start: datetime
    until: datetime
    recipe: str
    plan: str
    reads: int
    when: str
    policies: Path | None = None
    turn_days: int = 1
    settings: Mapping[str, object] = field(default_factory=dict)


class Play:
    """One run; a context in which the programs are at work. One that was interrupted goes on.

    Attributes:
        house: the installation.
        service: URL of `stallwart serve`.
        answers: one for each listing, as its caller got it.
        turns: what each turn brought.
        retrained: what each retraining said.
    """

    def __init__(self, script: Script):
        script.folder.mkdir(parents=True, exist_ok=True)
        self.script, self.house = script, House(script.folder, {**_QUICK, **script.settings})
        with (script.market / "labels.csv").open(newline="", encoding="utf-8") as file:
            self._labelled = list(csv.DictReader(file))
        self.labels = {row["listing_id"]: row["label"] for row in self._labelled}
        files = sorted(script.market.glob("*.parquet"))
        self.past = [path for path in files if _last(path) < script.start]
        self.played = [path for path in files if path not in self.past]
        self.first = script.folder / "first"
        self.service, self.key = "", ""
        self.answers: list[dict[str, Any]] = []
        self.turns: list[dict[str, Any]] = []
        self.retrained: list[dict[str, Any]] = []
        self._remember()
        self._programs = ExitStack()
        self._people: list[Reviewer] = []

    def __enter__(self) -> Self:
        self._learn_the_past()
        self.house.clock.set(_ms(self.script.start))
        passwords = [secrets.token_hex(12) for _ in _PEOPLE]
        scopes = [part for scope in ("score", "read", "admin") for part in ("--scope", scope)]
        self.key = self.house.run("keys", "create", "market", *scopes, "--json").facts["secret"]
        act = ("password",) if self.turns else ("add", "--role", "lead")
        for name, password in zip(_PEOPLE, passwords, strict=True):
            said = ("users", *act, name, "--password-stdin", "--who", "circle")
            self.house.run(*said, given=password + "\n")
        with self._programs:
            enter = self._programs.enter_context
            self.service = enter(self.house.program("serve", self.first, ready="/readyz"))
            pages = enter(self.house.program("review", ready="/sign-in"))
            enter(self.house.program("watch"))
            self._people = [
                Reviewer(pages, name, password, self._label_of_task)
                for name, password in zip(_PEOPLE, passwords, strict=True)
            ]
            self._programs = self._programs.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._programs.close()

    def count_shares(self, out: Path) -> None:
        """Write the market's rulebook with the shares that policies have among the listings of the past."""
        ids = self._past_ids()
        labels = Counter(self.labels[one] for one in ids)
        book = tomllib.loads((self.script.market / "policies.toml").read_text(encoding="utf-8"))
        for name, policy in book["policies"].items():
            policy["prevalence"] = round(labels[name] / len(ids), 4)
        out.write_text(tomli_w.dumps(book), encoding="utf-8")

    def through(self, enough: Callable[[], object] = lambda: False) -> None:
        """Turn by turn to the end, or until it is enough; what is known of the run is kept after each."""
        by_turn: dict[int, list[Listing]] = {}
        turn = timedelta(days=self.script.turn_days)
        stream = read_listings(
            self.played, Columns.parse(""), Settings(), Rejects(), decode=False, to_rule=True
        )
        for one in sorted(stream, key=lambda one: (one.listed_at or self.script.start, one.listing_id)):
            by_turn.setdefault(((one.listed_at or self.script.start) - self.script.start) // turn, []).append(
                one
            )
        with Client(self.service, self.key, _DEADLINE_MS) as client:
            for number in range(len(self.turns), -(-(self.script.until - self.script.start) // turn)):
                self._turn(client, self.script.start + number * turn, by_turn.get(number, []))
                if enough():
                    break

    def _turn(self, client: Client, day: datetime, listings: list[Listing]) -> None:
        self.house.clock.set(_ms(day) + 60_000)
        since = (day - self.script.start).days
        if since % 28 < self.script.turn_days:
            self.house.run("audit", "plan")  # the service looks every five minutes of its own time
        if since % 7 < self.script.turn_days:
            self._retrain(day)
        before = len(self.answers)
        for batch in _batches(listings):
            self.house.clock.set(max(_ms(one.listed_at or day) for one in batch))
            self.answers += [_noted(answer) for answer in _decided(client, batch)]
        end = day + timedelta(days=self.script.turn_days)
        self.house.clock.set(_ms(end - timedelta(hours=2)))
        read = self._read()
        self.house.clock.set(_ms(end - timedelta(hours=1)))
        self._watched()
        self.turns.append(
            {
                "from": f"{day:%Y-%m-%d}",
                "sent": len(self.answers) - before,
                "read": read,
                "waiting": self.house.value("SELECT count(*) FROM tasks WHERE state = 'open'"),
                "failing": self.house.rows("SELECT name, error FROM watch_steps WHERE error IS NOT NULL"),
            }
        )
        self.keep()

    def _read(self) -> int:
        """How many tasks people answered."""
        wait_for(lambda: self.house.value(_NO_TASK_YET) == 0, "tasks of the day")
        share = -(-self.script.reads // len(self._people))
        return sum(one.work(share) for one in self._people)

    def _watched(self) -> None:
        """Until the watcher and the rollout's guards have looked at the day."""
        at = self.house.clock.now_ms()
        late = "SELECT count(*) = 0 OR min(ran_at_ms) < ? AS late FROM watch_steps"
        wait_for(lambda: not self.house.value(late, at), "a round of the watcher")
        unseen = (
            "SELECT count(*) FROM rollouts AS r WHERE ended_at_ms IS NULL AND ? >"
            " (SELECT coalesce(max(at_ms), 0) FROM looks AS l WHERE l.rollout_id = r.rollout_id)"
        )
        wait_for(lambda: not self.house.value(unseen, at), "a look of the rollout's guards")

    def _retrain(self, day: datetime) -> None:
        """What `stallwart retrain` says today; not asked while a rollout runs, which it would refuse."""
        if self.house.value("SELECT count(*) FROM rollouts WHERE ended_at_ms IS NULL"):
            return
        ran = self.house.run(
            "retrain", *self.past, *self._taught(self.script.policies), "--when", self.script.when,
            "--plan", self._plan(), "--why", "weekly", "--who", "timer", "--json", codes=(0, 1, 2, 3, 4),
        )  # fmt: skip
        said = ran.facts if ran.out else {}
        if ran.code or said["due"]:
            self.retrained.append(
                {"day": f"{day:%Y-%m-%d}", "code": ran.code, "error": ran.err[-500:], **said}
            )

    def _learn_the_past(self) -> None:
        if self.first.exists():
            return
        known = self.script.folder / "labels.csv"
        ids = set(self._past_ids())
        with known.open("w", newline="", encoding="utf-8") as file:
            out = csv.DictWriter(file, fieldnames=list(self._labelled[0]))
            out.writeheader()
            out.writerows(row for row in self._labelled if row["listing_id"] in ids)
        cuts = ("--train-until", f"{self.script.train_until:%Y-%m-%d}")
        cuts += ("--validate-until", f"{self.script.start:%Y-%m-%d}")
        self.house.run("train", *self.past, *self._taught(), *cuts, "--out", self.first, "--json")

    def _past_ids(self) -> list[str]:
        return [
            one for path in self.past for one in pq.read_table(path, columns=["listing_id"])[0].to_pylist()
        ]

    def _taught(self, policies: Path | None = None) -> tuple[object, ...]:
        """What all trainings are given beside listings."""
        labels, policies = self.script.folder / "labels.csv", policies or self.script.market / "policies.toml"
        return ("--labels", labels, "--policies", policies, "--recipe", self.script.recipe)

    def _plan(self) -> Path:
        path = self.script.folder / "plan.toml"
        path.write_text(self.script.plan)
        return path

    def _label_of_task(self, task: str) -> str:
        return self.labels[self.house.value("SELECT listing_id FROM tasks WHERE task_id = ?", task)]

    def _remember(self) -> None:
        """What an interrupted run kept."""
        story, answers = self.script.folder / "story.json", self.script.folder / "answers.jsonl"
        if not story.exists():
            return
        kept = json.loads(story.read_text(encoding="utf-8"))
        self.turns, self.retrained = kept["turns"], kept["retrained"]
        self.answers = [json.loads(line) for line in answers.read_text(encoding="utf-8").splitlines()]

    def keep(self) -> None:
        """All that a story is made of, in two files."""
        facts = {
            "script": {name: str(value) for name, value in vars(self.script).items()},
            "turns": self.turns,
            "retrained": self.retrained,
            "acts": self.house.rows("SELECT at_ms, who, act, subject, why, detail FROM audit_log"),
            "alerts": self.house.rows("SELECT * FROM alerts ORDER BY first_at_ms"),
            "rights": self.house.rows("SELECT * FROM rights"),
            "rollouts": self.house.rows("SELECT * FROM rollouts ORDER BY started_at_ms"),
            "verdicts": self.house.rows(
                "SELECT v.created_at_ms AS at_ms, v.source, v.who, v.answers, d.listing_id, d.action,"
                " d.bundle FROM verdicts AS v JOIN decisions AS d USING (decision_id) ORDER BY v.seq"
            ),
        }
        for name, lines in (("answers.jsonl", self.answers), ("story.json", [facts])):
            with whole_file(self.script.folder / name) as path:
                path.write_text("".join(json.dumps(one) + "\n" for one in lines), encoding="utf-8")


def _decided(client: Client, batch: list[Listing]) -> list[Decision]:
    """A decision on each; where the service is busy it is asked again, as any caller would."""
    for _ in range(_ROUNDS):
        answers = client.decide_batch(batch, on_failure="error")
        failed = [one for one in answers if not isinstance(one, Decision)]
        if not failed:
            return [one for one in answers if isinstance(one, Decision)]
    raise RuntimeError(f"no decision after {_ROUNDS} rounds: {failed[0]}")


def _noted(answer: Decision) -> dict[str, Any]:
    return {
        "listing_id": answer.listing_id,
        "decision_id": answer.decision_id,
        "at_ms": answer.decided_at_ms,
        "action": answer.action.value,
        "policies": list(answer.policies),
        "bundle": answer.bundle,
        "cause": answer.cause.value,
        "reason": answer.reason,
        "scores": answer.scores and {name: round(value, 5) for name, value in answer.scores.items()},
    }


def _batches(listings: list[Listing]) -> Iterator[list[Listing]]:
    stream = iter(listings)
    while batch := list(islice(stream, _BATCH)):
        yield batch


def _last(path: Path) -> datetime:
    at: datetime = pc.max(pq.read_table(path, columns=["listed_at"])["listed_at"]).as_py()
    return at


def _ms(at: datetime) -> int:
    return int(at.astimezone(UTC).timestamp() * 1_000)
