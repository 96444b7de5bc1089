"""The page of novelty: groups unlike the training set, and what a person makes of one."""

import base64
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from stallwart.core.errors import DataError, NotFoundError, StoreError
from stallwart.core.taxonomy import Taxonomy
from stallwart.model.bundle import TAXONOMY
from stallwart.monitoring.lines import Line, chart
from stallwart.monitoring.pages import keep_views, listings_of
from stallwart.monitoring.sketches import photo_place
from stallwart.pages.roles import JUDGES, MEASURERS, OPERATORS
from stallwart.pages.site import Answer, Ask, Page, Route
from stallwart.store.database import reading, writing
from stallwart.store.novelties import (
    Made,
    Novelty,
    act,
    label_members,
    members,
    queue_members,
    read_novelties,
    read_novelty,
)
from stallwart.store.photos import PhotoStore
from stallwart.store.ranking import ranking_of
from stallwart.store.registry import champion, read_bundle_row
from stallwart.store.verdicts import Answer as Said

_WEEK_MS = 7 * 86_400_000
_EXAMPLES = 20
_MOST = 500  # members that one click labels
_ID = re.compile(r"[a-z][a-z0-9_]{0,63}")
_LABELLERS = MEASURERS & JUDGES


class NoveltySection:
    """Groups of listings that are unlike the training set."""

    title = "Monitoring"

    def routes(self) -> Sequence[Route]:
        """The page, one group, and the four things that can be made of it."""
        return (
            Route("/novelty", "GET", self.novelty, MEASURERS, nav="Novelty"),
            Route("/novelty/{novelty_id}", "GET", self.group, MEASURERS),
            Route("/novelty/{novelty_id}/label", "POST", self.label, _LABELLERS),
            Route("/novelty/{novelty_id}/queue", "POST", self.queue, MEASURERS),
            Route("/novelty/{novelty_id}/pass", "POST", self.pass_by, MEASURERS),
            Route("/novelty/{novelty_id}/policy", "POST", self.policy, OPERATORS),
        )

    def novelty(self, ask: Ask) -> Page:
        """All open groups, the largest first, and those that were dealt with."""
        with reading(ask.database) as connection:
            found = read_novelties(connection)
            done = read_novelties(connection, tuple(set(Made) - {Made.OPEN}))
            shown = [
                (one, _growth(one), listings_of(connection, members(connection, one.novelty_id, 4)))
                for one in found
            ]
        for _, _, listings in shown:
            keep_views(ask, listings)
        return Page("novelty.html", {"groups": shown, "done": done})

    def group(self, ask: Ask) -> Page:
        """One group with its most typical members.

        Raises:
            NotFoundError: there is no such group.
        """
        with reading(ask.database) as connection:
            one = read_novelty(connection, ask.path["novelty_id"])
            shown = listings_of(connection, members(connection, one.novelty_id, 12))
            taxonomy = _taxonomy(connection)
        keep_views(ask, shown)
        context = {
            "one": one, "growth": _growth(one), "shown": shown, "most": _MOST,
            "policies": [] if taxonomy is None else taxonomy.policies,
            "may_label": ask.user.role in _LABELLERS, "may_add": ask.user.role in OPERATORS,
        }  # fmt: skip
        return Page("novelty_group.html", context)

    def label(self, ask: Ask) -> Answer:
        """Give all members the same verdict: one policy is broken, or none.

        Raises:
            DataError: nothing was chosen, or a policy that there is not.
            ConflictError: somebody dealt with the group meanwhile.
        """
        chosen = ask.form.get("label")
        with writing(ask.database) as connection:
            taxonomy = _taxonomy(connection)
            ids = () if taxonomy is None else taxonomy.ids
            if chosen not in (*ids, "neutral"):
                raise DataError("choose what the members are: a policy that they break, or nothing; go back")
            answers = {policy: Said.YES if policy == chosen else Said.NO for policy in ids}
            novelty_id = ask.path["novelty_id"]
            mine = members(connection, novelty_id, _MOST)
            act(
                connection, novelty_id, Made.LABELLED, who=ask.user.name,
                detail={"label": chosen, "members": len(mine)}, now_ms=ask.now_ms,
            )  # fmt: skip
            ranking = ranking_of(ask.settings)
            said = label_members(connection, ask.user, mine, answers, ranking, ask.now_ms)
        return Answer.redirect("/novelty", said=f"{said:,} listings were labelled {chosen}.")

    def queue(self, ask: Ask) -> Answer:
        """Ask reviewers about each member.

        Raises:
            ConflictError: somebody dealt with the group meanwhile.
        """
        with writing(ask.database) as connection:
            mine = members(connection, ask.path["novelty_id"], _MOST)
            act(
                connection, ask.path["novelty_id"], Made.QUEUED, who=ask.user.name,
                detail={"members": len(mine)}, now_ms=ask.now_ms,
            )  # fmt: skip
            asked = queue_members(connection, mine, ranking_of(ask.settings), ask.now_ms)
        return Answer.redirect("/novelty", said=f"Reviewers are asked about {asked:,} listings.")

    def pass_by(self, ask: Ask) -> Answer:
        """Say that the group is nothing to act on.

        Raises:
            ConflictError: somebody dealt with the group meanwhile.
        """
        with writing(ask.database) as connection:
            act(
                connection,
                ask.path["novelty_id"],
                Made.PASSED,
                who=ask.user.name,
                detail={},
                now_ms=ask.now_ms,
            )
        return Answer.redirect("/novelty", said="The group is passed by until the next training.")

    def policy(self, ask: Ask) -> Answer:
        """A table for policies.toml, or its examples, for `stallwart policy add`.

        Raises:
            DataError: the id or the title cannot be one.
            NotFoundError: there is no such group.
        """
        name, title = ask.form.get("id").strip(), ask.form.get("title").strip()
        if not _ID.fullmatch(name) or name == "neutral":
            raise DataError("the policy's id is lower case letters, digits and _, as vapes; go back")
        if not 1 <= len(title) <= 200:
            raise DataError("the policy needs a title of 1 to 200 characters; go back")
        with reading(ask.database) as connection:
            one = read_novelty(connection, ask.path["novelty_id"])
            shown = listings_of(connection, members(connection, one.novelty_id, _EXAMPLES), _EXAMPLES)
        keep_views(ask, shown)
        if ask.form.get("what") == "examples":
            photos = PhotoStore(photo_place(ask.settings))
            lines = [json.dumps(_example(listing, photos), ensure_ascii=False) for listing in shown]
            body = "".join(f"{line}\n" for line in lines).encode()
            return Answer.download(body, f"{name}.jsonl", "application/x-ndjson")
        return Answer.download(_table(name, title, one).encode(), f"{name}.toml", "application/toml")


