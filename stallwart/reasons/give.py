"""Gives statements of reasons: made when first asked for, stored, and the same ever after."""

from collections.abc import Mapping

from sqlalchemy import Engine

from stallwart.core.errors import ConfigError
from stallwart.core.settings import Settings
from stallwart.core.taxonomy import Taxonomy
from stallwart.reasons.facts import Facts, read_facts
from stallwart.reasons.templates import Templates
from stallwart.store.database import reading, store_errors, writing
from stallwart.store.given import Given, give, read_given

_CATEGORY = "STATEMENT_CATEGORY_"
_OTHER = "OTHER_VIOLATION_TC"


class Statements:
    """What gives statements; one for a process, and for any of its threads.

    Args:
        settings: of statements.

    Raises:
        ConfigError: a template does not work, or the categories cannot be read.
    """

    def __init__(self, settings: Settings):
        self.templates = Templates(settings.statement_templates)
        self._categories = _categories(settings.statement_categories)
        self._words: Mapping[str, str] = {
            "market": settings.statement_market,
            "territory": settings.statement_territory,
            "appeal": settings.statement_appeal,
        }
        self._taxonomies: dict[str, Taxonomy | None] = {}

    def give(self, engine: Engine, decision_id: str, now_ms: int, language: str | None = None) -> Given:
        """The statement of a block in a language, or the listing's own; English where there is none in it.

        Args:
            engine: the database.
            decision_id: of the block.
            now_ms: milliseconds since 1970.
            language: as `de`; None for the listing's own.

        Raises:
            NotFoundError: there is no such decision, or it is no block.
            StoreError: the database does not answer; ask again.
        """
        return self.give_with_facts(engine, decision_id, now_ms, language)[0]

    def give_with_facts(
        self, engine: Engine, decision_id: str, now_ms: int, language: str | None = None
    ) -> tuple[Given, Facts]:
        """The statement, and what it rests on; as `give`."""
        with store_errors("the statement cannot be read, ask again"):
            with reading(engine) as connection:
                facts = read_facts(connection, decision_id, self._words, self._taxonomies)
                made = self.templates.render(facts, language)
                given = read_given(connection, decision_id, made.language)
            if given is None:
                with writing(engine) as connection:
                    given = give(
                        connection, decision_id, listing_id=facts.listing_id, language=made.language,
                        template=made.template, text=made.text, now_ms=now_ms,
                    )  # fmt: skip
        return given, facts

    def category(self, policy: str) -> str:
        """The category of the transparency database that a policy falls under."""
        return _CATEGORY + self._categories.get(policy, _OTHER)


def _categories(given: str) -> dict[str, str]:
    found = {}
    for part in filter(None, (one.strip() for one in given.split(","))):
        policy, sign, category = (one.strip() for one in part.partition("="))
        name = category.removeprefix(_CATEGORY)
        if not sign or not policy or not name.replace("_", "").isalnum() or not name.isupper():
            raise ConfigError(
                f"STALLWART_STATEMENT_CATEGORIES: {part!r} is no policy=CATEGORY, as"
                " weapons=UNSAFE_AND_PROHIBITED_PRODUCTS"
            )
        found[policy] = name
    return found
