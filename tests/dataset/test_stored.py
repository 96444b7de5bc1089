import csv
import hashlib
from datetime import UTC, datetime

import pyarrow.parquet as pq
import pytest
from sqlalchemy import update

from stallwart.core.errors import ConfigError
from stallwart.core.listing import Listing
from stallwart.core.settings import Settings
from stallwart.core.taxonomy import read_taxonomy
from stallwart.dataset.columns import Columns
from stallwart.dataset.labels import read_labels
from stallwart.dataset.read import read_listings
from stallwart.dataset.rejects import Rejects
from stallwart.dataset.stored import write_training_files
from stallwart.store.database import writing
from stallwart.store.decisions import revision_of, write
from stallwart.store.draws import Draw, add_draws
from stallwart.store.photos import PhotoStore
from stallwart.store.tables import decisions, revisions
from stallwart.store.verdicts import Answer, Source, add_verdict
from tests.store.listings import draft

NOW = 1_800_000_000_000
LATER = datetime.fromtimestamp(NOW / 1e3 + 60, UTC)
POLICIES = ("tobacco", "weapons")
NEUTRAL = dict.fromkeys(POLICIES, Answer.NO)


@pytest.fixture
def photos(tmp_path):
    return PhotoStore(str(tmp_path / "photos"))


def stored(database, *drafts):
    with writing(database) as connection:
        return [one.decision_id for one in write(connection, drafts, [], NOW)]


def judge(database, decision_id, answers, now_ms=NOW, source=Source.AUDIT):
    with writing(database) as connection:
        add_verdict(
            connection, decision_id=decision_id, answers=answers, who="rita", source=source, now_ms=now_ms
        )


def rows(folder):
    with (folder / "labels.csv").open(encoding="utf-8", newline="") as file:
        labels = {row["listing_id"]: row for row in csv.DictReader(file)}
    listings = pq.read_table(folder / "listings-0000.parquet").to_pylist()
    return labels, {row["listing_id"]: row for row in listings}


def test_training_reads_what_was_written_as_it_reads_any_market(database, photos, tmp_path, sample_market):
    taxonomy = read_taxonomy(sample_market / "policies.toml")
    policy = taxonomy.ids[0]
    market = list(
        read_listings([next(sample_market.glob("*.parquet"))], Columns(), Settings(), Rejects(100))
    )[:12]
    made = []
    for listing in market:
        digests = tuple(photos.put(photo) for photo in listing.photos)
        made.append(draft(listing.listing_id, photos=digests))
        content = made[-1].revision
        assert content.photos == digests
    ids = stored(database, *made)
    for number, one in enumerate(ids):
        answers = dict.fromkeys(taxonomy.ids, Answer.NO) | ({policy: Answer.YES} if number % 2 else {})
        judge(database, one, answers)
    told = write_training_files(tmp_path / "out", database, photos, taxonomy.ids)
    assert (told.listings, dict(told.labels)) == (12, {"neutral": 6, policy: 6})
    rejects = Rejects(100)
    labels = read_labels([tmp_path / "out" / "labels.csv"], Columns(), taxonomy, rejects, now=LATER).as_of()
    again = list(read_listings([tmp_path / "out" / "listings-0000.parquet"], Columns(), Settings(), rejects))
    assert {one.listing_id: one.photos for one in again} == {one.listing_id: one.photos for one in market}
    assert [labels[one.listing_id].label for one in market] == ["neutral", policy] * 6
    assert labels[market[0].listing_id].labelled_at == datetime.fromtimestamp(NOW / 1e3, UTC)
    assert labels[market[0].listing_id].labelled_by == "rita"


def test_weights_and_provenance_are_written(database, photos, tmp_path):
    first, second = stored(database, draft("a", photos=()), draft("b", photos=()))
    with writing(database) as connection:
        add_draws(connection, [Draw(first, 0.0125, "allow", None, None, NOW)])
    judge(database, first, NEUTRAL)
    judge(database, second, NEUTRAL, source=Source.IMPORT)
    write_training_files(tmp_path / "out", database, photos, POLICIES)
    labels, _ = rows(tmp_path / "out")
    assert (labels["a"]["weight"], labels["a"]["source"]) == ("80", "audit")
    assert (labels["b"]["weight"], labels["b"]["source"]) == ("1", "import")


def test_what_cannot_be_written_is_counted_with_its_reason(database, photos, tmp_path):
    kept = hashlib.sha256(b"gone").hexdigest()
    ids = stored(database, draft("a", photos=(kept,)), draft("b", photos=()), draft("c", photos=()))
    judge(database, ids[0], {"tobacco": Answer.YES})
    judge(database, ids[1], {"tobacco": Answer.NO})
    judge(database, ids[2], {"tobacco": Answer.YES})
    with writing(database) as connection:
        connection.execute(
            update(revisions).where(revisions.c.listing_id == "c").values(title=None, purged_at_ms=NOW)
        )
    told = write_training_files(tmp_path / "out", database, photos, POLICIES)
    assert (told.listings, told.photos_gone) == (1, 1)
    assert sorted(told.left_out.values()) == [1, 1]
    assert rows(tmp_path / "out")[1]["a"]["images"] == []


def test_earlier_states_of_a_listing_are_examples_of_their_own(database, photos, tmp_path):
    old = draft("a", "A tin of tobacco", photos=())
    new = draft("a", "A tin", photos=())
    first, second = stored(database, old)[0], stored(database, new)[0]
    with writing(database) as connection:
        connection.execute(
            update(decisions).where(decisions.c.decision_id == second).values(decided_at_ms=NOW)
        )
    judge(database, first, {"tobacco": Answer.YES})
    judge(database, second, NEUTRAL)
    write_training_files(tmp_path / "out", database, photos, POLICIES)
    labels, listings = rows(tmp_path / "out")
    before = f"a@{old.revision.revision[:12]}"
    assert {name: row["label"] for name, row in labels.items()} == {"a": "neutral", before: "tobacco"}
    assert {name: row["title"] for name, row in listings.items()} == {
        "a": "A tin",
        before: "A tin of tobacco",
    }


def test_labels_of_a_day_are_those_that_were_known_then(database, photos, tmp_path):
    ids = stored(database, draft("a", photos=()), draft("b", photos=()))
    judge(database, ids[0], NEUTRAL, NOW)
    judge(database, ids[1], NEUTRAL, NOW + 1_000)
    told = write_training_files(tmp_path / "out", database, photos, POLICIES, until_ms=NOW + 1_000)
    assert told.listings == 1
    assert list(rows(tmp_path / "out")[0]) == ["a"]


def test_a_folder_that_cannot_be_written_is_said(database, photos, tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(ConfigError, match="is a file"):
        write_training_files(tmp_path / "out", database, photos, POLICIES)


def test_words_that_no_market_should_have_come_through(database, photos, tmp_path):
    listing = Listing('x,"y"\n', "=cmd|' /C calc'!A0", None, price=1.0)
    one = draft("x", photos=())
    revision = revision_of(listing, (), None)
    decision = one.decision.model_copy(
        update={"listing_id": listing.listing_id, "revision": revision.revision}
    )
    (only,) = stored(database, type(one)(revision, decision))
    judge(database, only, NEUTRAL)
    write_training_files(tmp_path / "out", database, photos, POLICIES)
    labels, listings = rows(tmp_path / "out")
    assert set(labels) == set(listings) == {listing.listing_id}
    assert listings[listing.listing_id]["title"] == listing.title
