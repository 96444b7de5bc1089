"""How long work tells how far it is, without knowing who watches."""

from collections.abc import Iterable
from typing import Protocol, TypeVar

T = TypeVar("T")


class Track(Protocol):
    """Hands items through and shows how many went by."""

    def __call__(self, items: Iterable[T], what: str, total: int | None = None) -> Iterable[T]:
        """The same items; `what` names the work, `total` says how many there will be, if known."""


def silent(items: Iterable[T], what: str, total: int | None = None) -> Iterable[T]:  # noqa: ARG001
    """The items, untold."""
    return items
