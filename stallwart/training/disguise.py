"""A text -> the same text with other words or other spellings: what augmentation does to words.

Each function takes the text and a source of randomness and gives a text back, the same one where it finds
nothing to change. Knows nothing of listings; what is drawn depends on nothing but the generator.
"""

import re
from collections.abc import Callable, Sequence

import numpy as np

from stallwart.content.text import normalise
from stallwart.dataset.wordlist import Wordlist

_WORD = re.compile(r"[^\W\d_]{4,}")  # letters only: sizes, prices and models stay what they are
_KEYBOARD = ("qwertyuiop", "asdfghjkl", "zxcvbnm", "йцукенгшщзхъ", "фывапролджэ", "ячсмитьбю")
_BESIDE = {
    letter: row[max(place - 1, 0) : place] + row[place + 1 : place + 2]
    for row in _KEYBOARD
    for place, letter in enumerate(row)
}
_ALIKE = str.maketrans("aceopxyi", "асеорхуі")  # Latin to Cyrillic letters of the same shape
_DIGITS = dict(zip("oieas", "01345", strict=True))
_SEPARATORS = (".", "-", "_", "*", " ")
_ZERO_WIDTH = "\u200b"

_TYPO_SHARE, _DISGUISED_SHARE, _REPLACED_SHARE = 0.15, 0.3, 0.5  # of the words that could be changed

Change = Callable[[str, np.random.Generator], str]


def noise(text: str, random: np.random.Generator) -> str:
    """Slips of the hand: letters swapped, lost, doubled or struck beside, in some of the longer words."""
    return _some_words(text, random, _TYPO_SHARE, (_swapped, _lost, _doubled, _struck_beside))


def evasion(text: str, random: np.random.Generator) -> str:
    """What hides words from filters: look-alike letters, digits for letters, separators, invisible signs.

    The inverse of `content.text.normalise`: a word is disguised only where normalising undoes it.
    """
    return _some_words(text, random, _DISGUISED_SHARE, (_alike, _digits, _spelled, _invisible), undone=True)


def slang(text: str, random: np.random.Generator, words: Wordlist, both_ways: bool) -> str:
    """Terms replaced by one of their other names and, if `both_ways`, other names by one of their terms.

    Other names are common words in other trades ("snow", "blue"): `both_ways` is for texts that are known
    to speak of what the list is about.
    """
    changed = words.with_slang(text, _REPLACED_SHARE, random)
    # One way a text: or the term put in would be replaced in its turn
    if changed == text and both_ways:
        changed = words.with_terms(text, _REPLACED_SHARE, random)
    return changed


def synonyms(text: str, random: np.random.Generator, words: Wordlist) -> str:
    """Words replaced by others of the same meaning, either way."""
    return slang(text, random, words, both_ways=True)


def _some_words(
    text: str,
    random: np.random.Generator,
    share: float,
    changes: Sequence[Change],
    undone: bool = False,
) -> str:
    def changed(match: re.Match[str]) -> str:
        word = match.group()
        if random.random() >= share:
            return word
        other = changes[int(random.integers(len(changes)))](word, random)
        return word if undone and normalise(other) != normalise(word) else other

    return _WORD.sub(changed, text)


def _inner(word: str, random: np.random.Generator) -> int:
    """A place that is neither the first letter nor the last: the ones that people get right."""
    return int(random.integers(1, len(word) - 1))


def _swapped(word: str, random: np.random.Generator) -> str:
    i = int(random.integers(1, len(word) - 2))
    return word[:i] + word[i + 1] + word[i] + word[i + 2 :]


def _lost(word: str, random: np.random.Generator) -> str:
    i = _inner(word, random)
    return word[:i] + word[i + 1 :]


def _doubled(word: str, random: np.random.Generator) -> str:
    i = _inner(word, random)
    return word[:i] + word[i] + word[i:]


def _struck_beside(word: str, random: np.random.Generator) -> str:
    i = _inner(word, random)
    beside = _BESIDE.get(word[i].lower(), word[i])
    return word[:i] + beside[int(random.integers(len(beside)))] + word[i + 1 :]


def _alike(word: str, random: np.random.Generator) -> str:
    # Not all of them: a word in one script only would be a word of that script
    places = [i for i, letter in enumerate(word) if letter.translate(_ALIKE) != letter]
    chosen = set(random.permutation(places)[: max(1, len(word) // 3)].tolist()) if places else set()
    return "".join(letter.translate(_ALIKE) if i in chosen else letter for i, letter in enumerate(word))


def _digits(word: str, random: np.random.Generator) -> str:
    first = int(random.integers(1, 3))
    return "".join(
        _DIGITS.get(letter, letter) if i % 2 == first % 2 and 0 < i < len(word) - 1 else letter
        for i, letter in enumerate(word)
    )


def _spelled(word: str, random: np.random.Generator) -> str:
    return _SEPARATORS[int(random.integers(len(_SEPARATORS)))].join(word)


def _invisible(word: str, random: np.random.Generator) -> str:
    i = _inner(word, random)
    return word[:i] + _ZERO_WIDTH + word[i:]
