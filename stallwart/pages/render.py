"""Templates and static files of all sections, and the frame that every page stands in."""

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.resources import files
from importlib.resources.abc import Traversable

import jinja2
from markupsafe import Markup

from stallwart.content.unseen import revealed
from stallwart.core.errors import NotFoundError
from stallwart.pages.background import Failing
from stallwart.pages.site import Answer, Page, Route, Section
from stallwart.store.people import Role, User

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_FOR_EVER = "private, max-age=31536000, immutable"  # its address has the digest of what is in it
_UNITS = ((86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1_000, "s"))


@dataclass(frozen=True, slots=True)
class Link:
    """A page in the navigation."""

    label: str
    path: str


@dataclass(frozen=True, slots=True)
class Group:
    """Pages of one section in the navigation."""

    title: str
    links: tuple[Link, ...]


@dataclass(frozen=True, slots=True)
class Frame:
    """What every page knows besides its own context, as `site`.

    Attributes:
        user: who looks; None where nobody is signed in.
        csrf: belongs into each form and each request that writes.
        navigation: pages that this person may open.
        here: path of this page.
        now_ms: milliseconds since 1970.
        failing: jobs behind the pages that do not work now.
        said: what the last act has to tell, or None.
    """

    user: User | None
    csrf: str = ""
    navigation: tuple[Group, ...] = ()
    here: str = ""
    now_ms: int = 0
    failing: Sequence[Failing] = ()
    said: str | None = None
    token: Markup = field(init=False)

    def __post_init__(self) -> None:
        """`token` is the hidden field that each form carries."""
        hidden = Markup('<input type="hidden" name="csrf" value="{}">').format(self.csrf)
        object.__setattr__(self, "token", hidden)


class Renderer:
    """Renders pages and serves static files.

    Args:
        sections: whose templates and files there are.

    Raises:
        ValueError: two packages have a template or a file of one name: one of them would never be seen.
    """

    def __init__(self, sections: Sequence[Section]):
        packages = [
            "stallwart.pages",
            *filter(None, dict.fromkeys(_package(section) for section in sections)),
        ]
        self._static = {
            name: (_TYPES[name[name.rindex(".") :]], body)
            for name, body in _only_once(packages, "static").items()
        }
        digests = {name: hashlib.sha256(body).hexdigest()[:12] for name, (_, body) in self._static.items()}
        texts = {name: body.decode() for name, body in _only_once(packages, "templates").items()}
        self._templates = jinja2.Environment(
            loader=jinja2.DictLoader(texts),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
            cache_size=-1,
        )
        self._templates.globals["static"] = lambda name: f"/static/{name}?v={digests[name]}"
        self._templates.filters.update(
            moment=moment,
            span=span,
            percent=percent,
            revealed=revealed,
            thousands=lambda number: f"{number:,}",
        )
        for name in texts:
            self._templates.get_template(name)  # a mistake is found at the start

    def html(self, page: Page, frame: Frame) -> str:
        """The page as HTML; all values are escaped."""
        return self._templates.get_template(page.template).render({**page.context, "site": frame})

    def file(self, name: str) -> Answer:
        """A static file.

        Raises:
            NotFoundError: there is none of this name.
        """
        if name not in self._static:
            raise NotFoundError("there is no such file")
        media_type, body = self._static[name]
        return Answer(body, media_type, headers={"Cache-Control": _FOR_EVER})


def navigation_of(sections: Sequence[Section]) -> dict[Role, tuple[Group, ...]]:
    """The pages that each role may open, in the order of sections; sections of one title are together."""
    by_title: dict[str, list[Route]] = {}
    for section in sections:
        by_title.setdefault(section.title, []).extend(section.routes())
    found: dict[Role, tuple[Group, ...]] = {}
    for role in Role:
        groups = (
            Group(title, tuple(Link(one.nav, one.path) for one in routes if one.nav and role in one.roles))
            for title, routes in by_title.items()
        )
        found[role] = tuple(group for group in groups if group.links)
    return found


def moment(at_ms: int | None) -> Markup:
    """A time as `<time>`, in UTC; the reader's own zone is set by the page's script. A dash for None."""
    if at_ms is None:
        return Markup("–")
    at = datetime.fromtimestamp(at_ms / 1000, UTC)
    return Markup('<time datetime="{}">{} UTC</time>').format(at.isoformat(), at.strftime("%Y-%m-%d %H:%M"))


def span(ms: float) -> str:
    """A length of time in one unit, as "3 h"; rounded down."""
    size, unit = next(((size, unit) for size, unit in _UNITS if abs(ms) >= size), (1_000, "s"))
    return f"{math.floor(abs(ms) / size)} {unit}"


def percent(share: float | None) -> str:
    """A share of 1 as a percentage of three digits; a dash for None."""
    return "–" if share is None else f"{100 * share:.3g} %"


def _package(section: Section) -> str:
    """The package of a section's class; "" of a module that is in none."""
    return type(section).__module__.rpartition(".")[0]


def _only_once(packages: Iterable[str], folder: str) -> dict[str, bytes]:
    """The files of these packages' folders by name."""
    found: dict[str, bytes] = {}
    for package in packages:
        for one in _files(files(package) / folder):
            if one.name in found:
                raise ValueError(f"{package}/{folder}/{one.name}: another package has one of this name")
            found[one.name] = one.read_bytes()
    return found


def _files(folder: Traversable) -> list[Traversable]:
    return [one for one in folder.iterdir() if one.is_file()] if folder.is_dir() else []
