import itertools
import queue
import threading

import pytest
from fakes import ALLOW, BLOCK, REVIEW, FakeRuntime

from stallwart.core.errors import OverloadedError
from stallwart.core.listing import Listing
from stallwart.serving.engine import Engine
from stallwart.serving.memory import Embeddings


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def made(clock):
    """Makes engines and closes them."""
    engines = []

    def make(runtime, threads=2, max_queue=100, max_bytes=10**6, max_spare=4):
        engine = Engine(runtime, Embeddings(None, 10**6), threads, max_queue, max_bytes, clock, max_spare)
        engines.append((engine, runtime))
        return engine

    yield make
    for engine, runtime in engines:
        runtime.gate.set()
        engine.close(10)


class Answers(queue.Queue):
    """What an engine hands back, in the order it did."""

    def next(self):
        return self.get(timeout=10)


def test_a_listing_comes_back_with_scores_and_ruling(made):
    engine, answers = made(FakeRuntime()), Answers()
    engine.submit(Listing("L1", "a drug"), "none", 200.0, answers.put)
    work = answers.next()
    assert work.scored.ruling.action == BLOCK
    assert work.scored.ruling.policies == ("drugs",)
    assert not work.failed
    assert set(work.seconds) == {"queue", "text", "head"}


def test_what_was_embedded_once_is_not_embedded_again(made):
    runtime = FakeRuntime()
    engine, answers = made(runtime), Answers()
    for price in (1.0, 2.0):
        engine.submit(Listing("L1", "lamp", photos=(b"x",), price=price), "none", 200.0, answers.put)
        work = answers.next()
    assert sorted(runtime.computed) == [b"lamp", b"photox"]
    assert (work.cached, work.computed) == (2, 0)


def test_words_and_photos_of_one_listing_are_embedded_at_the_same_time(made):
    runtime = FakeRuntime()
    runtime.gate.clear()
    engine, answers = made(runtime, threads=2), Answers()
    engine.submit(Listing("L1", "lamp", photos=(b"x",)), "none", 200.0, answers.put)
    for _ in range(2):
        assert runtime.began.acquire(timeout=10)
    runtime.gate.set()
    assert answers.next().scored.ruling.action == ALLOW


def test_a_listing_that_was_begun_is_finished_before_another_is_begun(made):
    runtime = FakeRuntime()
    runtime.gate.clear()
    engine, answers = made(runtime, threads=1), Answers()
    for name in ("first", "second"):
        engine.submit(Listing(name, name, photos=(name.encode(),)), "none", 200.0, answers.put)
    runtime.gate.set()
    assert [answers.next().listing.listing_id for _ in range(2)] == ["first", "second"]
    assert runtime.computed == [b"first", b"photofirst", b"second", b"photosecond"]


def test_a_full_queue_refuses_at_once_and_says_when_to_come_back(made):
    runtime = FakeRuntime()
    runtime.gate.clear()
    engine, answers = made(runtime, max_queue=3), Answers()
    for number in range(3):
        engine.submit(Listing(f"L{number}", "lamp"), "none", 200.0, answers.put)
    with pytest.raises(OverloadedError, match="3 listings wait already") as refused:
        engine.submit(Listing("L9", "lamp"), "none", 200.0, answers.put)
    assert refused.value.retry_after_seconds > 0
    runtime.gate.set()
    for _ in range(3):
        assert answers.next().scored
    engine.submit(Listing("L9", "lamp"), "none", 200.0, answers.put)
    assert answers.next().scored


def test_the_queue_is_bounded_in_bytes_too(made):
    runtime = FakeRuntime()
    runtime.gate.clear()
    engine, answers = made(runtime, max_bytes=1_000), Answers()
    engine.submit(Listing("L1", photos=(b"x" * 600,)), "none", 200.0, answers.put)
    with pytest.raises(OverloadedError):
        engine.submit(Listing("L2", photos=(b"y" * 600,)), "none", 200.0, answers.put)


def test_a_listing_that_would_wait_past_its_deadline_is_refused_before_it_waits(made, clock):
    runtime = FakeRuntime()
    engine, answers = made(runtime, threads=1), Answers()
    runtime.gate.clear()
    engine.submit(Listing("slow", "slow"), "none", 1000.0, answers.put)
    assert runtime.began.acquire(timeout=10)
    clock.now += 20.0  # so that one listing is known to take seconds
    runtime.gate.set()
    answers.next()
    runtime.gate.clear()
    engine.submit(Listing("L1", "one"), "none", clock.now + 100, answers.put)
    with pytest.raises(OverloadedError, match="longer than the deadline"):
        engine.submit(Listing("L2", "two"), "none", clock.now + 0.5, answers.put)


def test_work_whose_time_is_over_is_dropped_before_it_is_done(made, clock):
    runtime = FakeRuntime()
    runtime.gate.clear()
    engine, answers = made(runtime, threads=1), Answers()
    engine.submit(Listing("L1", "one"), "none", 200.0, answers.put)
    assert runtime.began.acquire(timeout=10)
    engine.submit(Listing("L2", "two"), "none", 200.0, answers.put)
    clock.now = 201.0
    runtime.gate.set()
    assert answers.next().listing.listing_id == "L1"
    late = answers.next()
    assert late.scored is None
    assert "deadline" in late.failed
    assert b"two" not in runtime.computed


