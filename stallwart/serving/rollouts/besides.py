"""What stands beside a bundle by the database: reads add-ons once, and puts them beside what is loaded."""

from collections.abc import Sequence
from pathlib import Path

from stallwart.core.errors import BundleError
from stallwart.core.logs import say
from stallwart.core.rulebook import Rulebook
from stallwart.model.additions import additions
from stallwart.model.addon import AddOn, encoder_digests, read_addon
from stallwart.serving.runtime import BundleRuntime, Runtime
from stallwart.store.rulebooks import AddOnRow


class Besides:
    """Add-ons that were read, by digest."""

    def __init__(self) -> None:
        self._read: dict[str, AddOn | None] = {}
        self._encoders: dict[str, tuple[str, str]] = {}

    def beside(self, runtime: Runtime, book: Rulebook | None, rows: Sequence[AddOnRow]) -> Runtime:
        """The runtime with what the rulebook and the add-ons say now; the very same where that is the same.

        An add-on that cannot be read is left out, and the log says so: its policy does nothing by itself, so
        that leaving it out allows nothing.
        """
        if not isinstance(runtime, BundleRuntime):
            return runtime
        found = [addon for row in rows if (addon := self._addon(row)) is not None]
        bundle = runtime.bundle
        if runtime.digest not in self._encoders:
            self._encoders[runtime.digest] = encoder_digests(bundle.folder)
        wanted = additions(book, bundle.taxonomy, self._encoders[runtime.digest], found)
        if wanted == runtime.additions:
            return runtime
        say("rulebook followed", rulebook=wanted.rulebook, addons=list(wanted.digests))
        return runtime.with_additions(wanted)

    def _addon(self, row: AddOnRow) -> AddOn | None:
        if row.digest not in self._read:
            try:
                self._read[row.digest] = read_addon(Path(row.place), row.digest)
            except BundleError as err:
                self._read[row.digest] = None
                say("add-on not loaded", level=40, addon=row.digest, error=str(err))
        return self._read[row.digest]
