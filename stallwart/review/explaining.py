"""Evidence ahead of time: open tasks are explained by the bundle that decided, the first ones first.

A decision has evidence where its caller asked for it, which is rare. What is missing is made here, while
nobody waits: words first, since a photo costs as much as 25 words, then photos up to a setting.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from stallwart.core.decision import Decision
from stallwart.core.errors import BundleError, NotFoundError, StallwartError
from stallwart.core.settings import Settings
from stallwart.index.content import listing_with_photos
from stallwart.model.additions import Additions
from stallwart.model.addon import read_addon
from stallwart.model.bundle import Bundle, read_bundle
from stallwart.model.explain import explain_photos, explain_words, likeliest
from stallwart.model.runtime import Scorer
from stallwart.model.shelf import from_shelf
from stallwart.store.claims import open_lanes
from stallwart.store.database import reading, store_errors, writing
from stallwart.store.decisions import read_decision, read_revision
from stallwart.store.explanations import Explained, explains, keep_explanation, unexplained
from stallwart.store.photos import PhotoStore
from stallwart.store.registry import read_bundle_row
from stallwart.store.revisions import Revision
from stallwart.store.rulebooks import addon_row

_LOADED = 2  # bundles at once: the champion and the one before it
_OF_EACH_LANE = 8  # tasks ahead of the reviewers
_WORDS, _NEIGHBOURS = 20, 3


class Explainer:
    """Makes what is missing, a step at a time.

    Args:
        database: tasks and decisions; the registry says where bundles are.
        photos: where photos are.
        settings: how many photos are explained.
        now_ms: milliseconds since 1970.
        bundle: folder of a bundle that the registry need not know; it explains its own decisions only.

    Raises:
        BundleError: there is no bundle in the folder.
    """

    def __init__(
        self,
        database: Engine,
        photos: PhotoStore,
        settings: Settings,
        now_ms: Callable[[], int],
        bundle: Path | None = None,
    ):
        self._database, self._photos, self._now_ms = database, photos, now_ms
        # One thread: it works beside a service, and nobody waits for it
        self._settings = settings.model_copy(update={"threads": 1})
        self._given = read_bundle(bundle) if bundle else None
        self._loaded: OrderedDict[str, Scorer] = OrderedDict()

    def step(self) -> int:
        """How many decisions were explained, or found to be beyond it.

        Raises:
            StoreError: the database or the photo store fails; the next step goes on.
        """
        done = 0
        with store_errors("tasks could not be explained; the next step goes on"):
            with reading(self._database) as connection:
                wanted = unexplained(connection, open_lanes(connection), _OF_EACH_LANE)
            for decision_id, policy in wanted.items():
                done += self._explain(decision_id, policy)
        return done

    def _explain(self, decision_id: str, asked: str | None) -> int:
        with reading(self._database) as connection:
            decision = read_decision(connection, decision_id)
            revision = read_revision(connection, decision.revision) if decision else None
        if decision is None or revision is None or revision.purged_at_ms is not None:
            return 0
        if explains(decision.evidence, asked):
            return self._keep(decision, None, "the decision has its own")
        if decision.scores is None:
            return self._keep(decision, None, "it could not be scored")
        try:
            scorer = self._scorer(decision.bundle)
            policy = asked or next(iter(decision.policies), None)
            if policy is not None and policy not in scorer.policies:
                scorer = self._with_addons(scorer, decision)
        except (BundleError, NotFoundError) as err:
            return self._keep(decision, None, str(err))
        if policy is not None and policy not in scorer.policies:
            return self._keep(
                decision, None, f"none can be shown for {policy}: what decided does not know it"
            )
        return self._made(scorer, decision, revision, policy)

    def _with_addons(self, scorer: Scorer, decision: Decision) -> Scorer:
        """The scorer with the add-ons that the decision names."""
        with reading(self._database) as connection:
            rows = [addon_row(connection, digest) for digest in decision.addons]
        return scorer.with_additions(
            Additions(tuple(read_addon(Path(row.place), row.digest) for row in rows))
        )

    def _made(self, scorer: Scorer, decision: Decision, revision: Revision, policy: str | None) -> int:
        listing = listing_with_photos(revision, self._photos).with_read(decision.read)
        (scored,) = scorer.score([listing])
        if scored.scores is None:
            return self._keep(decision, None, "it could not be scored again")
        policy = policy or likeliest(scorer, scored)
        words = [
            {"start": word.start, "end": word.end, "weight": round(word.weight, 4)}
            for word in explain_words(scorer, scored, policy)[:_WORDS]
        ]
        near = scorer.bundle.known.nearest(
            scored.embedded.text, scored.embedded.photos, _NEIGHBOURS, listing.listing_id
        )
        evidence: dict[str, Any] = {
            "policy": policy,
            "words": words,
            "regions": [],
            "nearest": [asdict(one) for one in near],
        }
        self._keep(decision, evidence, None)
        most = self._settings.review_explain_photos
        if most and listing.photos:
            regions = explain_photos(scorer, scored, policy, most)
            evidence["regions"] = [{**asdict(one), "patches": one.patches.tolist()} for one in regions]
            self._keep(decision, evidence, None)
        return 1

    def _keep(self, decision: Decision, evidence: dict[str, Any] | None, failed: str | None) -> int:
        made = Explained(
            decision_id=decision.decision_id,
            revision=decision.revision,
            bundle=decision.bundle,
            evidence=evidence,
            failed=failed,
            made_at_ms=self._now_ms(),
        )
        with writing(self._database) as connection:
            # Retention may have emptied the content meanwhile: nothing may be kept of it then
            revision = read_revision(connection, decision.revision)
            if revision is None or revision.purged_at_ms is not None:
                return 0
            keep_explanation(connection, made)
        return 1

    def _scorer(self, digest: str) -> Scorer:
        if digest in self._loaded:
            self._loaded.move_to_end(digest)
            return self._loaded[digest]
        scorer = Scorer(self._bundle(digest), self._settings)
        self._loaded[digest] = scorer
        while len(self._loaded) > _LOADED:
            self._loaded.popitem(last=False)
        return scorer

    def _bundle(self, digest: str) -> Bundle:
        if self._given is not None and self._given.digest == digest:
            return self._given
        with reading(self._database) as connection:
            place = read_bundle_row(connection, digest).place
        try:
            return from_shelf(Path(place), digest)
        except StallwartError as err:
            raise BundleError(f"the bundle that decided cannot be loaded ({err})") from None
