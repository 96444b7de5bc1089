"""Text as written -> the same text without the tricks that hide words from a filter.

The result is an added view for a model and for finding near duplicates, never a replacement: the text as
written stays what people read and what the encoders see first. Knows nothing of listings and languages.

Every step is one pass over the text, so that hostile input costs linear time, and the steps are ordered so
that the result is a fixed point: `normalise(normalise(text)) == normalise(text)`.
"""

import re
import unicodedata
from collections.abc import Iterator

# Marks in a row that Unicode text needs at most; beyond it, sorting them would take quadratic time.
_MAX_MARKS = 6
# Letters of the three scripts that share shapes, after casefolding; other scripts are left as they are.
_LETTER = "[a-z\u00df-\u00f6\u00f8-\u024f\u0370-\u0373\u0376\u0377\u037b-\u03ff\u0430-\u0481\u048a-\u052f]"
_SYMBOL = "[@$!€]"
_SINGLE = f"(?:{_LETTER}|[0-9]|{_SYMBOL})"
_SEPARATOR = r"(?: ?[.\-_*~·•+] ?| )"

_WORD = re.compile(rf"(?:[^\W_]|{_SYMBOL})+")
_LETTERS = re.compile(_LETTER)
_SPELLED = re.compile(rf"(?<![^\W_]){_SINGLE}(?:{_SEPARATOR}{_SINGLE}){{3,}}(?![^\W_])")
_SEPARATORS = re.compile(r"[ .\-_*~·•+]+")
_REPEATED = re.compile(rf"({_LETTER})\1{{2,}}")
_SPACES = re.compile(r"\s+")

# Shapes that people swap, by how a lower or upper case letter looks; to and from the Latin letter.
_CYRILLIC_TO_LATIN = dict(zip("авгеикмнопрстухьіјѕԁԛԝһүѵѡ", "abreukmhonpctyxbijsdqwhyvw", strict=True))
_GREEK_TO_LATIN = dict(zip("αβγεηικμνορτυχω", "abyenikuvoptuxw", strict=True))
_TO_LATIN = str.maketrans({**_CYRILLIC_TO_LATIN, **_GREEK_TO_LATIN})
_LATIN_TO_CYRILLIC = dict(zip("abcehkmnoprtuxy", "авсенкмпоргтиху", strict=True))
_TO_CYRILLIC = str.maketrans(_LATIN_TO_CYRILLIC)

# Latin letters that no decomposition turns into plain ones: strokes, small capitals, phonetic signs.
_PLAIN = dict(zip("øłđħŧıɑɡɩʀɪʏʙɢʜʟɴᴀᴄᴅᴇᴊᴋᴍᴏᴘᴛᴜᴠᴡᴢꜱƒ", "oldhtiagiriybghlnacdejkmoptuvwzsf", strict=True))
for _first in (0x1F130, 0x1F150, 0x1F170):  # squared, negative circled and negative squared capitals
    _PLAIN.update({chr(_first + i): chr(ord("a") + i) for i in range(26)})
_PLAIN_TABLE = str.maketrans(_PLAIN)

# Fillers and joiners that show nothing though their category is not "format".
_INVISIBLE = frozenset(
    "\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0"
    + "".join(map(chr, (*range(0x180B, 0x1810), *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))))
)
_BRAILLE_BLANK = "\u2800"

_LEET = str.maketrans("013457@$!€", "oieastasie")
_CYRILLIC_LEET = str.maketrans("03", "оз")
# One digit or symbol, a number that no number starts like ("00", "01"), or a doubled one ("pu$$y").
_LEET_RUN = re.compile(
    r"(?<=[a-z])(?:[013457@$!€]|0[013457]|([013457@$!€])\1|[@!][013457]|[013457][@!])(?=[a-z])"
)
_CYRILLIC_LEET_RUN = re.compile(r"(?<=[а-яё])[03](?=[а-яё])")
_LEET_EDGES = re.compile(r"^[013457$](?=[a-z])|(?<=[a-z])[013457@$](?=[!]*$)")
_LEADING_SIGN = re.compile(r"^(?:\$|@(?=[a-z]{0,3}[013457$!]))(?=[a-z]{2})|^0(?=[a-z]{2})")
# Sizes, amounts and names that carry digits between letters honestly.
_HONEST = re.compile(
    r"\d+(?:x\d+)+[a-z]*|0(?:mg|ml|gb|mb|kg|km|cm|mm|hz|db)[a-z]?|(?:mp[34]|ps[345]|h2o|co2)[a-z]*"
)