def _growth(one: Novelty) -> Any:
    """Listings by week; a chart."""
    weeks = {int(week): amount for week, amount in one.weeks.items()}
    moments = list(range(min(weeks), max(weeks) + 1))
    lines = [Line("listings a week", [weeks.get(week, 0.0) for week in moments], tone="other")]
    return chart("Growth", [week * _WEEK_MS for week in moments], lines)


def _taxonomy(connection: Connection) -> Taxonomy | None:
    """The champion's policies; None where none decides or its folder is away."""
    digest = champion(connection)
    if digest is None:
        return None
    path = Path(read_bundle_row(connection, digest).place) / TAXONOMY
    return Taxonomy.model_validate_json(path.read_bytes()) if path.is_file() else None


def _table(name: str, title: str, one: Novelty) -> str:
    quoted = json.dumps(title, ensure_ascii=False)
    words = json.dumps(f"Listings that speak of: {', '.join(one.words)}.", ensure_ascii=False)
    return (
        f"# From a group of {one.size} listings that were unlike the training set. Say in `covers` what\n"
        f"# falls under it, and check the share of live listings. Then:\n"
        f"#   stallwart policy add {name}.toml --examples {name}.jsonl\n"
        f"[policies.{name}]\ntitle = {quoted}\ncovers = {words}\nprecision = 0.90\nprevalence = 0.005\n"
    )


def _example(listing: dict[str, Any], photos: PhotoStore) -> dict[str, Any]:
    """A row that `stallwart policy add --examples` reads, with its photos."""
    revision = listing["revision"]
    images = []
    for photo in revision.photos:
        try:
            images.append(base64.b64encode(photos.get(photo)).decode())
        except (NotFoundError, StoreError):  # its words still are an example
            continue
    return {
        "listing_id": revision.listing_id,
        "title": revision.title,
        "description": revision.description,
        "images": images,
    }
