"""Bundles that a service loads: the folder it was given, and by digest what the registry names."""

import contextlib
import ctypes
import json
import threading
from pathlib import Path

from stallwart.core.errors import BundleError
from stallwart.core.settings import Settings
from stallwart.model.bundle import MANIFEST, Bundle, read_bundle
from stallwart.model.shelf import from_shelf
from stallwart.serving.runtime import BundleRuntime, Runtime


def load_runtime(bundle: Bundle, settings: Settings, beside: Runtime | None = None) -> BundleRuntime:
    """A runtime that has scored once, so that no caller pays for its first time.

    Raises:
        BundleError: its graphs do not load or do not fit together.
    """
    runtime = BundleRuntime(bundle, settings, beside if isinstance(beside, BundleRuntime) else None)
    runtime.warm_up()
    return runtime


def load_registered(place: str, digest: str, settings: Settings, beside: Runtime | None) -> BundleRuntime:
    """The runtime of a registered bundle, sharing the encoders of `beside` where they are the same.

    Raises:
        BundleError: it is not at its place any more, or does not load.
    """
    return load_runtime(from_shelf(Path(place), digest), settings, beside)


class BundleFolder:
    """The folder that a service was started with, loaded again when it changes.

    Args:
        folder: of the bundle; it may be a link that is moved.
        settings: bounds on photos, and what the graphs run on.

    Raises:
        BundleError: there is no bundle that can be loaded.
    """

    def __init__(self, folder: Path, settings: Settings):
        self.folder, self._settings, self._refused = folder, settings, ""
        self._one_at_a_time = threading.Lock()
        self.runtime = self._loaded()

    def changed(self) -> bool:
        """Whether the folder holds another bundle now, one that was not refused before."""
        try:
            digest = json.loads((self.folder / MANIFEST).read_bytes())["digest"]
        except (OSError, ValueError, TypeError, KeyError):
            return False  # being replaced right now, or broken: what is loaded goes on
        return digest not in (self.runtime.digest, self._refused)

    def load(self) -> BundleRuntime:
        """Load what the folder holds now; what was loaded before stays if that fails.

        Raises:
            BundleError: it cannot be loaded.
        """
        with self._one_at_a_time:
            try:
                self.runtime = self._loaded()
            except BundleError:
                with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
                    self._refused = json.loads((self.folder / MANIFEST).read_bytes())["digest"]
                raise
            return self.runtime

    def _loaded(self) -> BundleRuntime:
        # The folder behind a link, so that a link that moves meanwhile cannot mix two bundles
        return load_runtime(read_bundle(self.folder.resolve()), self._settings)


def give_back_memory() -> None:
    """Return to the system what the last bundle held; glibc would keep it, 40 % more memory in all."""
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)
