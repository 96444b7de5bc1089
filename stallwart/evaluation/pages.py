"""The templates of this package, with everything that is written in them in one way."""

import base64
import html as markup
import re

import jinja2

from stallwart.evaluation import answers as words
from stallwart.evaluation import wording
from stallwart.evaluation.figures import Figure

_CLASSES = {words.ACT: "act", words.WATCH: "watch", words.STOP: "stop", words.WAIT: "wait"}


def environment(*, html: bool) -> jinja2.Environment:
    """Where templates are found, with their filters; HTML escapes every text, Markdown escapes cells."""
    found = jinja2.Environment(
        loader=jinja2.PackageLoader("stallwart.evaluation"),
        autoescape=html,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.globals["is_figure"] = lambda cell: isinstance(cell, Figure)
    found.filters.update(
        number=lambda figure: wording.number(figure.value, figure.unit),
        interval=wording.interval,
        counted=wording.count,
        line=words.line,
        status_class=_CLASSES.__getitem__,
        base64=lambda raw: base64.b64encode(raw).decode("ascii"),
        cell=_cell,
    )
    return found


def _cell(text: object) -> str:
    """A text in one cell of a Markdown table, as text: no markup, no HTML, no new line."""
    plain = markup.escape(" ".join(str(text).split()), quote=False)
    return re.sub(r"([\\`*_\[\]|])", r"\\\1", plain)
