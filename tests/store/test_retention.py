import hashlib

import pytest
from sqlalchemy import func, select

from stallwart.core.errors import StoreError
from stallwart.store.database import reading, writing
from stallwart.store.decisions import read_decision, read_revision, write
from stallwart.store.feedback import add_feedback, read_feedback
from stallwart.store.quotas import take_tokens
from stallwart.store.retention import purge
from stallwart.store.tables import photo_uses, quota_windows, requests
from stallwart.store.verdicts import Answer, Source, add_verdict, read_verdicts
from tests.store.listings import draft

NOW = 1_750_000_000_000
DAY = 86_400_000
SHARED, OLD, NEW = (hashlib.sha256(name).hexdigest() for name in (b"shared", b"old", b"new"))


class Photos(dict):
    """Kept photos, with the time before which each was asked to be deleted."""

    def delete(self, photo, before_ms):
        self[photo] = before_ms


def stored(database, at_ms, *drafts):
    with writing(database) as connection:
        return write(connection, drafts, (), at_ms)


def count(database, table):
    with reading(database) as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


def test_words_and_photos_of_old_revisions_go_and_decisions_stay(database):
    (old,) = stored(
        database, NOW - 9 * DAY, draft("old", photos=(OLD, SHARED), key="k", evidence={"words": ["x"]})
    )
    (new,) = stored(database, NOW, draft("new", photos=(NEW, SHARED), key="l", evidence={"words": ["x"]}))
    photos = Photos()
    purged = purge(database, photos.delete, NOW - DAY, NOW)
    assert purged.photos == (OLD,) == tuple(photos)
    assert (purged.revisions, purged.requests) == (1, 1)
    assert photos[OLD] < NOW - 3_600_000, "a photo that was stored just now may have a row on its way"
    with reading(database) as connection:
        emptied, kept = (read_revision(connection, one.revision) for one in (old, new))
        assert (emptied.title, emptied.description, emptied.photos) == (None, None, ())
        assert emptied.purged_at_ms == NOW
        assert (kept.title, kept.photos, kept.purged_at_ms) == ("A brass lamp", (NEW, SHARED), None)
        assert read_decision(connection, old.decision_id) == old.model_copy(update={"evidence": None})
        assert read_decision(connection, new.decision_id) == new
    assert count(database, photo_uses) == 2
    assert count(database, requests) == 1


def noted(database, decision, at_ms):
    """Feedback and a verdict that quote the listing."""
    said = {"decision_id": decision.decision_id, "kind": "appeal", "note": "telltale of an appeal"}
    add_feedback(database, said, "key", None, at_ms)
    with writing(database) as connection:
        add_verdict(
            connection, decision_id=decision.decision_id, answers={"tobacco": Answer.NO}, who="rita",
            source=Source.AUDIT, now_ms=at_ms, note="telltale of a verdict",
        )  # fmt: skip


def notes(database, decision):
    with reading(database) as connection:
        told = read_verdicts(connection, decision.decision_id)
    return [one.note for one in (*read_feedback(database, decision.decision_id), *told)]


def test_notes_go_with_the_words_that_they_quote_and_answers_stay(database):
    (old,) = stored(database, NOW - 9 * DAY, draft("old", photos=()))
    (new,) = stored(database, NOW, draft("new", photos=()))
    noted(database, old, NOW)  # said lately, about what is old
    noted(database, new, NOW)
    assert purge(database, Photos().delete, NOW - DAY, NOW).notes == 0
    assert notes(database, old) == [None, None]
    assert notes(database, new) == ["telltale of an appeal", "telltale of a verdict"]
    with reading(database) as connection:
        assert read_verdicts(connection, old.decision_id)[0].answers == {"tobacco": Answer.NO}


def test_a_note_that_came_after_the_words_were_gone_goes_when_it_is_old_itself(database):
    (old,) = stored(database, NOW - 9 * DAY, draft("old", photos=()))
    purge(database, Photos().delete, NOW - DAY, NOW)
    for _ in range(201):
        noted(database, old, NOW)
    assert purge(database, Photos().delete, NOW - DAY, NOW + DAY).notes == 0
    assert purge(database, Photos().delete, NOW + DAY, NOW + 2 * DAY).notes == 402
    assert not any(notes(database, old))


def test_a_photo_goes_with_the_last_revision_that_shows_it(database):
    stored(database, NOW - 9 * DAY, *(draft(f"l{number}", photos=(SHARED,)) for number in range(450)))
    photos = Photos()
    assert purge(database, photos.delete, NOW - DAY, NOW).revisions == 450
    assert list(photos) == [SHARED]
    assert count(database, photo_uses) == 0


def test_a_purge_that_was_stopped_is_done_again_whole(database):
    stored(database, NOW - 9 * DAY, draft(photos=(OLD, SHARED)))

    def fail(photo, before_ms):
        raise StoreError(f"{photo} cannot be deleted before {before_ms}")

    with pytest.raises(StoreError):
        purge(database, fail, NOW - DAY, NOW)
    assert set(purge(database, Photos().delete, NOW - DAY, NOW).photos) == {OLD, SHARED}
    assert purge(database, Photos().delete, NOW - DAY, NOW).revisions == 0


def test_a_rescan_stores_emptied_content_again(database):
    (old,) = stored(database, NOW - 9 * DAY, draft(photos=(OLD,)))
    purge(database, Photos().delete, NOW - DAY, NOW)
    stored(database, NOW, draft(photos=(OLD,)))
    with reading(database) as connection:
        assert read_revision(connection, old.revision).title is None, "a repeat decides nothing"
    stored(database, NOW, draft(photos=(OLD,), rescan=True))
    with reading(database) as connection:
        again = read_revision(connection, old.revision)
    assert (again.title, again.photos, again.stored_at_ms, again.purged_at_ms) == (
        "A brass lamp",
        (OLD,),
        NOW,
        None,
    )
    assert count(database, photo_uses) == 1


def test_old_minutes_of_quotas_are_forgotten(database):
    take_tokens(database, "k", (NOW - 9 * DAY) // 60_000, 1, 5)
    take_tokens(database, "l", NOW // 60_000, 1, 5)
    assert purge(database, Photos().delete, NOW - DAY, NOW).quota_windows == 1
    assert count(database, quota_windows) == 1


def test_purged_words_are_not_in_the_files_of_sqlite(database, tmp_path):
    if database.dialect.name != "sqlite":
        pytest.skip("PostgreSQL's vacuum does that in its own time")
    told = stored(
        database, NOW - 9 * DAY, *(draft(f"l{number}", f"telltale {number}") for number in range(300))
    )
    noted(database, told[0], NOW)
    assert any(b"telltale" in path.read_bytes() for path in tmp_path.iterdir())
    purge(database, Photos().delete, NOW - DAY, NOW)
    assert not any(b"telltale" in path.read_bytes() for path in tmp_path.iterdir())
