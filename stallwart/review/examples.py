"""Examples beside the text of a policy, asked for by who reads it, and never on a blind task."""

from collections.abc import Sequence

from stallwart.core.errors import NotFoundError
from stallwart.core.settings import Settings
from stallwart.pages.roles import JUDGES
from stallwart.pages.site import Ask, Page, Route
from stallwart.review.looking import Looking
from stallwart.review.nearest import Neighbour, with_content
from stallwart.review.policies import Policies
from stallwart.store.claims import held
from stallwart.store.database import reading, store_errors
from stallwart.store.examples import examples_of
from stallwart.store.tasks import read_task


class ExamplesSection:
    """A part of the task page.

    Args:
        policies: the rulebook.
        looking: keeps who looked at what.
        settings: of undo: what can be taken back is no example.
    """

    title = "Tasks"

    def __init__(self, policies: Policies, looking: Looking, settings: Settings):
        self._policies, self._looking = policies, looking
        self._undo_ms = int(settings.review_undo_minutes * 60_000)

    def routes(self) -> Sequence[Route]:
        """The part."""
        return (Route("/tasks/{task_id}/examples/{policy}", "GET", self.examples, JUDGES),)

    def examples(self, ask: Ask) -> Page:
        """Listings that people said break a policy, and some that only looked like it.

        Raises:
            NotFoundError: this person does not have the task, it is blind, or they do not read the policy.
        """
        policy, user = ask.path["policy"], ask.user
        if self._policies.get(policy) is None or (user.skills is not None and policy not in user.skills):
            raise NotFoundError("this is no policy that you read")
        with store_errors("examples cannot be read"), reading(ask.database) as connection:
            task = read_task(connection, ask.path["task_id"])
            mine = {one.task_id for one in held(connection, user, ask.now_ms)}
            if task.task_id not in mine or task.blind:
                raise NotFoundError("this is no task of yours")
            found = examples_of(connection, policy, but=task.listing_id, until_ms=ask.now_ms - self._undo_ms)
            shown = [
                (
                    one.breaks,
                    with_content(
                        connection, Neighbour(one.listing_id, (policy,), 1.0, "", "confirmed"), one.revision
                    ),
                )
                for one in found
            ]
        for _, one in shown:
            if one.decision_id is not None:
                self._looking.note(
                    ask.database, user.user_id, one.listing_id, "examples", ask.now_ms, one.decision_id
                )
        parts = [
            ("Breaks it", [one for breaks, one in shown if breaks]),
            ("Only looks like it", [one for breaks, one in shown if not breaks]),
        ]
        return Page("examples.html", {"parts": parts}, fragment=True)
