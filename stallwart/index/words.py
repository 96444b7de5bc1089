"""What a person types to find words -> a query that both databases take; and the words that are kept. Pure.

Every text is a query: what is no word counts for nothing, and nothing in it is an operator of a database.

    brass lamp        both words, anywhere
    "brass lamp"      side by side
    lamp*             words that begin so
    -oak              without this word
"""

import re
from dataclasses import dataclass

from stallwart.content.text import normalise

_MOST_CHARS = 20_000  # of a listing's words; PostgreSQL takes a megabyte
_MOST_WORDS = 16_000  # PostgreSQL numbers no more
_MOST_TERMS, _MOST_IN_TERM, _LONGEST = 12, 8, 60
_SAME_WORD = 200  # places of one word that are kept; PostgreSQL takes 256
_TERM = re.compile(r'(-?)(?:"([^"]*)"?|([^\s"]+))')
_WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True, slots=True)
class Term:
    """Words side by side.

    Attributes:
        words: normalised, at least one.
        begins: whether the last one may go on.
        without: whether they must not be there.
    """

    words: tuple[str, ...]
    begins: bool = False
    without: bool = False


def words_of(text: str) -> list[str]:
    """The words of a text as they are kept and asked for: normalised, without signs, the longest cut."""
    return [word[:_LONGEST] for word in _WORD.findall(normalise(text[:_MOST_CHARS]))][:_MOST_WORDS]


def read_query(text: str) -> tuple[Term, ...]:
    """What a person typed, as terms; empty where nothing in it is a word that must be there."""
    terms = []
    for minus, quoted, plain in _TERM.findall(text[:1_000]):
        words = tuple(words_of(quoted or plain)[:_MOST_IN_TERM])
        if words:
            terms.append(Term(words, begins=plain.endswith("*"), without=bool(minus)))
    wanted = tuple(terms[:_MOST_TERMS])
    return wanted if any(not term.without for term in wanted) else ()


def for_sqlite(terms: tuple[Term, ...]) -> str:
    """The query in the language of FTS5."""

    def one(term: Term) -> str:
        return f'"{" ".join(term.words)}"' + (" *" if term.begins else "")

    query = " AND ".join(one(term) for term in terms if not term.without)
    for term in terms:
        if term.without:
            query = f"({query}) NOT {one(term)}"
    return query


def for_postgres(terms: tuple[Term, ...]) -> str:
    """The query as the text of a tsquery."""

    def one(term: Term) -> str:
        quoted = [f"'{word}'" for word in term.words]
        near = " <-> ".join([*quoted[:-1], quoted[-1] + (":*" if term.begins else "")])
        return f"!({near})" if term.without else f"({near})"

    return " & ".join(one(term) for term in terms)


def as_vector(words: list[str]) -> str:
    """Words as the text of a tsvector: each with its places, so that no parser of the database has a say."""
    places: dict[str, list[int]] = {}
    for place, word in enumerate(words, 1):
        kept = places.setdefault(word, [])
        if len(kept) < _SAME_WORD:
            kept.append(place)
    return " ".join(f"'{word}':{','.join(map(str, at))}" for word, at in places.items())
