"""docs/reference.md, made from the commands and settings themselves; `--check` fails where it went stale."""

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from stallwart.cli.main import build
from stallwart.core.settings import Settings

PAGE = Path(__file__).parents[2] / "docs" / "reference.md"


def reference() -> str:
    """The page as Markdown."""
    group: Any = typer.main.get_command(build())  # typer brings its own click
    lines = ["# Reference", "", "Made from the program by `python -m stallwart.cli.reference`.", ""]
    lines += [
        "Results go to stdout, progress and what was left out to stderr. Exit codes: 0 ok, 1 gate not met,"
        " 2 usage or configuration, 3 data, 4 bundle, 5 database or load, 130 interrupted.",
        "",
    ]
    for name, command in _commands(group):
        lines += [f"## stallwart {name}", "", *_help(command), *_options(command), ""]
    lines += ["## Settings", "", "Each is an environment variable.", ""]
    lines += ["| variable | default | what it is |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        lines.append(f"| `STALLWART_{name.upper()}` | {_value(field.default)} | {field.description} |")
    return "\n".join(lines) + "\n"


def _commands(group: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Each command with its whole name, those of groups among them."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}", command


def leaves(group: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    """Every command that does something, by its whole name, such as "keys create"."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from leaves(command, f"{before}{name} ")
        else:
            yield f"{before}{name}", command


def _help(command: Any) -> list[str]:
    text, _, example = inspect.cleandoc(command.help or "").partition("Example:")
    lines = [text.strip(), ""]
    if example:
        lines += ["```", *(line.strip() for line in example.strip().splitlines()), "```", ""]
    return lines


def _options(command: Any) -> list[str]:
    lines = ["| option | default | what it is |", "|---|---|---|"]
    for parameter in command.params:
        if parameter.name == "help":
            continue
        names = ", ".join(f"`{option}`" for option in (*parameter.opts, *parameter.secondary_opts))
        if parameter.param_type_name == "argument":
            names = f"`{(parameter.name or '').upper()}`"
        default = "required" if parameter.required else _default(parameter.default)
        lines.append(f"| {names} | {default} | {getattr(parameter, 'help', '') or ''} |")
    return lines


def _value(value: object) -> str:
    """A setting's default as a person would write it; the same on every machine."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return f"{value:,}"
    if isinstance(value, Path) and value.is_relative_to(Path.home()):
        return f"`~/{value.relative_to(Path.home()).as_posix()}`"
    return f"`{value}`" if str(value) else ""


def _default(value: object) -> str:
    return "" if value in (None, "", False) or callable(value) else f"`{value}`"


def main() -> None:
    """Write the page, or with `--check` compare it."""
    page = reference()
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(page, encoding="utf-8")
    elif not PAGE.exists() or PAGE.read_text(encoding="utf-8") != page:
        sys.exit(f"{PAGE.name} is stale; run: python -m stallwart.cli.reference")


if __name__ == "__main__":
    main()
