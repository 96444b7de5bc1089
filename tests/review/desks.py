"""Decisions with words and photos, and tasks about them, as the pages of review meet them."""

import io
import json

import numpy as np
from PIL import Image

from stallwart.core.decision import Action, Cause, Decision
from stallwart.core.listing import Listing
from stallwart.core.settings import Settings
from stallwart.store.database import writing
from stallwart.store.decisions import Draft, write
from stallwart.store.explanations import Explained, keep_explanation
from stallwart.store.photos import PhotoStore
from stallwart.store.revisions import revision_of
from stallwart.store.tasks import Kind, Question, add_tasks
from tests.store.reviewing import RANKING
from tests.store.rolling import NOW

POLICIES = """
[policies.weapons]
title = "Weapons"
covers = "Firearms, ammunition, knives made to hurt. Kitchen knives are fine."
prevalence = 0.02

[policies.tobacco]
title = "Tobacco and vapes"
covers = "Cigarettes, snus, e-liquids, and what looks like them. Empty tins are fine."
prevalence = 0.02

[policies.counterfeit]
title = "Counterfeit goods"
covers = "Copies that carry a brand's name or mark. Example: a bag called 'like Gucci'."
prevalence = 0.03

[policies.alcohol]
title = "Alcohol"
covers = "Drinks of more than 0.5 %. Empty bottles and glasses are fine."
prevalence = 0.02
"""
IDS = ("weapons", "tobacco", "counterfeit", "alcohol")
HOSTILE = "<script>window.hurt = 1</script><img src=x onerror='window.hurt = 1'>"
TRICKS = f"{HOSTILE} \u202egnihtyna\u202c kn\u200bife" + "\u200b" * 500 + " {{ 7 * 7 }} </div></main>"


def photo(number, size=(480, 360)):
    """A picture of a sort: a few soft shapes."""
    chance = np.random.default_rng(number)
    y, x = np.mgrid[0 : size[1], 0 : size[0]]
    pixels = np.full((size[1], size[0], 3), chance.integers(120, 230, 3), dtype=float)
    for _ in range(6):
        centre, radius = chance.uniform(0, 1, 2) * size, chance.uniform(20, 120)
        inside = (x - centre[0]) ** 2 + (y - centre[1]) ** 2 < radius**2
        pixels[inside] = pixels[inside] * 0.3 + chance.integers(0, 255, 3) * 0.7
    kept = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(kept, "JPEG", quality=80)
    return kept.getvalue()


def settings_of(folder, **facts):
    """Settings of a site whose files are in a folder."""
    policies = folder / "policies.toml"
    policies.write_text(POLICIES)
    return Settings(data_dir=folder, review_explain_seconds=0, **facts)


def listed(database, settings, number, *, photos=1, title=None, body=None, seller="s-1", now_ms=NOW, **facts):
    """A decision about a listing of its own; what is in `facts` is the decision's."""
    store = PhotoStore(str(settings.data_dir / "photos"), lambda: NOW)
    digests = tuple(store.put(photo(10 * number + place)) for place in range(photos))
    listing = Listing(
        f"L{number}",
        title=f"Old knife {number} with a brass handle" if title is None else title,
        description=f"A hunting knife, sharp, number {number}. Ships today." if body is None else body,
        seller_id=seller,
        language="en",
        price=12.5,
    )
    revision = revision_of(listing, digests, None)
    given = {
        "decision_id": f"d-{number:06d}",
        "listing_id": listing.listing_id,
        "revision": revision.revision,
        "action": Action.REVIEW,
        "policies": ("weapons",),
        "reason": "weapons is over the score from which a person is asked",
        "scores": {"weapons": 0.62, "tobacco": 0.03, "counterfeit": 0.11, "alcohol": 0.005},
        "thresholds": {one: {"block": 0.9 if one != "alcohol" else None, "review": 0.4} for one in IDS},
        "bundle": "b" * 64,
        "taxonomy": "t" * 64,
        "cause": Cause.NEW,
        "decided_at_ms": now_ms,
        **facts,
    }
    with writing(database) as connection:
        (decision,) = write(connection, [Draft(revision, Decision(**given))], [], now_ms)
    return decision


def asked(database, decision, kind=Kind.REVIEW, now_ms=NOW, **facts):
    """A task about a decision."""
    given = {
        "policy": None
        if kind in (Kind.AUDIT, Kind.GOLD, Kind.SECOND)
        else next(iter(decision.policies), None),
        "language": "en",
        "probability": 0.6,
        "asked_at_ms": now_ms,
        **facts,
    }
    question = Question(kind, decision.decision_id, decision.listing_id, decision.revision, **given)
    with writing(database) as connection:
        assert add_tasks(connection, [question], RANKING, now_ms) == 1


def evidence(database, decision, text="Old knife"):
    """Evidence as the worker keeps it: a word, a region, a neighbour."""
    start = text.index("knife")
    found = {
        "policy": "weapons",
        "words": [{"start": start, "end": start + 5, "weight": 2.0}],
        "regions": [{"photo": 0, "left": 0.2, "top": 0.2, "right": 0.4, "bottom": 0.4, "weight": 0.7}],
        "nearest": [{"listing_id": "M77", "policy": "weapons", "similarity": 0.91, "by": "text"}],
    }
    made = Explained(decision.decision_id, decision.revision, decision.bundle, found, None, NOW)
    with writing(database) as connection:
        keep_explanation(connection, made)


def desk(database, settings, tasks, first=1, **facts):
    """So many tasks, each about a decision of its own."""
    for number in range(first, first + tasks):
        decision = listed(database, settings, number, **facts)
        evidence(database, decision, f"Old knife {number}")
        asked(database, decision)


def told(answer):
    return json.loads(answer.text)
