"""Photos for people: made anew from the pixels, so that no byte of a seller's file reaches a browser."""

import io
import threading
from collections import OrderedDict
from collections.abc import Sequence

from PIL import Image

from stallwart.content.photo import PhotoError, decode_photo
from stallwart.core.errors import NotFoundError
from stallwart.core.settings import Settings
from stallwart.pages.roles import JUDGES
from stallwart.pages.site import Answer, Ask, Route
from stallwart.review.looking import Looking
from stallwart.store.database import reading, store_errors
from stallwart.store.decisions import read_decision, read_revision
from stallwart.store.photos import PhotoStore

_SIDE = 1_600  # of the longer edge, in pixels
_LEAST_SIDE = 900  # a JPEG is decoded at a reduced size whose shorter edge has so many
_QUALITY = 85
_CACHE_BYTES = 64_000_000


class PhotoSection:
    """One route, for the photos of a decision.

    Args:
        photos: where they are kept.
        looking: keeps who looked at what.
        settings: bounds on photos.
    """

    title = "Tasks"

    def __init__(self, photos: PhotoStore, looking: Looking, settings: Settings):
        self._photos, self._looking, self._settings = photos, looking, settings
        self._made: OrderedDict[str, bytes] = OrderedDict()
        self._held = 0
        self._changing = threading.Lock()

    def routes(self) -> Sequence[Route]:
        """The route."""
        return (Route("/photos/{decision_id}/{number}", "GET", self.photo, JUDGES),)

    def photo(self, ask: Ask) -> Answer:
        """A photo of the content that was decided about, as JPEG.

        Raises:
            NotFoundError: there is no such decision or photo, or retention deleted it.
        """
        with store_errors("the photo cannot be looked up"), reading(ask.database) as connection:
            decision = read_decision(connection, ask.path["decision_id"])
            revision = read_revision(connection, decision.revision) if decision else None
        number = ask.path["number"]
        place = int(number) if number.isascii() and number.isdigit() and len(number) < 4 else -1
        if decision is None or revision is None or not 0 <= place < len(revision.photos):
            raise NotFoundError("there is no such photo, or it was deleted")
        self._looking.note(
            ask.database, ask.user.user_id, decision.listing_id, "photo", ask.now_ms, decision.decision_id
        )
        return Answer(self._jpeg(revision.photos[place]), "image/jpeg")

    def _jpeg(self, digest: str) -> bytes:
        with self._changing:
            if digest in self._made:
                self._made.move_to_end(digest)
                return self._made[digest]
        made = self._encoded(self._photos.get(digest))
        with self._changing:
            self._held += len(made) - len(self._made.pop(digest, b""))
            self._made[digest] = made
            while self._held > _CACHE_BYTES:
                self._held -= len(self._made.popitem(last=False)[1])
        return made

    def _encoded(self, photo: bytes) -> bytes:
        bounds = self._settings
        try:
            pixels = decode_photo(photo, bounds.max_photo_bytes, bounds.max_photo_pixels, _LEAST_SIDE)
        except PhotoError as err:
            raise NotFoundError(f"the photo cannot be shown: it {err}") from None
        image = Image.fromarray(pixels)
        image.thumbnail((_SIDE, _SIDE))
        kept = io.BytesIO()
        image.save(kept, "JPEG", quality=_QUALITY)
        return kept.getvalue()
