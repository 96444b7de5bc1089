"""Statements as rows of a table, in the words of the EU's transparency database (DSA, Article 24(5)).

The columns that database takes come first, in its own names; `puid` is the decision's id. Ours come after
them: they name the listing and hold the whole statement, and are not for that database.
"""

import json
import re
from collections.abc import Iterator

from sqlalchemy import Engine

from stallwart.core.errors import NotFoundError
from stallwart.reasons.facts import Facts
from stallwart.reasons.give import Statements
from stallwart.store.database import reading, store_errors
from stallwart.store.given import Given, blocks_after

SENT = (
    "puid", "decision_visibility", "decision_ground", "incompatible_content_ground",
    "incompatible_content_explanation", "category", "content_type", "content_language", "content_date",
    "territorial_scope", "application_date", "decision_facts", "source_type", "automated_detection",
    "automated_decision",
)  # fmt: skip
"""Columns in the names of the transparency database."""
OWN = ("listing_id", "decided_at", "language", "template", "given_at_ms", "sha256", "text")
COLUMNS = (*SENT, *OWN)

_LONGEST_GROUND, _LONGEST_FACTS = 500, 5_000  # characters that the database takes
_COUNTRIES = re.compile(r"[A-Z]{2}(,[A-Z]{2})*")
_FOUND = {
    "model": "It was found by an automated system.",
    "notice": "It was found by a notice.",
    "sweep": "It was found by a person's search.",
    "sample": "It was found in a sample drawn by chance.",
}


def rows(
    engine: Engine, statements: Statements, since_ms: int, until_ms: int, now_ms: int
) -> Iterator[dict[str, str] | None]:
    """A row for each block of a time, the oldest first; None for one of an erased listing.

    Statements that were not given yet are given by this. Read page by page, so that neither memory nor a lock
    grows with their number.

    Args:
        engine: the database.
        statements: gives them.
        since_ms: milliseconds since 1970, of the decision.
        until_ms: first moment after.
        now_ms: milliseconds since 1970.

    Raises:
        StoreError: the database does not answer.
    """
    after = 0
    while True:
        with store_errors("statements cannot be read"), reading(engine) as connection:
            page = blocks_after(connection, after, since_ms, until_ms)
        if not page:
            return
        for seq, decision_id in page:
            after = seq
            try:
                given, facts = statements.give_with_facts(engine, decision_id, now_ms)
            except NotFoundError:  # erased meanwhile
                yield None
                continue
            yield row_of(statements, given, facts)


def row_of(statements: Statements, given: Given, facts: Facts) -> dict[str, str]:
    """A statement by the names in `COLUMNS`; pure."""
    titles = ", ".join(policy.title for policy in facts.policies)
    covers = " ".join(policy.covers for policy in facts.policies if policy.covers)
    scope = facts.territory.replace(" ", "")
    language = (facts.language or "").split("-")[0].upper()
    return {
        "puid": given.decision_id,
        "decision_visibility": json.dumps(["DECISION_VISIBILITY_CONTENT_DISABLED"]),
        "decision_ground": "DECISION_GROUND_INCOMPATIBLE_CONTENT",
        "incompatible_content_ground": titles[:_LONGEST_GROUND],
        "incompatible_content_explanation": (covers or titles)[:_LONGEST_GROUND],
        "category": statements.category(facts.policies[0].id),
        "content_type": json.dumps(["CONTENT_TYPE_PRODUCT"]),
        "content_language": language if re.fullmatch("[A-Z]{2}", language) else "",
        "content_date": (facts.published_at or facts.decided_at)[:10],
        "territorial_scope": json.dumps(scope.split(",")) if _COUNTRIES.fullmatch(scope) else "",
        "application_date": facts.decided_at[:10],
        "decision_facts": decision_facts(facts)[:_LONGEST_FACTS],
        "source_type": "SOURCE_TYPE_OTHER_NOTIFICATION"
        if facts.detection == "notice"
        else "SOURCE_VOLUNTARY",
        "automated_detection": "Yes" if facts.flagged else "No",
        "automated_decision": f"AUTOMATED_DECISION_{'FULLY' if facts.automatic else 'NOT_AUTOMATED'}",
        "listing_id": given.listing_id,
        "decided_at": facts.decided_at,
        "language": given.language,
        "template": given.template,
        "given_at_ms": str(given.given_at_ms),
        "sha256": given.sha256,
        "text": given.text,
    }


def decision_facts(facts: Facts) -> str:
    """Facts and circumstances in English, without anything that names the listing or its seller; pure."""
    content = [
        *(["title"] if facts.has_title else []),
        *(["description"] if facts.has_description else []),
        *([f"{facts.photos} photos"] if facts.photos else []),
    ]
    scores = [f"{one.title}: {one.score}" for one in facts.policies if one.score is not None]
    said = [
        f"The listing falls under: {', '.join(one.title for one in facts.policies)}.",
        f"It is about: {', '.join(content) or 'its content'}.",
        _FOUND[facts.detection],
        _decided(facts),
        *([f"Calibrated probability: {'; '.join(scores)}."] if scores else []),
        *(["It was upheld on appeal."] if facts.upheld else []),
    ]
    return " ".join(said)


def _decided(facts: Facts) -> str:
    if facts.automatic:
        return "The decision was made without a person."
    if not facts.together:
        return "A person looked at it and made the decision."
    shown = "having been shown this one" if facts.looked else "without looking at each of them singly"
    return f"A person made the decision for several listings at once, {shown}."
