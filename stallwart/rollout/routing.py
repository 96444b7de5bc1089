"""Which arm decides about a unit: a keyed hash, the same in every process, monotone as the share grows."""

import hashlib

from stallwart.core.rollout import Arm

_BITS = 53  # what a float64 holds exactly


def position(key: str, unit: str) -> float:
    """Where a unit lies in [0, 1), uniform over units and independent from one key to the next.

    Args:
        key: the rollout's routing key, 1 to 64 bytes in hexadecimal.
        unit: a listing's or a seller's id.
    """
    digest = hashlib.blake2b(unit.encode("utf-8", "surrogatepass"), digest_size=8, key=bytes.fromhex(key))
    return float(int.from_bytes(digest.digest(), "big") >> (64 - _BITS)) / float(1 << _BITS)


def arm(position: float, share: float) -> Arm:
    """The arm of a unit; what is the challenger's at one share is so at every greater one."""
    return Arm.CHALLENGER if position < share else Arm.CHAMPION


def unit_name(position: float) -> str:
    """A position as 14 hexadecimal characters: what is kept of a unit, whose id it does not tell."""
    return f"{int(position * (1 << _BITS)):014x}"
