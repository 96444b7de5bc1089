"""Listings in, scores out: a bounded queue and a few threads that take what is queued, without waiting.

Each listing is taken apart into its words and its photos, and every thread takes the next part: one listing
uses all cores when it is alone, and many share them. A graph runs one row a call, so that no score depends
on what it was batched with, and nothing is padded (docs/decisions/0003). Work whose time is over is
dropped before it is done, and photos are given up before the answer is. What decides nothing (a challenger in
shadow, the other model's word on an audited listing) is spare work: taken only where nothing else waits, and
dropped first. Knows nothing of HTTP and tables.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from stallwart.content.photo import PhotoError
from stallwart.core.errors import OverloadedError
from stallwart.core.listing import Listing
from stallwart.encoders.embed import Embedded, Parts
from stallwart.encoders.graphs import Embedding
from stallwart.model.runtime import ScoredListing
from stallwart.serving.known import Compared
from stallwart.serving.memory import Embeddings
from stallwart.serving.runtime import Runtime
from stallwart.serving.schemas import Evidence

# Of a listing's time, what words, heads and the commit may still need after its photos
_PHOTOS_GIVEN_UP_AT = 0.8
_DONE_BY = 0.6  # share of its time by which a listing must be expected to be through, or it is not taken
_NICER = 5  # steps of priority that the threads which score give way to the one that answers
_SMOOTHING = 0.1  # of the running mean cost of a listing


@dataclass
class Work:
    """One listing on its way.

    Attributes:
        listing: what to score.
        evidence: how much of it.
        taken_at: when it was queued, in seconds of the engine's clock.
        deadline: until when the answer is wanted, on the same clock.
        runtime: what scores it; fixed when it is taken, whatever is loaded meanwhile.
        on_done: called once, on a thread of the engine.
        scored: scores and ruling, once there.
        found: evidence, once there.
        failed: why there are no scores; "" where there are.
        seconds: by stage: queue, text, photo, head, evidence; for the metrics.
        cpu_seconds: of the threads that worked on it.
        done_at: when it was done with, in seconds of the engine's clock; 0 before.
        spare: it decides nothing, and waits for all that does.
        cached: embeddings that were known.
        computed: embeddings that were not.
        compared: with what is known to be bad; None where nothing is compared.
    """

    listing: Listing
    evidence: Evidence
    taken_at: float
    deadline: float
    runtime: Runtime
    on_done: Callable[[Work], None]
    scored: ScoredListing | None = None
    found: dict[str, Any] | None = None
    failed: str = ""
    seconds: dict[str, float] = field(default_factory=dict)
    cpu_seconds: float = 0.0
    done_at: float = 0.0
    spare: bool = False
    cached: int = 0
    computed: int = 0
    compared: Compared | None = None
    _parts: Parts | None = None
    _made: dict[bytes, Embedding | PhotoError] = field(default_factory=dict)
    _left: int = 0

    @property
    def size_bytes(self) -> int:
        """What its photos and words hold."""
        return sum(map(len, self.listing.photos)) + len(self.listing.text)


class Engine:
    """A runtime behind a bounded queue.

    Args:
        runtime: what scores; `use` puts another in its place.
        embeddings: what is known already.
        threads: that work; one core each.
        max_queue: listings that may wait.
        max_bytes: of their photos and words together.
        clock: seconds, monotonic.
        max_spare: listings that may wait and decide nothing; their photos and words take at most `max_bytes`.
        compare: compares each listing that is decided about with what is known to be bad; None compares none.
    """

    def __init__(
        self,
        runtime: Runtime,
        embeddings: Embeddings,
        threads: int,
        max_queue: int,
        max_bytes: int,
        clock: Callable[[], float],
        max_spare: int = 0,
        compare: Callable[[Embedded, Runtime], Compared] | None = None,
    ):
        self.runtime, self.embeddings = runtime, embeddings
        self._compare = compare
        self._threads, self._max_queue, self._max_bytes, self._clock = threads, max_queue, max_bytes, clock
        self._new: deque[Work] = deque()
        self._jobs: deque[tuple[Work, bytes]] = deque()
        self._spare: deque[Work] = deque()
        self._spare_jobs: deque[tuple[Work, bytes]] = deque()
        self._max_spare, self._spare_bytes = max_spare, 0
        self._changed = threading.Condition()
        self._pending, self._pending_bytes, self._cost_seconds, self._closed = 0, 0, 0.0, False
        self._workers = [
            threading.Thread(target=self._work, name=f"engine-{number}", daemon=True)
            for number in range(threads)
        ]
        for worker in self._workers:
            worker.start()

    def use(self, runtime: Runtime) -> None:
        """Score with this one from the next listing on; what was taken is finished with the one before."""
        self.runtime = runtime

    @property
    def pending(self) -> int:
        """Listings that were taken and are not done."""
        return self._pending

    def oldest_seconds(self) -> float:
        """How long the oldest listing has waited for a thread; 0 where none waits."""
        with self._changed:
            return self._clock() - self._new[0].taken_at if self._new else 0.0

    def submit(
        self,
        listing: Listing,
        evidence: Evidence,
        deadline: float,
        on_done: Callable[[Work], None],
        runtime: Runtime | None = None,
    ) -> Work:
        """Queue a listing, for the runtime that is used or for another one.

        Raises:
            OverloadedError: the queue is full, or what is before it would take longer than it has.
        """
        work = Work(listing, evidence, self._clock(), deadline, runtime or self.runtime, on_done)
        size_bytes = work.size_bytes
        with self._changed:
            self._check_room(work.taken_at, deadline, size_bytes)
            self._pending += 1
            self._pending_bytes += size_bytes
            self._new.append(work)
            self._changed.notify()
        return work

    def submit_spare(self, listing: Listing, runtime: Runtime, on_done: Callable[[Work], None]) -> bool:
        """Queue a listing that decides nothing; whether there was room for it."""
        work = Work(listing, "none", self._clock(), math.inf, runtime, on_done, spare=True)
        size_bytes = work.size_bytes
        with self._changed:
            full = len(self._spare) >= self._max_spare or self._spare_bytes + size_bytes > self._max_bytes
            if self._closed or full:
                return False
            self._spare_bytes += size_bytes
            self._spare.append(work)
            self._changed.notify()
        return True

    def check_room(self, deadline: float) -> None:
        """Return where a listing would be taken now; asked before its photos are fetched and kept.

        Raises:
            OverloadedError: as `submit` would.
        """
        with self._changed:
            self._check_room(self._clock(), deadline, 0)

    def _check_room(self, now: float, deadline: float, size_bytes: int) -> None:
        wait = self._pending * self._cost_seconds / self._threads
        if self._closed:
            raise OverloadedError("the service is stopping")
        if self._pending >= self._max_queue or self._pending_bytes + size_bytes > self._max_bytes:
            raise OverloadedError(f"{self._pending} listings wait already", max(wait, 0.1))
        # Better refused now than given up half done: whoever is taken should be through before its photos
        # would be given up
        if self._pending and wait + self._cost_seconds > _DONE_BY * (deadline - now):
            raise OverloadedError(
                f"{self._pending} listings wait already, longer than the deadline allows", max(wait, 0.1)
            )

    def close(self, timeout: float | None = None) -> None:
        """Finish what was taken and decides, take no more."""
        with self._changed:
            self._closed = True
            self._spare.clear()
            self._changed.notify_all()
        for worker in self._workers:
            worker.join(timeout)

    def _work(self) -> None:
        _step_back()
        while True:
            with self._changed:
                while not (self._jobs or self._new or self._spare_jobs or self._spare):
                    if self._closed and not self._pending:
                        return
                    self._changed.wait(0.5 if self._closed else None)
                work, key = self._next()
            began = time.thread_time()
            try:
                self._begin(work, began) if key is None else self._make(work, key, began)
            except Exception as err:  # noqa: BLE001 - no failure of a graph may take a thread with it
                self._fail(work, f"the model failed ({type(err).__name__})")

    def _next(self) -> tuple[Work, bytes | None]:
        """What is done next: a listing that was begun before one that was not, and spare work last."""
        if self._jobs:
            return self._jobs.popleft()
        if self._new:
            return self._new.popleft(), None
        if self._spare_jobs:
            return self._spare_jobs.popleft()
        return self._spare.popleft(), None

    def _begin(self, work: Work, began: float) -> None:
        now = self._clock()
        work.seconds["queue"] = now - work.taken_at
        if now >= work.deadline:
            self._fail(work, "the deadline was over before the listing was looked at")
            return
        parts = work._parts = work.runtime.parts(work.listing)
        work._made.update(self.embeddings.get(list(parts.jobs)))
        missing = [key for key in parts.jobs if key not in work._made]
        work.cached, work.computed, work._left = len(parts.jobs) - len(missing), len(missing), len(missing)
        if not missing:
            self._finish(work, began)
            return
        with self._changed:
            jobs = self._spare_jobs if work.spare else self._jobs
            jobs.extend((work, key) for key in missing[1:])
            self._changed.notify(len(missing) - 1)
        self._make(work, missing[0], began)

    def _make(self, work: Work, key: bytes, began: float) -> None:
        assert work._parts is not None
        started, made, is_text = self._clock(), None, key == work._parts.text_key
        if started < self._photos_until(work) or (is_text and started < work.deadline):
            try:
                made = work._parts.jobs[key]()
            except Exception as err:  # noqa: BLE001 - counted as a failure of this listing alone
                work.failed = f"the model failed ({type(err).__name__})"
            else:
                if not isinstance(made, PhotoError):
                    self.embeddings.put(key, made)
        elif is_text:
            work.failed = "the deadline was over before the words were read"
        else:
            made = PhotoError("was not looked at within the deadline")
        with self._changed:
            stage = "text" if is_text else "photo"
            work.seconds[stage] = work.seconds.get(stage, 0.0) + self._clock() - started
            if made is not None:
                work._made[key] = made
            work._left -= 1
            last = work._left == 0
            if not last:
                work.cpu_seconds += time.thread_time() - began
        if last:
            self._finish(work, began)

    def _photos_until(self, work: Work) -> float:
        if work.spare:
            return math.inf
        return work.taken_at + _PHOTOS_GIVEN_UP_AT * (work.deadline - work.taken_at)

    def _finish(self, work: Work, began: float) -> None:
        assert work._parts is not None
        if not work.failed:
            started = self._clock()
            scored = work.runtime.rule(work._parts, work._made)
            work.seconds["head"] = self._clock() - started
            work.cpu_seconds += (
                time.thread_time() - began
            )  # evidence is the caller's wish, not the model's cost
            work.scored = scored
            if self._compare is not None and not work.spare:
                work.compared = self._compare(scored.embedded, work.runtime)
            if work.evidence != "none":
                started = self._clock()
                work.found = work.runtime.evidence(scored, work.evidence)
                work.seconds["evidence"] = self._clock() - started
        self._done(work)

    def _fail(self, work: Work, reason: str) -> None:
        if work.scored is None:  # evidence that failed takes no score away
            work.failed = reason
        self._done(work)

    def _done(self, work: Work) -> None:
        work.done_at = self._clock()
        with self._changed:
            if work.spare:
                self._spare_bytes -= work.size_bytes
            else:
                self._pending -= 1
                self._pending_bytes -= work.size_bytes
            if (
                work.scored is not None and not work.spare
            ):  # what was dropped on the way says nothing of what a listing costs
                cost = sum(seconds for stage, seconds in work.seconds.items() if stage != "queue")
                self._cost_seconds += _SMOOTHING * (cost - self._cost_seconds)
            if self._closed and not self._pending:
                self._changed.notify_all()
        work.on_done(work)


def _step_back() -> None:
    """Let the thread that answers go first where there are fewer cores than work: refusals must be quick."""
    if sys.platform == "linux":  # where a thread has a priority of its own
        with contextlib.suppress(OSError):
            thread = threading.get_native_id()
            os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + _NICER)
