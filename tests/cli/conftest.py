"""One market and one bundle for all end-to-end tests, made by the commands that a user gives."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("STALLWART_CACHE_DIR", CHECKOUT / ".cache" / "tests"))
RECIPE = """
[[members]]
kind = "lexical"
reads = ["text"]
gamma = 0.0
learning_rate = 0.3
epochs = 3
[[members]]
kind = "linear"
gamma = 0.0
modality_dropout = 0.5
epochs = 60
[[members]]
kind = "concat"
width = 64
epochs = 8
[certification]
first_origin_months = 4
"""


@dataclass(frozen=True)
class Ran:
    """What a command came to."""

    code: int
    out: str
    err: str

    @property
    def facts(self) -> dict:
        return json.loads(self.out)


@dataclass(frozen=True)
class Market:
    """A generated market, its bundle and its scores."""

    folder: Path
    recipe: Path

    @property
    def listings(self) -> list[str]:
        return sorted(map(str, self.folder.glob("listings-*.parquet")))

    @property
    def labels(self) -> list[str]:
        return ["--labels", str(self.folder / "labels.csv")]

    def train(self, out: Path) -> list[str]:
        policies = ["--policies", str(self.folder / "policies.toml"), "--recipe", str(self.recipe)]
        return ["train", *self.listings, *self.labels, *policies, "--out", str(out), "--json"]


def start(args: list[object], cache_dir: Path = CACHE, before: str = "") -> subprocess.Popen:
    """A command as a user starts it, in a process of its own, after the statements in `before`."""
    # A shell starts what runs in the background with Ctrl-C ignored, and children inherit that
    heard = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    program = [
        sys.executable,
        "-c",
        f"{heard}\n{before}\nfrom stallwart.cli.main import main; main()",
        *map(str, args),
    ]
    pipe = subprocess.PIPE
    env = {**os.environ, "STALLWART_CACHE_DIR": str(cache_dir), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    return subprocess.Popen(program, stdout=pipe, stderr=pipe, text=True, env=env, start_new_session=True)


def finish(process: subprocess.Popen) -> Ran:
    out, err = process.communicate(timeout=240)
    return Ran(process.returncode, out, err)


@pytest.fixture(scope="session")
def warm_cache() -> Path:
    return CACHE


@pytest.fixture(scope="session")
def run():
    return lambda *args, **options: finish(start(list(args), **options))


@pytest.fixture(scope="session")
def launch():
    return start


@pytest.fixture(scope="session")
def end():
    return finish


@pytest.fixture
def here(monkeypatch, capsys):
    """Runs a command in this process, for mistakes that end before the work begins: quick."""

    def command(*args: object) -> Ran:
        from stallwart.cli.main import main

        monkeypatch.setenv("STALLWART_CACHE_DIR", str(CACHE))
        monkeypatch.setattr(sys, "argv", ["stallwart", *map(str, args)])
        with pytest.raises(SystemExit) as stopped:
            main()
        said = capsys.readouterr()
        return Ran(int(stopped.value.code or 0), said.out, said.err)

    return command


@pytest.fixture(scope="session")
def generated(run, tmp_path_factory) -> Market:
    folder = tmp_path_factory.mktemp("user") / "market"
    made = run("sample", folder, "--listings", "240", "--seed", "7")
    assert made.code == 0, made.err
    recipe = folder.parent / "recipe.toml"
    recipe.write_text(RECIPE)
    return Market(folder, recipe)


@pytest.fixture(scope="session")
def trained(run, generated) -> tuple[Path, dict]:
    """The bundle of an undisturbed run, and what `train --json` said."""
    bundle = generated.folder.parent / "bundle"
    made = run(*generated.train(bundle))
    assert made.code == 0, made.err
    return bundle, made.facts


@pytest.fixture(scope="session")
def scores(run, generated, trained) -> Path:
    """The scores of an undisturbed run over all listings."""
    out = generated.folder.parent / "scores.parquet"
    made = run("score", trained[0], *generated.listings, "--out", out, "--json")
    assert made.code == 0, made.err
    return out
