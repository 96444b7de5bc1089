"""Groups of words that mean the same, slang and synonyms, from a user's own file.

A file is CSV in UTF-8 with a header. The columns `term` and `slang` are read or, where no column has these
names, the last two; each line says that the one can stand for the other:

    term,slang
    cannabis,weed
    cannabis,ganja

Words are compared in lower case. Lines without two different words, or with one of fewer than three or more
than sixty characters, are left out, counted and reported.
"""

import csv
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from stallwart.core.errors import ConfigError
from stallwart.dataset.rejects import Rejects

_SPACES = re.compile(r"\s+")
_SHORTEST, _LONGEST = 3, 60  # characters; "a" and "h" are slang too, and words of every honest text


@dataclass(frozen=True)
class Wordlist:
    """Words and what else they are called, all in lower case.

    Attributes:
        slang: each term's other names, sorted.
        terms: each other name's terms, sorted.
    """

    slang: dict[str, tuple[str, ...]] = field(default_factory=dict)
    terms: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @cached_property
    def find_term(self) -> re.Pattern[str] | None:
        """Finds terms in a text."""
        return _pattern(self.slang)

    @cached_property
    def find_slang(self) -> re.Pattern[str] | None:
        """Finds other names in a text."""
        return _pattern(self.terms)

    def with_slang(self, text: str, share: float, random: np.random.Generator) -> str:
        """The text in which each term, with probability `share`, is replaced by one of its other names."""
        return _replaced(text, self.find_term, self.slang, share, random)

    def with_terms(self, text: str, share: float, random: np.random.Generator) -> str:
        """The text in which each other name, with probability `share`, is replaced by one of its terms."""
        return _replaced(text, self.find_slang, self.terms, share, random)


def read_wordlists(paths: Iterable[Path], rejects: Rejects) -> Wordlist:
    """The pairs of all files as one list; lines that are no pair are added to `rejects`.

    Raises:
        ConfigError: a file cannot be read, or holds no pair at all.
    """
    slang: defaultdict[str, set[str]] = defaultdict(set)
    terms: defaultdict[str, set[str]] = defaultdict(set)
    for path in paths:
        before = sum(map(len, slang.values()))
        for term, other in _pairs(path, rejects):
            slang[term].add(other)
            terms[other].add(term)
        if sum(map(len, slang.values())) == before:
            raise ConfigError(
                f"{path}: holds no pair of words; give a CSV file with a header and the columns term,slang"
            )
    return Wordlist(_sorted(slang), _sorted(terms))


def _pairs(path: Path, rejects: Rejects) -> Iterable[tuple[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            header = [name.strip().lower() for name in next(reader, [])]
            if len(header) < 2:
                raise ConfigError(f"{path}: needs a header of two columns or more, such as term,slang")
            named = "term" in header and "slang" in header
            places = (header.index("term"), header.index("slang")) if named else (-2, -1)
            for line in reader:
                if len(line) != len(header):
                    _reject(rejects, path, reader.line_num, f"{len(line)} columns, not {len(header)}")
                    continue
                first, second = (_SPACES.sub(" ", line[place]).strip().lower() for place in places)
                if first == second or not all(_SHORTEST <= len(one) <= _LONGEST for one in (first, second)):
                    _reject(rejects, path, reader.line_num, "not two words of 3 to 60 characters")
                    continue
                yield first, second
    except (OSError, UnicodeDecodeError, csv.Error) as err:
        raise ConfigError(
            f"{path}: is no list of words that can be read ({err}); give CSV in UTF-8"
        ) from None


def _reject(rejects: Rejects, path: Path, line: int, found: str) -> None:
    # A field, not a row: what is wrong in a list of words must not stop a run over listings
    rejects.add(path.name, line, "field", "line of a word list that is no pair of words", found)


def _replaced(
    text: str,
    find: re.Pattern[str] | None,
    others: dict[str, tuple[str, ...]],
    share: float,
    random: np.random.Generator,
) -> str:
    if find is None:
        return text

    def other(match: re.Match[str]) -> str:
        word = match.group()
        choices = others.get(word.lower(), ())
        if not choices or random.random() >= share:
            return word
        chosen = choices[int(random.integers(len(choices)))]
        return chosen[:1].upper() + chosen[1:] if word[:1].isupper() else chosen

    return find.sub(other, text)


def _sorted(pairs: dict[str, set[str]]) -> dict[str, tuple[str, ...]]:
    return {word: tuple(sorted(others)) for word, others in sorted(pairs.items())}


def _pattern(words: Iterable[str]) -> re.Pattern[str] | None:
    # Longest first: "crystal meth" before "crystal"
    some = sorted(words, key=lambda word: (-len(word), word))
    if not some:
        return None
    return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, some))})(?!\w)", re.IGNORECASE)
