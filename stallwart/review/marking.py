"""A listing's text in pieces: which words spoke for a policy, and characters that nobody would see.

Pure. What hides words from readers and filters (zero-width characters, controls, marks that turn the
direction of writing) is shown by name and count instead of doing what it does: it tells of the seller.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from stallwart.content.unseen import pieces_of

_STRENGTHS = 3
_MOST = 12  # marked words: more would mark nothing
_LEAST = 0.05  # log-odds
_FIRST = 4_000  # characters that are shown before somebody asks for the rest


@dataclass(frozen=True, slots=True)
class Piece:
    """A run of a text.

    Attributes:
        text: as it is shown.
        strength: 0 where it is not marked, else 1 to 3, the strongest 3.
        unseen: whether it stands for characters that cannot be seen, which `text` names.
    """

    text: str
    strength: int = 0
    unseen: bool = False


@dataclass(frozen=True, slots=True)
class Marked:
    """A text in pieces: what is shown at once, and the rest of a long one."""

    first: tuple[Piece, ...]
    rest: tuple[Piece, ...]

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to show."""
        return not self.first


@dataclass(frozen=True, slots=True)
class Span:
    """Marked characters of a text."""

    start: int
    end: int
    strength: int


def marked_listing(
    title: str | None, description: str | None, words: Sequence[dict[str, Any]], read: str = ""
) -> tuple[Marked, Marked]:
    """Title and description, with the words that speak for a policy marked.

    Args:
        title: the seller's headline, or None.
        description: the seller's text, or None.
        words: of an explanation: places `start` and `end` in `Listing.text`, and `weight` in log-odds.
        read: words in the photos that the explanation took between the two (`Listing.with_read`).
    """
    head, body = (title or "").strip(), (description or "").strip()
    spans = spans_of(words)
    # As `Listing.text` joins them
    offset = len(head) + 2 if head and body and (head != body or read) else 0
    offset += len(read) + 2 if read else 0
    return _marked(head, spans, 0), _marked(body, spans, offset)


def spans_of(words: Sequence[dict[str, Any]]) -> list[Span]:
    """The words that speak most for a policy, in the order of the text; strength in thirds."""
    speaking = sorted((one for one in words if one["weight"] > _LEAST), key=lambda one: -one["weight"])[
        :_MOST
    ]
    if not speaking:
        return []
    most = speaking[0]["weight"]
    spans = (
        Span(one["start"], one["end"], min(_STRENGTHS, 1 + int(_STRENGTHS * one["weight"] / most)))
        for one in speaking
    )
    return sorted(spans, key=lambda one: one.start)


def _marked(text: str, spans: Iterable[Span], offset: int) -> Marked:
    first: list[Piece] = []
    rest: list[Piece] = []
    for start, end, strength in _runs(len(text), spans, offset):
        for begin, until, into in ((start, min(end, _FIRST), first), (max(start, _FIRST), end, rest)):
            if begin < until:
                into += _visible(text[begin:until], strength)
    return Marked(tuple(first), tuple(rest))


def _runs(length: int, spans: Iterable[Span], offset: int) -> Iterator[tuple[int, int, int]]:
    """All of a text as runs (start, end, strength); spans that are not in it are left out."""
    at = 0
    for one in spans:
        start, end = max(at, one.start - offset), min(length, one.end - offset)
        if start < end:
            if at < start:
                yield at, start, 0
            yield start, end, one.strength
            at = end
    if at < length:
        yield at, length, 0


def _visible(text: str, strength: int) -> Iterator[Piece]:
    for part, hidden in pieces_of(text):
        yield Piece(part, 0 if hidden else strength, unseen=hidden)