def test_photos_are_given_up_before_the_answer_is(made, clock):
    runtime = FakeRuntime()
    runtime.gate.clear()
    engine, answers = made(runtime, threads=1), Answers()
    engine.submit(Listing("L1", "lamp", photos=(b"x",)), "none", 110.0, answers.put)
    assert runtime.began.acquire(timeout=10)
    clock.now = 109.0
    runtime.gate.set()
    work = answers.next()
    assert work.scored.ruling.action == REVIEW
    assert "not looked at within the deadline" in work.scored.ruling.reason
    assert b"photox" not in runtime.computed


def test_a_graph_that_breaks_fails_its_listing_and_no_other(made):
    runtime = FakeRuntime(raises=True)
    engine, answers = made(runtime), Answers()
    engine.submit(Listing("L1", "lamp", photos=(b"x",)), "none", 200.0, answers.put)
    work = answers.next()
    assert work.scored is None
    assert work.failed == "the model failed (RuntimeError)"
    runtime.raises = False
    engine.submit(Listing("L2", "lamp"), "none", 200.0, answers.put)
    assert answers.next().scored.ruling.action == ALLOW
    assert engine.pending == 0


def test_evidence_that_breaks_takes_no_score_away(made):
    class NoEvidence(FakeRuntime):
        def evidence(self, *_):
            raise ValueError("no evidence")

    engine, answers = made(NoEvidence()), Answers()
    engine.submit(Listing("L1", "a drug"), "words", 200.0, answers.put)
    work = answers.next()
    assert work.scored.ruling.action == BLOCK
    assert work.found is None
    assert not work.failed


def test_a_listing_is_finished_with_the_runtime_that_took_it(made):
    old, new = FakeRuntime(digest="old"), FakeRuntime(digest="new")
    old.gate.clear()
    engine, answers = made(old, threads=1), Answers()
    engine.submit(Listing("L1", "one"), "none", 200.0, answers.put)
    assert old.began.acquire(timeout=10)
    engine.use(new)
    engine.submit(Listing("L2", "two"), "none", 200.0, answers.put)
    old.gate.set()
    assert [answers.next().runtime.digest for _ in range(2)] == ["old", "new"]


def test_closing_finishes_what_was_taken_and_takes_no_more(made):
    runtime = FakeRuntime()
    runtime.gate.clear()
    engine, answers = made(runtime, threads=2, max_queue=10**6), Answers()
    for number in range(5):
        engine.submit(Listing(f"L{number}", f"lamp {number}"), "none", 200.0, answers.put)
    closing = threading.Thread(target=engine.close, args=(20,))
    closing.start()

    def submit_until_refused():  # the other thread closes it at some moment
        for number in itertools.count(5):
            engine.submit(Listing(f"L{number}", "late"), "none", 200.0, answers.put)

    with pytest.raises(OverloadedError, match="stopping"):
        submit_until_refused()
    runtime.gate.set()
    closing.join(20)
    assert not closing.is_alive()
    done = {answers.next().listing.listing_id for _ in range(answers.qsize())}
    assert {f"L{number}" for number in range(5)} <= done


def test_what_decides_nothing_waits_for_all_that_does(made):
    runtime, answers = FakeRuntime(), Answers()
    engine = made(runtime, threads=1)
    runtime.gate.clear()
    engine.submit(Listing("L1", "lamp one"), "none", 200.0, answers.put)
    assert runtime.began.acquire(timeout=10)
    assert engine.submit_spare(Listing("S1", "lamp two"), FakeRuntime(), answers.put)
    engine.submit(Listing("L2", "lamp three"), "none", 200.0, answers.put)
    runtime.gate.set()
    assert [answers.next().listing.listing_id for _ in range(3)] == ["L1", "L2", "S1"]


def test_what_decides_nothing_is_dropped_first_and_takes_no_room(made):
    runtime, answers = FakeRuntime(), Answers()
    engine = made(runtime, threads=1, max_queue=2, max_spare=3)
    runtime.gate.clear()
    engine.submit(Listing("L1", "lamp"), "none", 200.0, answers.put)
    assert runtime.began.acquire(timeout=10)
    taken = [engine.submit_spare(Listing(f"S{n}", f"vase {n}"), FakeRuntime(), answers.put) for n in range(5)]
    assert taken == [True, True, True, False, False]
    assert engine.pending == 1
    engine.submit(Listing("L2", "lamp"), "none", 200.0, answers.put)  # room for what decides
    runtime.gate.set()
    assert sorted(answers.next().listing.listing_id for _ in range(5)) == ["L1", "L2", "S0", "S1", "S2"]


def test_what_decides_nothing_uses_what_was_embedded_and_says_what_it_cost(made):
    runtime, other, answers = FakeRuntime(), FakeRuntime(digest="e" * 64), Answers()
    engine = made(runtime, threads=1)
    engine.submit(Listing("L1", "lamp"), "none", 200.0, answers.put)
    assert not answers.next().cached
    engine.submit_spare(Listing("L1", "lamp"), other, answers.put)
    work = answers.next()
    assert (work.cached, work.computed, other.computed) == (1, 0, [])
    assert work.runtime is other
    assert work.cpu_seconds > 0


def test_a_spare_listing_that_the_model_fails_on_is_handed_back_as_failed(made):
    answers = Answers()
    engine = made(FakeRuntime(), threads=1)
    engine.submit_spare(Listing("S1", "lamp"), FakeRuntime(raises=True), answers.put)
    assert "failed" in answers.next().failed
    assert engine.pending == 0
