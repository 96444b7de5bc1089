"""Text templates of statements by language and policy, all of them tried before the first is used.

A folder holds `LANGUAGE/POLICY.txt` and `LANGUAGE/general.txt`; the operator's comes before the one that is
shipped. Of a language without templates the English ones are taken, and of a policy without its own the
general one. Templates are Jinja2 in its sandbox, with the fields of `facts.Facts`; a name that is not there
is an error.
"""

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import get_args

from jinja2 import BaseLoader, StrictUndefined, Template, TemplateError, TemplateSyntaxError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from stallwart.core.errors import ConfigError
from stallwart.reasons.facts import Facts, Ground
from stallwart.reasons.found import Detection
from stallwart.store.people import language_of

GENERAL = "general"
FALLBACK = "en"
_SHIPPED = Path(__file__).parent / "templates"
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_LONGEST = 100_000  # characters of a template, and of a statement


@dataclass(frozen=True, slots=True)
class Rendered:
    """A statement.

    Attributes:
        text: what the seller reads.
        language: that it is in.
        template: which one made it, as `de/general`.
    """

    text: str
    language: str
    template: str


class Templates:
    """All templates there are.

    Args:
        folder: the operator's; None for those that are shipped alone.

    Raises:
        ConfigError: the folder or a template in it cannot be read, or does not work with some facts.
    """

    def __init__(self, folder: Path | None):
        self._environment = ImmutableSandboxedEnvironment(
            loader=BaseLoader(), undefined=StrictUndefined, autoescape=False
        )
        # Beside the operator's words for a language, those that are shipped are its last resort
        self._folders = [self._read(one) for one in ([folder] if folder else []) + [_SHIPPED]]

    @property
    def languages(self) -> tuple[str, ...]:
        """Those that there are templates in."""
        return tuple(sorted({language for one in self._folders for language, _ in one}))

    def render(self, facts: Facts, language: str | None = None) -> Rendered:
        """The statement in a language, or the listing's own, or English.

        Args:
            facts: of the block.
            language: as `de`; None for the listing's own.
        """
        wanted = language_of(language or facts.language) or FALLBACK
        for one, name in itertools.product((wanted, FALLBACK), (facts.policies[0].id, GENERAL)):
            for folder in self._folders:
                if (one, name) in folder:
                    text = tidy(folder[one, name].render(**_values(facts)))
                    return Rendered(text[:_LONGEST], one, f"{one}/{name}")
        raise AssertionError("there is a general template in English")

    def _read(self, folder: Path) -> Mapping[tuple[str, str], Template]:
        if not folder.is_dir():
            raise ConfigError(f"{folder}: is no folder; STALLWART_STATEMENT_TEMPLATES names one, or is unset")
        return dict(self._templates(folder))

    def _templates(self, folder: Path) -> Iterator[tuple[tuple[str, str], Template]]:
        for path in sorted(folder.glob("*/*.txt")):
            language, name = path.parent.name, path.stem
            if language_of(language) != language or not _NAME.fullmatch(name):
                raise ConfigError(f"{path}: is no LANGUAGE/POLICY.txt, as de/weapons.txt or de/{GENERAL}.txt")
            yield (language, name), self._checked(path)

    def _checked(self, path: Path) -> Template:
        try:
            source = path.read_text(encoding="utf-8")
            if len(source) > _LONGEST:
                raise ConfigError(f"{path}: has over {_LONGEST:,} characters")
            template = self._environment.from_string(source)
            for facts in samples():
                if not tidy(template.render(**_values(facts))).strip():
                    raise ConfigError(f"{path}: gives an empty statement")
        except (OSError, UnicodeDecodeError) as err:
            raise ConfigError(f"{path}: cannot be read ({err})") from None
        except TemplateSyntaxError as err:
            raise ConfigError(f"{path}:{err.lineno}: {err.message}") from None
        except (TemplateError, TypeError, ValueError, ArithmeticError, AttributeError, LookupError) as err:
            raise ConfigError(f"{path}: does not work: {err}; it may use {', '.join(_FIELDS)}") from None
        return template


def tidy(text: str) -> str:
    """The text without blanks at ends of lines, and with at most one empty line at once."""
    lines = "\n".join(line.rstrip() for line in text.strip().splitlines())
    return re.sub(r"\n{3,}", "\n\n", lines) + "\n"


def samples() -> Iterator[Facts]:
    """Facts of every kind that a template may meet."""
    scored = Ground("weapons", "Weapons", "Knives.", "0.97", "0.95")
    said = replace(scored, score=None, threshold=None, covers="")
    full = Facts(
        decision_id="d_0",
        listing_id="L1",
        decided_at="2026-01-31 12:00",
        policies=(scored,),
        automatic=True,
        detection="model",
        flagged=True,
        together=False,
        looked=False,
        upheld=False,
        has_title=True,
        has_description=True,
        photos=2,
        published_at="2026-01-30 12:00",
        language="en",
        market="Market",
        territory="the European Union",
        appeal="appeals@example.com",
    )
    bare = replace(
        full, has_title=False, has_description=False, photos=0, published_at=None, language=None, market="",
        territory="", appeal="",
    )  # fmt: skip
    for facts, policies in itertools.product((full, bare), ((scored,), (scored, said), (said,))):
        yield replace(facts, policies=policies)
        for detection, flagged, upheld in itertools.product(
            get_args(Detection), (False, True), (False, True)
        ):
            said_by = replace(facts, policies=policies, automatic=False, looked=True, upheld=upheld)
            yield replace(said_by, detection=detection, flagged=flagged)
        for detection, looked in itertools.product(get_args(Detection), (False, True)):
            yield replace(said_by, detection=detection, upheld=False, together=True, looked=looked)


_FIELDS = tuple(Facts.__slots__)


def _values(facts: Facts) -> dict[str, object]:
    return {**asdict(facts), "policies": [asdict(one) for one in facts.policies]}
