"""Passwords: which ones are taken, and what is kept of them.

What is kept is argon2id (RFC 9106, its second recommended parameters, those for little memory) with the
parameters inside, so that they can be raised later: a password that was hashed with others is hashed again
when its owner signs in. What is asked of a password follows NIST SP 800-63B: long enough, not the name, not
among those that are tried first; no rules about digits and signs.
"""

import threading
import unicodedata

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from stallwart.core.errors import DataError
from stallwart.store.revisions import storable

SHORTEST, LONGEST = 12, 1_000
_FEW = 5  # different characters
_PIECE = 7  # the longest that is looked for again and again
_NAME, _BESIDE = 4, 8  # a name of so many characters or more leaves so many to guess
_PADDED = 24  # from this length on what is around a common word is worth something
# What lists of leaked passwords begin with, without the digits and signs that people put around it
_COMMON = frozenset(
    """
    abc abcdefghijkl admin administrator asdfghjkl asdfghjklzxcvbnm azerty baseball basketball batman
    changeit changeme charlie computer contrasena correcthorsebatterystaple default dragon facebook
    football google guest hello iloveyou iloveyousomuch internet jennifer jessica letmein liverpool
    login manchester marketplace master michael moderator monkey motdepasse mypassword passw password
    passwordpassword passwort princess qazwsx qazwsxedc qazwsxedcrfv qwerty qwertyuiop qwertyuiopasdf
    qwertyuiopasdfghjkl qwertz reviewer root samsung secret secretpassword stallwart starwars sunshine
    superman test testpassword thisisapassword trustno user welcome whatever willkommen zxcvbnm
    zxcvbnmasdfgh
    """.split()  # noqa: SIM905
)
_ROWS = ("01234567890123456789", "abcdefghijklmnopqrstuvwxyz", "qwertyuiopasdfghjklzxcvbnm", "qwertzuiop")


class Passwords:
    """Hashes and verifies passwords; a few at once, since each takes its memory.

    Args:
        time_cost: passes over the memory.
        memory_kib: of one hash, in KiB.
        lanes: of one hash.
        at_once: hashes at work in this process; others wait for their turn.
    """

    def __init__(self, time_cost: int = 3, memory_kib: int = 65_536, lanes: int = 4, at_once: int = 2):
        self._hasher = PasswordHasher(time_cost, memory_kib, lanes)
        self._room = threading.BoundedSemaphore(at_once)
        # What an unknown name is compared with, so that it takes as long as a known one
        self._nobody = self._hasher.hash("nobody has this password")

    def hash(self, password: str) -> str:
        """What is kept of a password."""
        with self._room:
            return self._hasher.hash(_one_form(password))

    def matches(self, kept: str | None, password: str) -> bool:
        """Whether the password is the one that was kept; without a kept one no, after as long a time."""
        with self._room:
            try:
                right = self._hasher.verify(kept or self._nobody, _one_form(password)[:LONGEST])
            except (VerificationError, InvalidHashError):
                return False
        return right and kept is not None

    def outdated(self, kept: str) -> bool:
        """Whether it was hashed with other parameters than these."""
        return self._hasher.check_needs_rehash(kept)


def check_password(password: str, name: str) -> None:
    """Return where a password may be taken for the account of this name.

    Raises:
        DataError: it is too short or too long, holds the name, or is one of those that are tried first.
    """
    form = _one_form(password)
    if len(form) < SHORTEST:
        raise DataError(f"the password has {len(form)} characters, and {SHORTEST} are the least")
    if len(form) > LONGEST:
        raise DataError(f"the password has {len(form):,} characters, and {LONGEST:,} are the most")
    plain = form.casefold()
    key = unicodedata.normalize("NFKC", name).casefold()
    if key and (
        plain.strip("0123456789!?.-_ ") == key
        or (len(key) >= 4 and key in plain and len(plain) - len(key) < 8)
    ):
        raise DataError("the password is the name, or little more; take another one")
    if _guessable(plain):
        raise DataError("the password is among those that are tried first; take several unrelated words")


def _guessable(plain: str) -> bool:
    letters = "".join(one for one in plain if one.isalpha())
    packed = "".join(one for one in plain if one.isalnum())
    return (
        len(set(plain)) < _FEW
        or (letters in _COMMON and len(plain) < _PADDED)
        or packed in _COMMON
        or _repeats(plain)
        or any(packed in row or packed in row[::-1] for row in _ROWS)
        or (not letters and len(plain) < 16)
    )


def _repeats(plain: str) -> bool:
    """Whether it is a short piece again and again, as in "abc123abc123"."""
    sizes = range(1, min(_PIECE, len(plain) // 2) + 1)
    return any((plain[:size] * (len(plain) // size + 1))[: len(plain)] == plain for size in sizes)


def _one_form(password: str) -> str:
    """The same characters however a keyboard composed them; what is no character is U+FFFD."""
    return storable(unicodedata.normalize("NFKC", password)) or ""
