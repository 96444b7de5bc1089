"""One listing -> one stored decision: photos, a look for an earlier answer, scores, ruling, commit.

What cannot be scored is ruled `review` and says why; what cannot be stored is no answer. Knows nothing of
HTTP: errors of `core/errors.py` go up.
"""

import asyncio
import contextlib
import itertools
import secrets
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, TypeVar

from prometheus_client import Counter

from stallwart.content.photo import PhotoError
from stallwart.core.decision import RULINGS, Action, Cause, Decision
from stallwart.core.errors import ConflictError, ErasedError, OverloadedError, StallwartError, StoreError
from stallwart.core.listing import Listing
from stallwart.core.settings import Settings
from stallwart.decide.decide import Ruling
from stallwart.decide.known import uncompared, with_known
from stallwart.serving.commit import Committer
from stallwart.serving.engine import Engine, Work
from stallwart.serving.fetch import PhotoFetcher
from stallwart.serving.metrics import Metrics
from stallwart.serving.rollouts.arms import Arms, Route
from stallwart.serving.rollouts.shadow import Shadow
from stallwart.serving.sampling import Sampling
from stallwart.serving.schemas import ListingIn, Options, PhotoIn
from stallwart.serving.source import PhotoSource
from stallwart.store.candidates import Candidate
from stallwart.store.decisions import Conflict, Draft, Revision, revision_of
from stallwart.store.exposures import Exposure
from stallwart.store.known import Match
from stallwart.store.photos import PhotoStore
from stallwart.store.revisions import listing_of, storable

_FETCH_UNTIL = 0.6  # share of a listing's time after which a photo is no longer waited for
_COMMIT_RESERVE = 0.05  # share of a listing's time that is kept for storing the answer
# Storing gets as much even where a deadline leaves less: else what missed a short one is never a review
_STORE_SECONDS = 0.25
_OVERLOADED = "overloaded"
_DAY_MS = 86_400_000
_STRICTNESS = (Action.ALLOW, Action.REVIEW, Action.BLOCK)
_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class Tools:
    """What a service works with.

    Attributes:
        engine: scores.
        arms: which runtime decides.
        shadow: what the other one says.
        committer: stores decisions, many in one transaction.
        photos: keeps photos by their hash.
        fetcher: gets photos by URL.
        source: gets photos by path.
        metrics: counts.
        now_ms: milliseconds since 1970, UTC.
        clock: seconds, monotonic; the engine's.
        sampling: decides what is drawn for the audit.
        erased: whether a listing of this id, or its seller, was erased.
    """

    engine: Engine
    arms: Arms
    shadow: Shadow
    committer: Committer
    photos: PhotoStore
    fetcher: PhotoFetcher
    source: PhotoSource
    metrics: Metrics
    now_ms: Callable[[], int]
    clock: Callable[[], float]
    sampling: Sampling
    erased: Callable[[str, str | None], bool] = lambda _listing, _seller: False


