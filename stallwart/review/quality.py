"""Label quality, for leads: agreement, gold, drift, open disagreements; and what is gold."""

from collections.abc import Sequence

from stallwart.core.errors import DataError, NotFoundError
from stallwart.pages.roles import LEADS
from stallwart.pages.site import Answer, Ask, Page, Route
from stallwart.review.quality_board import DAYS, LATELY_DAYS, QualityBoard
from stallwart.store.database import reading, writing
from stallwart.store.decisions import read_decision
from stallwart.store.gold import add_gold, list_gold, retire_gold
from stallwart.store.labels import NEUTRAL
from stallwart.store.verdicts import Answer as Said

_MOST = 200  # lines of one form
_SHOWN = 50


class QualitySection:
    """The page of label quality.

    Args:
        board: where it is worked out.
    """

    title = "Queue"

    def __init__(self, board: QualityBoard):
        self._board = board

    def routes(self) -> Sequence[Route]:
        """Quality, and gold that is added and retired."""
        return (
            Route("/quality", "GET", self.quality, LEADS, nav="Label quality"),
            Route("/quality/gold", "POST", self.add, LEADS),
            Route("/quality/gold/retire", "POST", self.retire, LEADS),
        )

    def quality(self, ask: Ask) -> Page:
        """Agreement, gold, drift and open disagreements, and the newest gold."""
        with reading(ask.database) as connection:
            gold = list_gold(connection, _SHOWN)
        context = {
            "told": self._board.latest, "gold": gold, "n_days": DAYS, "n_lately": LATELY_DAYS,
            "n_shown": _SHOWN,
        }  # fmt: skip
        return Page("quality.html", context)

    def add(self, ask: Ask) -> Answer:
        """Make the decisions of a list gold; all of them or none.

        Raises:
            DataError: a line cannot be read, or no reason is given.
            NotFoundError: there is no such decision.
            ConflictError: one is gold already.
        """
        lines = [line.split() for line in ask.form.get("lines").splitlines() if line.strip()]
        if not lines or len(lines) > _MOST:
            raise DataError(f"give 1 to {_MOST} lines, each a decision's id and its answer")
        with writing(ask.database) as connection:
            for place, words in enumerate(lines, 1):
                if len(words) != 2:
                    raise DataError(
                        f"line {place}: needs a decision's id and its answer, {NEUTRAL} or policies"
                        " with ; between"
                    )
                decision = read_decision(connection, words[0])
                if decision is None:
                    raise NotFoundError(f"line {place}: there is no decision {words[0][:64]!r}")
                add_gold(
                    connection, words[0], _answers(words[1], set(decision.thresholds), place),
                    who=ask.user.name, why=_why(ask), now_ms=ask.now_ms,
                )  # fmt: skip
        return Answer.redirect("/quality", said=f"{len(lines)} decisions are gold now.")

    def retire(self, ask: Ask) -> Answer:
        """Ask nobody about a decision any more.

        Raises:
            NotFoundError: it is not gold.
            DataError: no reason is given.
        """
        with writing(ask.database) as connection:
            retire_gold(
                connection, ask.form.get("decision"), who=ask.user.name, why=_why(ask), now_ms=ask.now_ms
            )
        return Answer.redirect("/quality", said="It is gold no longer; what was said of it stays.")


def _why(ask: Ask) -> str:
    why = ask.form.get("why").strip()
    if not why:
        raise DataError("say why; it is written to the audit log")
    return why


def _answers(text: str, known: set[str], place: int) -> dict[str, Said]:
    broken = set() if text == NEUTRAL else set(filter(None, text.split(";")))
    if not broken <= known:
        names = ", ".join(sorted(known))
        raise DataError(
            f"line {place}: {text[:64]!r} is neither {NEUTRAL} nor policies of it, which are: {names}"
        )
    return {policy: Said.YES if policy in broken else Said.NO for policy in sorted(known)}
