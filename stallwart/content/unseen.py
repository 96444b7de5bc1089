"""Characters that nobody sees, by name: they are a way around filters, and tell of who wrote them. Pure."""

import unicodedata
from collections.abc import Iterator
from itertools import groupby

_NAMED = {
    0x00AD: "soft hyphen", 0x200B: "zero-width space", 0x200C: "zero-width non-joiner",
    0x2060: "word joiner", 0xFEFF: "zero-width no-break space",
    0x200E: "left-to-right mark", 0x200F: "right-to-left mark", 0x202A: "left-to-right embedding",
    0x202B: "right-to-left embedding", 0x202C: "end of direction", 0x202D: "left-to-right override",
    0x202E: "right-to-left override", 0x2066: "left-to-right isolate", 0x2067: "right-to-left isolate",
    0x2068: "isolate", 0x2069: "end of isolate",
}  # fmt: skip
_JOINER = 0x200D  # letters of several scripts, and emoji, need one of it


def pieces_of(text: str) -> Iterator[tuple[str, bool]]:
    """The text in pieces, each with whether it stands for characters that cannot be seen, which it names."""
    if text.isascii() and text.isprintable():
        yield text, False
        return
    for hidden, run in groupby(text, key=_is_hidden):
        characters = list(run)
        if not hidden or characters == [chr(_JOINER)]:
            yield "".join(characters), False
            continue
        for one, same in groupby(characters):
            count = len(list(same))
            times = f" × {count:,}" if count > 1 else ""
            yield f"{_name(one)}{times}", True


def revealed(text: str) -> str:
    """The text with the names of what cannot be seen, in brackets."""
    return "".join(f"[{piece}]" if hidden else piece for piece, hidden in pieces_of(text))


def _is_hidden(one: str) -> bool:
    # Cf: format characters; Cc: controls; Cs, Co, Cn: halves of pairs, private and unassigned ones
    return one not in "\n\t\r" and unicodedata.category(one)[0] == "C"


def _name(one: str) -> str:
    return _NAMED.get(ord(one)) or unicodedata.name(one, "").lower() or f"U+{ord(one):04X}"
