"""The page of tasks: the next one, a verdict, undo, and all else that is done with one at the keyboard.

The browser holds the next task beside the one that it shows, so that a key is answered at once; with each
answer it gets one more. So a person holds two tasks, seldom more. What was shown is kept with the claim, in
one transaction.
"""

import json
from collections.abc import Callable, Sequence

from sqlalchemy import Connection

from stallwart.core.errors import ConflictError, DataError, NotFoundError
from stallwart.core.settings import Settings
from stallwart.pages.roles import JUDGES, LEADS
from stallwart.pages.site import Answer, Ask, Page, Route
from stallwart.review.looking import Looking
from stallwart.review.policies import Policies
from stallwart.review.shown import Shown, shown_task
from stallwart.store import claims
from stallwart.store.database import reading, store_errors, writing
from stallwart.store.decisions import read_decision
from stallwart.store.gold import add_gold, withdraw_gold
from stallwart.store.people import User
from stallwart.store.tasks import State, Task, read_task
from stallwart.store.verdicts import Answer as Said
from stallwart.store.verdicts import Verdict
from stallwart.store.views import View, add_views

_HELD = 20  # tasks that a browser may say that it has
SEVERITIES = {1: "low", 2: "medium", 3: "high"}
SKIPS = (
    "I cannot tell",
    "I do not read this language",
    "I know the seller",
    "It is too hard on me",
    "Photos or words are missing",
)

UNSEEN = "(Answered without the photos having been shown.)"
"""Ends the note of a verdict on a listing whose photos stayed blurred."""


