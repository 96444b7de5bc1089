"""The documentation says what the program does."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from stallwart.cli.main import build
from stallwart.cli.reference import leaves
from stallwart.core.settings import Settings
from stallwart.core.taxonomy import read_taxonomy

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
COMMANDS = dict(leaves(typer.main.get_command(build())))


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def shown_commands() -> list[str]:
    shell = [
        *(block for page in PAGES for block in blocks(page, "sh")),
        *blocks(ROOT / "docs/reference.md", ""),
    ]
    lines = (line.strip() for block in shell for line in block.replace("\\\n", " ").splitlines())
    return [line for line in lines if line.startswith("stallwart ")]


def name_of(line: str) -> str:
    """`score` of "stallwart score ...", `keys create` of "stallwart keys create ..."."""
    words = shlex.split(line, comments=True)[1:3]
    return words[0] if words[0] in COMMANDS else " ".join(words)


@pytest.mark.parametrize("line", shown_commands())
def test_every_shown_command_is_one_that_the_program_takes(line):
    command, arguments = COMMANDS[name_of(line)], shlex.split(line, comments=True)
    while hasattr(command, "commands"):  # a group
        name, *arguments = arguments
        command = command.commands[name]
    known = {
        option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)
    }
    assert {argument for argument in arguments if argument.startswith("--")} <= known
    needed = [set(p.opts) for p in command.params if p.required and p.param_type_name == "option"]
    assert all(names & set(arguments) for names in needed), (
        "an option that must be given is missing from the example"
    )


def test_every_command_is_shown_by_example():
    assert set(COMMANDS) - {"sample"} <= {name_of(line) for line in shown_commands()}


def test_the_policy_file_in_the_readme_is_one(tmp_path):
    (example,) = blocks(ROOT / "README.md", "toml")
    path = tmp_path / "policies.toml"
    path.write_text(example, encoding="utf-8")
    assert read_taxonomy(path).ids == ("tobacco",)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page):
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_the_readme_can_be_read_in_one_sitting():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 200


def test_every_setting_is_in_the_reference():
    page = (ROOT / "docs/reference.md").read_text(encoding="utf-8")
    assert [name for name in Settings.model_fields if f"STALLWART_{name.upper()}" not in page] == []


def test_the_reference_is_made_from_the_program_as_it_is():
    subprocess.run([sys.executable, "-m", "stallwart.cli.reference", "--check"], check=True)
