"""What was erased from the market's store stays out of what is read from files."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from stallwart.core.errors import ConfigError, StallwartError
from stallwart.core.settings import Settings

if TYPE_CHECKING:
    from stallwart.store.erased import Tombstones


def erased_by(settings: Settings) -> Callable[[str, str | None], bool] | None:
    """Says of a listing's id and its seller's whether either was erased; None where nothing was.

    An installation without a database asks nobody. One whose database does not answer is refused: what was
    erased would come back into a model. `id@revision` names an earlier state of `id`.

    Raises:
        ConfigError: there is a database, and it cannot say.
    """
    beside = settings.data_dir / "tombstones.json"
    if settings.database_url or (settings.data_dir / "stallwart.sqlite").exists():
        stones = _stored(settings)
    elif beside.exists():
        stones = _kept_beside(beside)
    else:
        return None
    if not stones.keyed:
        return None

    def erased(listing_id: str, seller_id: str | None) -> bool:
        return stones.holds(listing_id, seller_id) or (
            "@" in listing_id and stones.holds(listing_id.split("@", 1)[0], None)
        )

    return erased


def _stored(settings: Settings) -> "Tombstones":
    from stallwart.cli.database import ready_database
    from stallwart.store.database import reading
    from stallwart.store.erased import read_tombstones

    try:
        with ready_database(settings) as engine, reading(engine) as connection:
            return read_tombstones(connection)
    except StallwartError as err:
        raise ConfigError(
            f"it cannot be looked up what was erased and has to stay out: {err}; where the files are of"
            " another market, name its database and its STALLWART_DATA_DIR"
        ) from None


def _kept_beside(path: Path) -> "Tombstones":
    from stallwart.store.erased import Tombstones

    try:
        content = json.loads(path.read_bytes())
        keyed = frozenset(str(row["keyed"]) for row in content["tombstones"])
        return Tombstones(bytes.fromhex(content["key"]), keyed)
    except (OSError, ValueError, TypeError, KeyError) as err:
        raise ConfigError(
            f"{path}: is no copy of tombstones ({err}); bring back the one you backed up"
        ) from None