class TaskSection:
    """Pages of whoever reads tasks.

    Args:
        policies: the rulebook.
        looking: keeps who looked at what.
        settings: of leases and undo.
    """

    title = "Tasks"

    def __init__(self, policies: Policies, looking: Looking, settings: Settings):
        self._policies, self._looking = policies, looking
        self._lease_ms = int(settings.review_lease_seconds * 1_000)
        self._undo_ms = int(settings.review_undo_minutes * 60_000)

    def routes(self) -> Sequence[Route]:
        """All that is done with tasks."""
        return (
            Route("/tasks", "GET", self.desk, JUDGES, nav="Tasks"),
            Route("/tasks/take", "POST", self.take, JUDGES),
            Route("/tasks/undo", "POST", self.undo, JUDGES),
            Route("/tasks/renew", "POST", self.renew, JUDGES),
            Route("/tasks/{task_id}", "GET", self.one, JUDGES),
            Route("/tasks/{task_id}/verdict", "POST", self.verdict, JUDGES),
            Route("/tasks/{task_id}/gold", "POST", self.gold, LEADS),
            Route("/tasks/{task_id}/skip", "POST", self.skip, JUDGES),
            Route("/tasks/{task_id}/escalate", "POST", self.escalate, JUDGES),
            Route("/tasks/{task_id}/release", "POST", self.release, JUDGES),
        )

    def desk(self, ask: Ask) -> Page:
        """The task that this person has, or else the next one."""
        return self._desk(self._another(ask, None, ()))

    def one(self, ask: Ask) -> Page:
        """A task that this person has, or finished.

        Raises:
            NotFoundError: there is no such task, or it is somebody else's.
        """
        with store_errors("the task cannot be read"), writing(ask.database) as connection:
            task = read_task(connection, ask.path["task_id"])
            has = task.state == State.CLAIMED and task.claimed_by == ask.user.user_id
            did = task.state == State.DONE and task.ended_by == ask.user.user_id
            if not has and not did:
                raise NotFoundError("this is no task of yours; a task is seen by whoever has it")
            # Before that, somebody could look at the model's opinion and then undo their own
            over = did and ask.now_ms - (task.ended_at_ms or 0) > self._undo_ms
            view = self._view(connection, ask, task)
        return self._desk(self._shown(ask, task, view, reveal=over), done=did)

    def take(self, ask: Ask) -> Page | Answer:
        """The next task beside those that the browser has; nothing where there is none."""
        return self._card(self._another(ask, None, _ids(ask)))

    def verdict(self, ask: Ask) -> Page | Answer:
        """Keep what was said, and give the next task.

        Raises:
            ConflictError: this person does not have the task any more.
            DataError: no answer, or one that cannot be taken.
        """
        return self._go_on(ask, self._finishing(ask))

    def gold(self, ask: Ask) -> Page | Answer:
        """Keep what was said, also as the known answer that others are measured by; and give the next task.

        Raises:
            ConflictError: this person does not have the task any more, or it is gold already or a sample: it
                would say which samples are gold.
            DataError: no answer, or one that cannot be taken, or no reason.
        """
        why, finish = ask.form.get("why").strip(), self._finishing(ask)
        if not why:
            raise DataError("say why it is to be gold; it is written to the audit log")

        def act(connection: Connection) -> None:
            if read_task(connection, ask.path["task_id"]).blind:
                raise ConflictError("a sample cannot be made gold; answer it")
            said = finish(connection)
            add_gold(
                connection, said.decision_id, said.answers, who=ask.user.name, why=why, now_ms=ask.now_ms
            )

        return self._go_on(ask, act)

    def _finishing(self, ask: Ask) -> Callable[[Connection], Verdict]:
        """What ends the task with the answer that was given, once it was looked at."""
        answers = self._answers(ask)
        severity = ask.form.get("severity")
        if severity not in ("", *map(str, SEVERITIES)):
            raise DataError("the severity is low, medium or high")

        return lambda connection: claims.finish(
            connection, ask.user, ask.path["task_id"], answers, now_ms=ask.now_ms,
            severity=int(severity) if severity else None, note=_note(ask),
        )  # fmt: skip

    def skip(self, ask: Ask) -> Page | Answer:
        """Pass the task to others, and give the next one.

        Raises:
            ConflictError: this person does not have the task any more.
            DataError: no reason.
        """
        why = ask.form.get("reason")
        return self._go_on(ask, lambda to: claims.skip(to, ask.user, ask.path["task_id"], why, ask.now_ms))

    def escalate(self, ask: Ask) -> Page | Answer:
        """Give the task to a lead, and give the next one.

        Raises:
            ConflictError: this person does not have the task any more.
            DataError: no reason.
        """
        why = ask.form.get("reason")
        return self._go_on(
            ask, lambda to: claims.escalate(to, ask.user, ask.path["task_id"], why, ask.now_ms)
        )

    def release(self, ask: Ask) -> Answer:
        """Give back the task and those that the browser has beside it: this person pauses."""
        with store_errors("the tasks could not be given back"), writing(ask.database) as connection:
            for task in claims.held(connection, ask.user, ask.now_ms):
                claims.release(connection, ask.user, task.task_id)
        return Answer.redirect("/account", said="Your tasks are open to others again.")

    def undo(self, ask: Ask) -> Page | Answer:
        """The last verdict is taken back, and the gold that it made; its task is here again.

        Raises:
            NotFoundError: there is none that can be undone.
        """
        with store_errors("it could not be undone"), writing(ask.database) as connection:
            task = claims.undo(
                connection, ask.user, now_ms=ask.now_ms, window_ms=self._undo_ms, lease_ms=self._lease_ms
            )
            withdraw_gold(connection, task.decision_id, ask.user.name, ask.now_ms - self._undo_ms, ask.now_ms)
            view = self._view(connection, ask, task)
        if not ask.is_htmx:
            return Answer.redirect(f"/tasks/{task.task_id}")
        return self._card(self._shown(ask, task, view))

    def renew(self, ask: Ask) -> Answer:
        """Leases begin anew; which tasks are lost, and why."""
        lost = {}
        with store_errors("leases could not be renewed"), writing(ask.database) as connection:
            for task_id in _ids(ask):
                try:
                    claims.renew(connection, ask.user, task_id, now_ms=ask.now_ms, lease_ms=self._lease_ms)
                except (ConflictError, NotFoundError) as err:
                    lost[task_id] = str(err)
        return Answer(json.dumps({"lost": lost}).encode(), "application/json")

    def _answers(self, ask: Ask) -> dict[str, Said]:
        """Yes to what was marked and no to the other policies that this person judges."""
        marked = set(ask.form.all("policy"))
        allows = ask.form.get("allow") == "1"
        if allows == bool(marked):
            raise DataError("mark the policies that it breaks, or say that it breaks none")
        # What was on the page: the rulebook may have grown meanwhile
        judged = set(ask.form.all("judged"))
        if unknown := self._unknown(ask, marked | judged) or marked - judged:
            raise DataError(f"there is no policy {min(unknown)[:64]!r} that you judge; load the page again")
        if not judged:
            raise DataError("there is no policy on this page that you read; skip it")
        return {policy: Said.YES if policy in marked else Said.NO for policy in sorted(judged)}

    def _unknown(self, ask: Ask, named: set[str]) -> set[str]:
        """Those of the policies that this person may not judge; the decision may know some of its own."""
        skills = ask.user.skills
        unknown = named.difference(self._policies.ids)
        if unknown:
            with store_errors("the task cannot be read"), reading(ask.database) as connection:
                task = read_task(connection, ask.path["task_id"])
                decision = read_decision(connection, task.decision_id)
            unknown -= {*decision.thresholds, *decision.policies} if decision else set()
        return unknown if skills is None else unknown | (named - skills)

    def _go_on(self, ask: Ask, act: Callable[[Connection], object]) -> Page | Answer:
        shown = self._another(ask, act, _ids(ask))
        return self._card(shown) if ask.is_htmx else Answer.redirect("/tasks")

    def _another(
        self, ask: Ask, act: Callable[[Connection], object] | None, having: Sequence[str]
    ) -> Shown | None:
        """After an act the first task that this person holds and the browser does not have, or a new one."""
        with store_errors("the next task cannot be taken"), writing(ask.database) as connection:
            if act is not None:
                act(connection)
                if not ask.is_htmx:  # a browser without scripts asks for the page next, which takes it
                    return None
            task = self._next(connection, ask.user, ask.now_ms, having)
            if task is None:
                return None
            view = self._view(connection, ask, task)
        return self._shown(ask, task, view)

    def _next(self, connection: Connection, user: User, now_ms: int, having: Sequence[str]) -> Task | None:
        held = claims.held(connection, user, now_ms)
        found = next((task for task in held if task.task_id not in having), None)
        return found or claims.claim_next(connection, user, now_ms=now_ms, lease_ms=self._lease_ms)

    def _view(self, connection: Connection, ask: Ask, task: Task) -> View:
        """That it is looked at now, kept before it is read."""
        view = View(ask.user.user_id, task.listing_id, "task", ask.now_ms, task.decision_id, task.task_id)
        add_views(connection, [view])
        return view

    def _shown(self, ask: Ask, task: Task, view: View, *, reveal: bool = False) -> Shown:
        """What the person sees; read without a lock, so that nobody waits for it."""
        self._looking.noted(view)
        with reading(ask.database) as connection:
            return shown_task(connection, task, ask.user, self._policies, ask.now_ms, reveal=reveal)

    def _card(self, shown: Shown | None) -> Page | Answer:
        if shown is None:
            return Answer(status=204)
        return Page("task_card.html", self._context(shown), fragment=True)

    def _desk(self, shown: Shown | None, *, done: bool = False) -> Page:
        return Page("tasks.html", {**self._context(shown), "done": done})

    def _context(self, shown: Shown | None) -> dict[str, object]:
        return {
            "shown": shown,
            "done": False,
            "leads": LEADS,
            "severities": SEVERITIES,
            "skips": SKIPS,
            "note_of": lambda given: (given.note or "").removesuffix(UNSEEN).strip() if given else "",
            "policies": self._policies,
            "renew_ms": max(5_000, self._lease_ms // 3),
            "undo_minutes": self._undo_ms // 60_000,
        }


def _note(ask: Ask) -> str | None:
    """What the person wrote, and whether the page had photos that it did not show."""
    parts = [ask.form.get("note").strip(), UNSEEN if ask.form.all("photos") == [""] else ""]
    return " ".join(filter(None, parts)) or None


def _ids(ask: Ask) -> list[str]:
    """Tasks that the browser says that it has."""
    return ask.form.all("have")[:_HELD]
