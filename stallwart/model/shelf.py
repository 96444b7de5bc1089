"""Where bundles are kept once they are registered: a copy by digest, so that a folder may change hands."""

import shutil
import tempfile
from pathlib import Path

from stallwart.core.errors import BundleError, StoreError
from stallwart.core.settings import Settings
from stallwart.model.bundle import Bundle, read_bundle


def shelf(settings: Settings) -> Path:
    """The folder of kept bundles; every replica needs to see it."""
    return settings.bundle_store or (settings.data_dir / "bundles").absolute()


def shelve(bundle: Bundle, shelf: Path) -> Path:
    """The bundle's folder on the shelf, copied there where it is not yet; whole or not at all.

    Raises:
        StoreError: there is no room, or no right to write.
    """
    place = shelf / bundle.digest
    if place.is_dir():
        return place
    try:
        shelf.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=shelf, prefix=".copying-") as making:
            copy = Path(making) / "bundle"
            shutil.copytree(bundle.folder, copy)
            try:
                copy.rename(place)
            except OSError:
                if not place.is_dir():  # another process was first
                    raise
    except (OSError, shutil.Error) as err:
        raise StoreError(
            f"{shelf}: the bundle could not be copied there ({err}); free space, or set another"
            " folder with STALLWART_BUNDLE_STORE"
        ) from None
    return place


def from_shelf(place: Path, digest: str) -> Bundle:
    """The bundle with this digest.

    Raises:
        BundleError: it is not there, is another one, or was changed.
    """
    bundle = read_bundle(place)
    if bundle.digest != digest:
        raise BundleError(
            f"{place}: holds the bundle {bundle.digest[:12]}, not {digest[:12]}; register it again"
        )
    return bundle