class Service:
    """Decides about listings.

    Args:
        tools: what it works with.
        settings: limits.
    """

    def __init__(self, tools: Tools, settings: Settings):
        self.tools, self.settings = tools, settings
        self._disk = ThreadPoolExecutor(4, "photos")
        self._done: deque[asyncio.Future[None]] = deque()
        self._woken = False
        # Asking the system for randomness for each id would give the interpreter's lock away each time
        self._process, self._numbers = secrets.token_hex(6), itertools.count()
        self._counters: dict[tuple[str, str, str], Counter] = {}

    async def decide(
        self, asked: ListingIn, options: Options, deadline: float, request_key: str | None = None
    ) -> Decision:
        """The decision on one listing, stored.

        Args:
            asked: the listing.
            options: how much is wanted.
            deadline: on the clock of `tools`.
            request_key: names this request among all; a repeat is answered with the first decision.

        Raises:
            StoreError: it could not be stored in time, so there is no answer.
            ConflictError: `request_key` was used for another revision.
            OverloadedError: no room or no time, and the caller wants to hear that.
            ErasedError: the listing or its seller was erased.
        """
        if options.on_failure == "error":
            self.check_room(deadline)  # before anything is fetched, looked up or written
        if self.tools.erased(asked.listing_id, asked.seller_id):
            raise ErasedError(
                "the listing or its seller was erased, and nothing of it is kept; give it another id, or see:"
                " stallwart erase lift"
            )
        stages, started = self.tools.metrics.stages, self.tools.clock()
        listing, digests = await self._with_photos(asked, deadline)
        revision = revision_of(listing, digests, asked.revision)
        looked = self.tools.clock()
        if asked.photos:
            stages["photos"].observe(looked - started)
        # A rescan too: of what a person ruled about the same content, the ruling is the answer
        found = self.tools.committer.find(request_key, revision.revision, rescan=options.rescan)
        known = await self._in_time(found, deadline)
        stages["find"].observe(self.tools.clock() - looked)
        if known is not None:
            self.tools.metrics.repeats.inc()
            return _told(known)
        kept = self._keep(listing.photos, digests)
        route = self.tools.arms.route(listing)
        work = await self._scored(listing, options, deadline, route)
        stored_from = self.tools.clock()
        if kept:  # a decision never names a photo that is not kept
            await self._in_time(asyncio.gather(*kept), deadline)
        draft = self._draft(work, revision, route, request_key, options.rescan)
        decision = _told(await self._in_time(self.tools.committer.commit(draft), deadline))
        stages["commit"].observe(self.tools.clock() - stored_from)
        self._count(work, decision)
        self._compare(route, draft, decision, listing)
        return decision

    async def reread(self, standing: Decision, revision: Revision, words: str, deadline: float) -> Decision:
        """The decision that stands once words were read in a listing's photos.

        They can only make it stricter: a new decision is stored where they call for more than `standing`,
        the listing's last, does. It quotes them in its evidence, counts in no rollout (the listing was
        counted when it came), and never overturns what a person ruled.

        Args:
            standing: the listing's last decision.
            revision: what it was made about.
            words: as they were read.
            deadline: on the clock of `tools`.

        Raises:
            NotFoundError: a photo is not kept any more.
            OverloadedError: no room or no time; nothing changed.
            StoreError: it could not be stored in time.
        """
        if standing.cause in RULINGS or standing.action is Action.BLOCK:
            return standing
        get, loop = self.tools.photos.get, asyncio.get_running_loop()
        photos = await asyncio.gather(
            *(loop.run_in_executor(self._disk, get, digest) for digest in revision.photos)
        )
        words = storable(words) or ""
        listing = listing_of(revision, tuple(photos)).with_read(words)
        route = Route(self.tools.arms.route(listing).runtime)
        work = await self._scored(listing, Options(on_failure="error"), deadline, route)
        if _STRICTNESS.index(_ruled(work)[0].action) <= _STRICTNESS.index(standing.action):
            return standing
        draft = self._draft(work, revision, route, None, rescan=True)
        evidence = {**(draft.decision.evidence or {}), "read": words}
        quoted = draft.decision.model_copy(update={"evidence": evidence})
        asked = replace(draft, decision=quoted, after=standing.decision_id)
        decision = _told(await self._in_time(self.tools.committer.commit(asked), deadline))
        self._count(work, decision)
        return decision

    async def _in_time(self, asked: asyncio.Future[_Answer], deadline: float) -> _Answer:
        """What the store answers, waited for as long as the caller waits."""
        # A timer on the future costs a fifth of asyncio.timeout, and this is on every request's path
        seconds = max(_STORE_SECONDS, deadline - self.tools.clock())
        timer = asyncio.get_running_loop().call_later(seconds, _give_up, asked)
        try:
            return await asked
        finally:
            timer.cancel()

    def close(self) -> None:
        """Let go of the threads that read and write photos."""
        self._disk.shutdown()

    async def _with_photos(self, asked: ListingIn, deadline: float) -> tuple[Listing, tuple[str, ...]]:
        """The listing with the photos that could be had, and their hashes."""
        if not asked.photos:
            return asked.listing((), ()), ()
        limit = self.settings.max_photos
        got = await asyncio.gather(*(self._photo(photo, deadline) for photo in asked.photos[:limit]))
        photos = tuple(photo for photo in got if isinstance(photo, tuple))
        unread = [reason for reason in got if isinstance(reason, str)]
        if len(asked.photos) > limit:
            unread.append(f"{len(asked.photos) - limit} photos are over the limit of {limit}")
        digests = tuple(digest for _, digest in photos)
        return asked.listing(tuple(photo for photo, _ in photos), tuple(unread)), digests

    def _keep(self, photos: tuple[bytes, ...], digests: tuple[str, ...]) -> list[asyncio.Future[str]]:
        """What is being written of the photos while the listing is scored; a photo twice is one file."""
        if not photos:
            return []
        loop, store = asyncio.get_running_loop(), self.tools.photos
        new = {
            digest: photo for digest, photo in zip(digests, photos, strict=True) if not store.known(digest)
        }
        kept = [loop.run_in_executor(self._disk, store.put, photo) for photo in new.values()]
        for one in kept:  # a request that ends before it is stored asks for none of them
            one.add_done_callback(lambda done: done.cancelled() or done.exception())
        return kept

    def check_room(self, deadline: float) -> None:
        """Return where a listing would be taken now.

        Raises:
            OverloadedError: it would not be.
        """
        try:
            self.tools.engine.check_room(deadline)
        except OverloadedError:
            self.tools.metrics.shed.inc()
            raise

    async def _photo(self, photo: PhotoIn, deadline: float) -> tuple[bytes, str] | str:
        """The photo's bytes and hash, or why it could not be had."""
        loop = asyncio.get_running_loop()
        if photo.sha256 is not None:
            try:
                return await loop.run_in_executor(
                    self._disk, self.tools.photos.get, photo.sha256
                ), photo.sha256
            except StallwartError:
                return "a photo is not among those that are kept"
        content = photo.base64
        if photo.path is not None:
            try:
                content = await loop.run_in_executor(self._disk, self.tools.source.read, photo.path)
            except PhotoError as err:
                return f"a photo {err}"
        if photo.url is not None:
            fetched = await self._fetched(photo.url, deadline)
            if isinstance(fetched, str):
                return fetched
            content = fetched
        assert content is not None
        if len(content) > self.settings.max_photo_bytes:
            return f"a photo has {len(content):,} bytes, over the limit of {self.settings.max_photo_bytes:,}"
        return content, sha256(content).hexdigest()

    async def _fetched(self, url: str, deadline: float) -> bytes | str:
        clock = self.tools.clock
        until = clock() + _FETCH_UNTIL * max(0.0, deadline - clock())
        try:
            return await self.tools.fetcher.fetch_photo(url, int(until * 1e3))
        except PhotoError as err:
            return f"a photo {err}"

    async def _scored(self, listing: Listing, options: Options, deadline: float, route: Route) -> Work:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        clock, engine = self.tools.clock, self.tools.engine

        def wake(_: Work) -> None:
            self._wake(loop, done)

        until = deadline - _COMMIT_RESERVE * max(0.0, deadline - clock())
        try:
            work = engine.submit(listing, options.evidence, until, wake, route.runtime)
        except OverloadedError as err:
            self.tools.metrics.shed.inc()
            if options.on_failure == "error":
                raise
            return Work(listing, "none", clock(), until, route.runtime, wake, failed=f"{_OVERLOADED}: {err}")
        timer = loop.call_later(max(0.0, until - clock()), _resolve, done)
        try:
            await done
        finally:
            timer.cancel()
        if work.scored is None and not work.failed:
            work.failed = "the deadline was over before the listing was scored"
        if work.scored is None and options.on_failure == "error":
            if exposure := self._exposure(work, route, ""):
                self.tools.shadow.refused(exposure)
            raise OverloadedError(f"{work.failed}; try again with a longer deadline")
        return work

    def _wake(self, loop: asyncio.AbstractEventLoop, done: asyncio.Future[None]) -> None:
        """From a thread: let a coroutine go on. Many that are done together wake the loop once."""
        self._done.append(done)
        if not self._woken:
            self._woken = True
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(self._resolve_done)

    def _resolve_done(self) -> None:
        self._woken = False  # before the first is taken, so that none is left behind
        while self._done:
            _resolve(self._done.popleft())

    def _draft(
        self, work: Work, revision: Revision, route: Route, request_key: str | None, rescan: bool
    ) -> Draft:
        """What is to be stored: the decision, what audits it, and in a rollout what counts it."""
        ruling, match = _ruled(work)
        decision = self._decision(work, revision, ruling, match)
        exposure = self._exposure(work, route, decision.decision_id)
        at_least = self.settings.rights_share if self._would_block(decision) else 0.0
        draw, kind = self.tools.sampling.drawn(decision, route.plan, exposure, at_least)
        candidates = self._candidates(work, decision)
        return Draft(revision, decision, request_key, rescan, exposure, draw, kind, candidates, match)

    def _would_block(self, decision: Decision) -> bool:
        """Whether a policy that is earning its right would have blocked this."""
        earning, scores = self.tools.arms.now.earning.get(decision.bundle), decision.scores
        if not earning or not scores:
            return False
        return any(scores[policy] >= score for policy, score in earning.items() if policy in scores)

    def _candidates(self, work: Work, decision: Decision) -> tuple[Candidate, ...]:
        """Policies that are tried and would ask about the listing."""
        if work.scored is None or not work.scored.added:
            return ()
        found, decision_id, at_ms = work.scored.added, decision.decision_id, decision.decided_at_ms
        return tuple(
            Candidate(decision_id, addon.policy.id, addon.digest, score, at_ms)
            for addon, score in work.runtime.additions.candidates(found)
        )

    def _exposure(self, work: Work, route: Route, decision_id: str) -> Exposure | None:
        # What was refused for want of room says nothing of either model
        if route.rollout is None or work.failed.startswith(_OVERLOADED):
            return None
        now_ms, ruling = self.tools.now_ms(), work.scored.ruling if work.scored else None
        return Exposure(
            rollout_id=route.rollout.rollout_id,
            step=route.rollout.step,
            unit=route.unit,
            day=now_ms // _DAY_MS,
            arm=route.arm,
            decision_id=decision_id,
            action=ruling.action if ruling else Action.REVIEW,
            policies=ruling.policies if ruling else (),
            failed=bool(work.failed),
            latency_us=int(((work.done_at or self.tools.clock()) - work.taken_at) * 1e6),
            cpu_us=int(work.cpu_seconds * 1e6),
            at_ms=now_ms,
        )

    def _compare(self, route: Route, draft: Draft, decision: Decision, listing: Listing) -> None:
        """Ask the other model too, where it shadows or its rollout audits it; nobody waits for it."""
        if route.rollout is None or route.other is None or draft.exposure is None:
            return
        if decision.decision_id != draft.decision.decision_id:  # another request was first
            return
        self.tools.metrics.exposures.labels(route.arm).inc()
        if route.shadowed or (draft.draw is not None and draft.draw.rollout_id is not None):
            self.tools.shadow.score(listing, decision.decision_id, route.other, route.rollout)

    def _decision(self, work: Work, revision: Revision, ruling: Ruling, match: Match | None) -> Decision:
        """The draft of the decision; its cause and what it supersedes are settled when it is stored."""
        runtime, scored, now_ms = work.runtime, work.scored, self.tools.now_ms()
        return Decision.model_construct(
            decision_id=f"d_{now_ms:012x}{self._process}{next(self._numbers):08x}",
            listing_id=revision.listing_id,
            revision=revision.revision,
            action=ruling.action,
            policies=ruling.policies,
            reason=ruling.reason,
            scores=None if scored is None else scored.by_policy(runtime.policies, runtime.additions),
            thresholds=runtime.thresholds,
            evidence=work.found if match is None else {**(work.found or {}), "known": _said(match)},
            bundle=runtime.digest,
            addons=runtime.additions.digests,
            taxonomy=runtime.taxonomy,
            cause=Cause.NEW,
            supersedes=None,
            decided_at_ms=now_ms,
        )

    def _count(self, work: Work, decision: Decision) -> None:
        metrics = self.tools.metrics
        for stage, seconds in work.seconds.items():
            metrics.stages[stage].observe(seconds)
        if work.computed:
            metrics.computed.inc(work.computed)
        if work.cached:
            metrics.cached.inc(work.cached)
        policy = decision.policies[0] if decision.policies else ""
        key = (decision.action, policy, decision.bundle[:12])
        counter = self._counters.get(key)
        if counter is None:  # looked up once; there are few
            counter = self._counters[key] = metrics.decisions.labels(*key)
        counter.inc()
        if work.failed:
            metrics.failures.labels(work.failed.split(":")[0].split("(")[0].strip()).inc()


def _ruled(work: Work) -> tuple[Ruling, Match | None]:
    """The ruling on a listing, and the known entry that called for it."""
    if work.scored is None:
        return Ruling(Action.REVIEW, (), work.failed), None
    compared = work.compared
    if compared is None:
        return work.scored.ruling, None
    if compared.failed:
        return uncompared(work.scored.ruling), None
    return with_known(work.scored.ruling, compared.near, compared.certified)


def _said(match: Match) -> dict[str, Any]:
    """A known entry as evidence: what it is, how near, and the verdict that is its reason."""
    return {
        "entry": match.entry_id,
        "policy": match.policy,
        "by": match.kind,
        "distance": match.distance,
        "verdict": match.verdict_id,
    }


def _resolve(done: "asyncio.Future[None]") -> None:
    if not done.done():
        done.set_result(None)


def _give_up(asked: asyncio.Future[Any]) -> None:
    if not asked.done():
        asked.set_exception(StoreError("the store did not answer within the deadline; send it again"))


def _told(answer: Decision | Conflict) -> Decision:
    if isinstance(answer, Conflict):
        raise ConflictError(
            "this Idempotency-Key was used for another listing or revision; use a new key for new content"
        )
    return answer
