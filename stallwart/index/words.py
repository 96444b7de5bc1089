"""What a person types to find words -> a query that both databases take; and the words that are kept. Pure.

Every text is a query, and nothing in it is an operator of a database. What is no word counts for nothing, so
who acts on all that a query finds asks `unread` first: a query of which a part counts for nothing finds more.

    brass lamp        both words, anywhere
    "brass lamp"      side by side
    lamp*             words that begin so
    -oak              without this word
"""

import re
import unicodedata
from dataclasses import dataclass

from stallwart.content.text import normalise

_MOST_CHARS = 20_000  # of a listing's words; PostgreSQL takes a megabyte
_MOST_WORDS = 16_000  # PostgreSQL numbers no more
_MOST_TYPED, _MOST_TERMS, _MOST_IN_TERM, _LONGEST = 1_000, 12, 8, 60
_JOINS = frozenset("&+-/|,.;:!?()'\"–—…")  # between words, and meant as no word
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
    terms = [
        Term(words[:_MOST_IN_TERM], begins=plain.endswith("*"), without=bool(minus))
        for minus, quoted, plain, words in _pieces(text[:_MOST_TYPED])
        if words
    ][:_MOST_TERMS]
    return tuple(terms) if any(not term.without for term in terms) else ()


def unread(text: str) -> str:
    """Why a query would find more than its writer asked for; empty where it would not.

    A sign that joins words, as in "salt & pepper", is no reason.
    """
    if not text.strip():
        return ""
    pieces = _pieces(text[:_MOST_TYPED])
    signs = [char for char in text if unicodedata.category(char) == "So" and not words_of(char)]
    lost = [quoted or plain for _, quoted, plain, words in pieces if not words and set(plain) - _JOINS]
    if wordless := signs or lost or ([] if any(words for *_, words in pieces) else [text.strip()]):
        return f"there is nothing to search for in {' '.join(dict.fromkeys(wordless))}: write words"
    if all(minus for minus, *_, words in pieces if words):
        return "this only says what must not be there; add a word that must"
    most = max(len(words) for *_, words in pieces)
    if len(text) > _MOST_TYPED or len(pieces) > _MOST_TERMS or most > _MOST_IN_TERM:
        return f"at most {_MOST_TERMS} words can be asked for, and {_MOST_IN_TERM} side by side"
    return ""


def _pieces(text: str) -> list[tuple[str, str, str, tuple[str, ...]]]:
    """Of each piece that was typed: its minus, what is between its quotes, or what it is; and its words."""
    return [
        (minus, quoted, plain, tuple(words_of(quoted or plain)))
        for minus, quoted, plain in _TERM.findall(text)
    ]


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


def taken_apart(terms: tuple[Term, ...]) -> tuple[Term, ...]:
    """Each word that must be there as a term of its own: what a query finds, these find, and maybe more."""
    return tuple(
        Term((word,), begins=term.begins and place == len(term.words) - 1)
        for term in terms
        if not term.without
        for place, word in enumerate(term.words)
    )


def as_vector(words: list[str]) -> str:
    """Words as the text of a tsvector: each with its places, so that no parser of the database has a say."""
    places: dict[str, list[int]] = {}
    for place, word in enumerate(words, 1):
        kept = places.setdefault(word, [])
        if len(kept) < _SAME_WORD:
            kept.append(place)
    return " ".join(f"'{word}':{','.join(map(str, at))}" for word, at in places.items())