def normalise(text: str) -> str:
    """The text in compatibility form, lower case, with look-alikes, digits for letters and gaps undone.

    - Compatibility forms, invisible and bidirectional signs go; white space becomes one space.
    - Accents on Latin letters go, because they are the cheapest disguise ("cócaïne") and because this view
      is only added to the text that keeps them. й and ё stay: in Cyrillic they are letters of their own.
    - Look-alike letters change only inside words that mix scripts, so that Russian stays Russian.
    - Digits and symbols between letters become letters ("gl0ck"); amounts and names stay ("500mg", "mp3").
    - Words spelled out by four or more single letters are joined ("w.i.c.k.r"; "u.s.a" stays).
    - A letter repeated three times or more stands twice.

    Takes linear time, never raises, and changes nothing when applied again.
    """
    text = _casefolded(text)
    text = _SPACES.sub(" ", text).strip()
    text = _SPELLED.sub(_joined, text)
    text = _WORD.sub(_plain_word, text)
    return _REPEATED.sub(r"\1\1", text)


def _casefolded(text: str) -> str:
    if text.isascii():
        return "".join(char if char.isprintable() or char.isspace() else "" for char in text.lower())
    text = "".join(_bounded_marks(text))
    text = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    text = text.translate(_PLAIN_TABLE)
    return unicodedata.normalize("NFC", "".join(_visible(text)))


def _bounded_marks(text: str) -> Iterator[str]:
    """The characters of `text` that show, at most `_MAX_MARKS` combining marks in a row."""
    marks = 0
    for char in text:
        if char.isascii():
            marks = 0
            yield char
            continue
        marks = marks + 1 if unicodedata.combining(char) else 0
        if marks <= _MAX_MARKS and not _hidden(char):
            yield char


def _hidden(char: str) -> bool:
    return char in _INVISIBLE or unicodedata.category(char) in ("Cf", "Cs")


def _visible(text: str) -> Iterator[str]:
    """Decomposed text without control characters and without the marks on letters that need none."""
    base = ""
    for char in text:
        if char.isascii():
            if char.isprintable() or char.isspace():
                base = char
                yield char
        elif unicodedata.category(char) == "Mn":
            if _keeps(base, char):
                yield char
        elif char == _BRAILLE_BLANK:
            base = " "
            yield " "
        elif not _hidden(char) and unicodedata.category(char) != "Cc":
            base = char
            yield char
        elif char.isspace():
            base = " "
            yield " "


def _keeps(base: str, mark: str) -> bool:
    """Whether a mark belongs to its letter: in most scripts always, in Greek and Cyrillic if it composes."""
    if not base.isalpha() or base < "\u0370" or "\u1e00" <= base < "\u1f00":
        return False
    if base < "\u0530" or "\u1f00" <= base < "\u2000":
        return len(unicodedata.normalize("NFC", base + mark)) == 1
    return True


def _joined(match: re.Match[str]) -> str:
    spelled = match.group()
    together = _SEPARATORS.sub("", spelled)
    letters = len(_LETTERS.findall(together))
    return together if letters >= 3 and 2 * letters > len(together) else spelled


def _plain_word(match: re.Match[str]) -> str:
    word = match.group()
    if word.isascii():
        return word if word.isalpha() else _without_leet(word)
    word = _one_script(word)
    if word.isascii():
        return word if word.isalpha() else _without_leet(word)
    return _CYRILLIC_LEET_RUN.sub(lambda found: found.group().translate(_CYRILLIC_LEET), word)


def _one_script(word: str) -> str:
    """A word that mixes Latin with Greek or Cyrillic letters, in the one script that explains all of it."""
    has_latin = any("a" <= char <= "z" for char in word)
    if not has_latin:
        return word
    latin = word.translate(_TO_LATIN)
    if latin.isascii():
        return latin
    cyrillic = word.translate(_TO_CYRILLIC)
    return cyrillic if not any("a" <= char <= "z" for char in cyrillic) else word


def _without_leet(word: str) -> str:
    if _HONEST.fullmatch(word) or sum(map(str.isalpha, word)) < 2:
        return word
    plain = _LEADING_SIGN.sub(lambda found: found.group().translate(_LEET), word)
    plain = _LEET_RUN.sub(lambda found: found.group().translate(_LEET), plain)
    if plain != word:  # a word caught once is a disguise to its edges: "4dd3rall", "c0ca1n3"
        plain = _LEET_EDGES.sub(lambda found: found.group().translate(_LEET), plain)
    return plain
