import json
import sys
from pathlib import Path

import pytest

from stallwart import store
from stallwart.cli.main import main
from stallwart.core.settings import Settings
from stallwart.store.database import database_url, open_database, writing
from stallwart.store.decisions import write
from stallwart.store.photos import PhotoStore
from tests.store.listings import draft

DAY_MS = 86_400_000
NEWEST = max(file.name[:4] for file in (Path(store.__file__).parent / "migrations/versions").glob("0*.py"))


@pytest.fixture
def stallwart(tmp_path, monkeypatch, capsys):
    """A command line, in this process; its exit code and what it said on both streams."""
    monkeypatch.setenv("STALLWART_DATA_DIR", str(tmp_path / "data"))

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["stallwart", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return ended.value.code or 0, said.out, said.err

    return run


def test_a_new_database_is_made_once_and_shown(stallwart):
    code, out, err = stallwart("db", "status")
    assert (code, f"needed {NEWEST}" in out) == (2, True)
    assert "run: stallwart db upgrade" in err
    assert stallwart("db", "upgrade")[1].endswith(f"schema none -> {NEWEST}\n")
    assert "is up to date" in stallwart("db", "upgrade")[1]
    code, out, _ = stallwart("db", "status", "--json")
    assert code == 0
    assert json.loads(out)["rows"]["decisions"] == 0


def test_old_words_and_photos_are_purged(stallwart, tmp_path):
    stallwart("db", "upgrade")
    settings = Settings(data_dir=tmp_path / "data")
    photos = PhotoStore(str(settings.data_dir / "photos"), lambda: 0)
    digest = photos.put(b"a photo")
    engine = open_database(database_url(settings), settings)
    with writing(engine) as connection:
        write(connection, [draft(photos=(digest,))], (), 40 * DAY_MS)
    engine.dispose()
    code, out, _ = stallwart("db", "purge", "--days", "30", "--json")
    assert code == 0
    assert json.loads(out) == {"revisions": 1, "photos": 1, "strays": 0, "requests": 0}
    assert json.loads(stallwart("db", "purge", "--json")[1])["revisions"] == 0


def test_a_purge_without_tables_says_what_to_do(stallwart):
    code, out, err = stallwart("db", "purge")
    assert (code, out) == (2, "")
    assert "stallwart db upgrade" in err


def test_a_database_that_does_not_answer_is_one_line_and_code_5(stallwart, monkeypatch):
    monkeypatch.setenv("STALLWART_DATABASE_URL", "postgresql://u:hush@127.0.0.1:1/name")
    code, out, err = stallwart("db", "upgrade")
    assert (code, out) == (5, "")
    assert err.startswith("error[store]: postgresql://127.0.0.1:1/name: cannot be read: ")
    assert err.count("\n") == 1
    assert "hush" not in err
