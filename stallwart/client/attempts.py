"""When to send, when to pause, when to give up: one generator that both clients act out.

It yields what is to be done, a `Send` or a pause in seconds, and is sent what came of it. It touches no
network and no clock but the one that it is given, so that every course of events can be tested at once.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from itertools import count
from typing import Any

from stallwart.client.calls import Answer, Call, failure
from stallwart.client.errors import NoAnswerError, ServiceError, TryLaterError

_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.1, 5.0
# Of what is left, what the way there and back may need: the service is told to be done before
_WAY_SHARE, _LONGEST_WAY_SECONDS = 0.1, 0.1


@dataclass(frozen=True, slots=True)
class Send:
    """Send the call once.

    Attributes:
        deadline_ms: what the service is told to be done in.
        until: when to stop waiting, on the clock of `Manner`.
    """

    deadline_ms: int
    until: float


@dataclass(frozen=True, slots=True)
class Lost:
    """No answer came: why, in a few words."""

    reason: str


@dataclass(frozen=True, slots=True)
class Manner:
    """How calls are made.

    Attributes:
        deadline_ms: for a call, all its attempts and pauses included.
        retries: attempts after the first.
        clock: seconds, monotonic.
        jitter: uniform in [0, 1).
    """

    deadline_ms: int
    retries: int
    clock: Callable[[], float]
    jitter: Callable[[], float]

    def pause(self, attempt: int, asked: float | None) -> float:
        """Seconds before the next attempt: exponential with full jitter, or a little over what is asked.

        Full jitter draws from the whole of [0, cap] and so spreads callers that failed together
        (Brooker, "Exponential Backoff and Jitter", AWS Architecture Blog, 2015).
        """
        if asked is not None:
            return asked + self.jitter() * _FIRST_PAUSE_SECONDS
        return self.jitter() * min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2.0 ** (attempt - 1))


def attempts(call: Call[Any], manner: Manner) -> Generator[Send | float, Answer | Lost | None, Answer]:
    """Yield what to do next until there is an answer, and return that.

    Only what is safe is tried again: each attempt has the same Idempotency-Key, so that one whose answer was
    lost is answered again, not done again. Nothing is begun that could not end within the deadline.

    Raises:
        ServiceError: the last attempt's error.
    """
    until = manner.clock() + manner.deadline_ms / 1e3
    for attempt in count(1):
        left = until - manner.clock()
        way = min(_WAY_SHARE * left, _LONGEST_WAY_SECONDS)
        got = yield Send(max(1, int((left - way) * 1e3)), until)
        assert got is not None
        err = _lost(call, got, attempt) if isinstance(got, Lost) else failure(call, got)
        if err is None:
            assert isinstance(got, Answer)
            return got
        if attempt > manner.retries or not isinstance(err, NoAnswerError | TryLaterError):
            raise err
        pause = manner.pause(attempt, err.retry_after_seconds)
        if manner.clock() + pause >= until:
            raise err
        yield pause
    raise AssertionError("unreachable")


def _lost(call: Call[Any], lost: Lost, attempt: int) -> ServiceError:
    tried = f"{attempt} attempt{'s' * (attempt > 1)}"
    return NoAnswerError("no_answer", f"no answer after {tried}: {lost.reason}", call.request_id)
