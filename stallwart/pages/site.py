"""What a page is made of: sections of routes, what a route is asked, and what it answers.

A section is any object with a title and routes. Its templates and static files are in the folders `templates`
and `static` of the package that its class is in; their names are unique in the site.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from sqlalchemy import Engine

from stallwart.core.settings import Settings
from stallwart.store.people import Role, User
from stallwart.store.sessions import Session


class Values:
    """Values of a form, a query or a path by name; a name may have several."""

    def __init__(self, pairs: Iterable[tuple[str, str]] = ()):
        self._pairs = tuple(pairs)

    def get(self, name: str, default: str = "") -> str:
        """The first value of this name, or the default."""
        return next((value for key, value in self._pairs if key == name), default)

    def all(self, name: str) -> list[str]:
        """All values of this name, in their order."""
        return [value for key, value in self._pairs if key == name]

    def items(self) -> tuple[tuple[str, str], ...]:
        """All names with their values, in their order."""
        return self._pairs

    def __contains__(self, name: str) -> bool:
        return any(key == name for key, _ in self._pairs)

    def __getitem__(self, name: str) -> str:
        for key, value in self._pairs:
            if key == name:
                return value
        raise KeyError(name)


@dataclass(frozen=True, slots=True)
class Ask:
    """One request of a person who may make it.

    Attributes:
        session: whose it is; `user` is its person, as they are now.
        path: values in the path.
        query: values behind the question mark.
        form: of a POST; its token was checked.
        files: of a POST, by field: the name that was given and the bytes.
        is_htmx: whether htmx asks, which wants a fragment.
        address: of who asks.
        now_ms: milliseconds since 1970.
        database: the site's.
        settings: the site's.
    """

    session: Session
    path: Values
    query: Values
    form: Values
    files: Mapping[str, tuple[str, bytes]]
    is_htmx: bool
    address: str
    now_ms: int
    database: Engine
    settings: Settings

    @property
    def user(self) -> User:
        """Who asks."""
        return self.session.user


@dataclass(frozen=True, slots=True)
class Page:
    """HTML from a template.

    Attributes:
        template: its name; it extends `base.html` where it is no fragment.
        context: what it shows; besides, templates have `site` (see `render.Frame`) and `static(name)`.
        fragment: a part for htmx, which does not extend `base.html`.
        status: of HTTP.
    """

    template: str
    context: Mapping[str, Any] = field(default_factory=dict)
    fragment: bool = False
    status: int = 200


@dataclass(frozen=True, slots=True)
class Answer:
    """What is no page: a file, a redirect, nothing.

    Attributes:
        body: bytes, or pieces of them that are sent as they come.
        media_type: of the body.
        status: of HTTP.
        headers: besides those of every answer.
        said: what the next page tells this person at its top.
    """

    body: bytes | Iterator[bytes] = b""
    media_type: str = "text/plain; charset=utf-8"
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    said: str | None = None

    @classmethod
    def redirect(cls, to: str, said: str | None = None) -> "Answer":
        """Go there with a GET, also where htmx asked; `said` is shown there once."""
        return cls(status=303, headers={"Location": to}, said=said)

    @classmethod
    def download(cls, body: bytes | Iterator[bytes], name: str, media_type: str) -> "Answer":
        """A file to keep; the name is plain ASCII without quotes."""
        return cls(body, media_type, headers={"Content-Disposition": f'attachment; filename="{name}"'})


@dataclass(frozen=True, slots=True)
class Route:
    """One path and method, and who may.

    Attributes:
        path: with parameters as `/tasks/{task_id}`.
        method: GET reads, POST writes.
        endpoint: runs in a thread, against the database; what it raises of `core.errors` becomes a page.
        roles: who may; see `roles`.
        nav: its label in the navigation; None where it is not there.
        max_body_bytes: of a POST; None is the site's limit.
    """

    path: str
    method: Literal["GET", "POST"]
    endpoint: Callable[[Ask], Page | Answer]
    roles: frozenset[Role]
    nav: str | None = None
    max_body_bytes: int | None = None


class Section(Protocol):
    """Pages that belong together."""

    @property
    def title(self) -> str:
        """What the navigation calls them."""

    def routes(self) -> Sequence[Route]:
        """All of its routes; asked for once, as the site is made."""
