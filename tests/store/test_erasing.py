import hashlib
import itertools
import json
import os
import shutil

import pytest
from sqlalchemy import event, insert, select, text, update

from stallwart.core.decision import Action, Cause
from stallwart.core.errors import ConfigError, NotFoundError
from stallwart.core.listing import Listing
from stallwart.core.settings import Settings
from stallwart.index.findable import Findable
from stallwart.store import audit, tables
from stallwart.store.database import count_rows, open_database, reading, writing
from stallwart.store.decisions import Draft, read_decision, write
from stallwart.store.erased import Kind, came_back, keep_beside, read_tombstones, take_from_beside
from stallwart.store.erasing import Tools, certificate_digest, erase, erase_again, lift, preview, resume
from stallwart.store.exposures import add_exposures
from stallwart.store.feedback import add_feedback
from stallwart.store.given import give
from stallwart.store.labels import known_labels
from stallwart.store.photos import PhotoStore
from stallwart.store.registry import register
from stallwart.store.retention import PARTS
from stallwart.store.revisions import revision_of
from stallwart.store.rulings import Asked, rule
from stallwart.store.tables import metadata
from stallwart.store.tasks import Kind as Asks
from stallwart.store.tasks import Question, add_tasks
from stallwart.store.traces import RULES, WITHOUT
from stallwart.store.verdicts import Answer, Source, add_verdict
from stallwart.store.views import View, add_views
from stallwart.store.webhooks import add_webhook, webhooks_of
from tests.databases import name_of
from tests.store.listings import draft
from tests.store.reviewing import RANKING
from tests.store.rolling import exposure

NOW = 1_800_000_000_000
LATER = NOW + 3_600_000
SECRETS = ("gone-listing", "gone-seller", "zyzzyva", "ququmatz", "notewords")


@pytest.fixture
def photos(tmp_path):
    return PhotoStore(str(tmp_path / "photos"))


@pytest.fixture
def tools(photos):
    known = {"b" * 64: {"gone-listing"}, "c" * 64: {"other"}}
    return Tools(photos=_Old(photos), known=known, now_ms=lambda: LATER)


@pytest.fixture
def make_database(database, templates, request, tmp_path):
    """Makes more databases of the kind of `database`."""
    made = []

    def make():
        if database.dialect.name == "sqlite":
            copy = tmp_path / f"more{len(made)}.sqlite"
            shutil.copy(templates["sqlite"].removeprefix("sqlite:///"), copy)
            url = f"sqlite:///{copy}"
        else:
            url = request.getfixturevalue("postgres").create(name_of(templates["postgresql"]))
        made.append((open_database(url, Settings()), url))
        return made[-1][0]

    yield make
    for engine, url in made:
        engine.dispose()
        if engine.dialect.name != "sqlite":
            request.getfixturevalue("postgres").drop(url)


def put(
    database, photos, listing_id, seller_id, *, title="A zyzzyva lamp", shown=(b"own", b"shared"), at=NOW
):
    """A listing with a decision, as the service stores it."""
    digests = tuple(photos.put(one) for one in shown)
    words = "Words of ququmatz." if "zyzzyva" in title else "Of brass."
    listing = Listing(listing_id, title, words, seller_id=seller_id)
    revision = revision_of(listing, digests, None)
    decision = draft(listing_id).decision.model_copy(
        update={"revision": revision.revision, "action": Action.BLOCK, "policies": ("tobacco",),
                "evidence": {"words": [title]}, "listing_id": listing_id}
    )  # fmt: skip
    with writing(database) as connection:
        one = Draft(revision, decision, f"key-{listing_id}")
        (made,) = write(connection, [one], webhooks_of(connection), at)
    return made


def full(database, photos):
    """A listing of a seller with a trace in each table, and another one that shares a photo."""
    add_webhook(database, "https://example.com/hook", [Action.BLOCK], NOW)
    other = put(database, photos, "other", "fine", title="A brass lamp", shown=(b"shared",))
    made = put(database, photos, "gone-listing", "gone-seller")
    names = {"decision_id": made.decision_id}
    add_feedback(database, {**names, "kind": "appeal", "note": "notewords"}, "key", None, NOW)
    with writing(database) as connection:
        add_verdict(
            connection, **names, answers={"tobacco": Answer.YES}, who="rita", source=Source.REVIEW,
            now_ms=NOW, note="notewords",
        )  # fmt: skip
        for listing in (made, other):
            add_tasks(
                connection,
                [Question(Asks.APPEAL, listing.decision_id, listing.listing_id, listing.revision, "tobacco",
                          None, 0.5, NOW)],
                RANKING, NOW,
            )  # fmt: skip
        add_views(connection, [View("u_1", "gone-listing", "task", NOW, made.decision_id)])
        add_exposures(connection, [exposure("0123456789abcd", made.decision_id)])
        rule(
            connection,
            [
                Asked(
                    "bulk gone-listing", made.decision_id, Cause.BULK, "lea", NOW, "bulk", Action.BLOCK,
                    ("tobacco",),
                )
            ],
            NOW,
        )  # fmt: skip
        give(
            connection, made.decision_id, listing_id="gone-listing", language="en", template="en/general",
            text="about gone-listing", now_ms=NOW,
        )  # fmt: skip
        connection.execute(
            insert(tables.bulk_acts).values(
                bulk_id="b", user_id="u", who="lea", action="block", policies=[], why="for gone-seller",
                filters={"seller": "gone-seller"}, state="done", listings=1, created_at_ms=NOW,
            )
        )  # fmt: skip
        connection.execute(
            insert(tables.bulk_items).values(
                bulk_id="b", place=0, listing_id="gone-listing", seller_id="gone-seller",
                decision_id=made.decision_id, before="block",
            )
        )  # fmt: skip
        connection.execute(
            insert(tables.novelties).values(
                novelty_id="n", bundle="b", words=["zyzzyva"], weeks={}, size=1, stands_for=1.0, centre=b"",
                first_at_ms=NOW, last_at_ms=NOW, state="open", detail={},
            )
        )  # fmt: skip
        connection.execute(
            insert(tables.novelty_members).values(
                novelty_id="n", decision_id=made.decision_id, at_ms=NOW, distance=0.1
            )
        )
        connection.execute(
            insert(tables.sketches).values(
                decision_seq=1, decision_id=made.decision_id, bundle="b", at_ms=NOW, facts={}, vector=b""
            )
        )
        connection.execute(
            insert(tables.known_bad).values(
                entry_id="k", listing_id="gone-listing", revision=made.revision, policy="tobacco", who="lea",
                why="notewords", words=b"zyzzyva", photos=b"", keys=b"", added_at_ms=NOW, changed_at_ms=NOW,
            )
        )  # fmt: skip
        connection.execute(
            insert(tables.gold).values(decision_id=made.decision_id, answers={}, who="lea", added_at_ms=NOW)
        )
        connection.execute(
            insert(tables.task_skips).values(
                task_id=connection.execute(
                    select(tables.tasks.c.task_id).where(tables.tasks.c.listing_id == "gone-listing")
                ).scalar_one(),
                user_id="u", reason="notewords", at_ms=NOW,
            )
        )  # fmt: skip
    Findable(database, lambda: NOW).step()
    return made, other


def everything(database):
    """All that the tables hold, as text by table."""
    with reading(database) as connection:
        return {
            table.name: json.dumps([list(map(str, row)) for row in connection.execute(select(table))])
            for table in metadata.sorted_tables
        }


def run(database, tools, kind=Kind.LISTING, name="gone-listing"):
    return erase(database, tools, kind, name, who="ana", why="they asked for it")


def age(tmp_path):
    """Photos of hours ago, so that none waits."""
    for path in (tmp_path / "photos").glob("??/*"):
        os.utime(path, (1, 1))


def test_every_table_says_what_an_erasure_does_there():
    tables_ = set(metadata.tables)
    assert set(RULES) | set(WITHOUT) == tables_, (
        "a new table belongs into RULES or WITHOUT of store/traces.py"
    )
    assert not set(RULES) & set(WITHOUT)
    telling = {"listing_id", "seller_id", "revision", "description", "note"}
    held = {name for name, table in metadata.tables.items() if telling & set(table.columns.keys())}
    assert held <= set(RULES), "these have columns of listings: an erasure has to go through them"


@pytest.mark.parametrize(("kind", "name"), [(Kind.LISTING, "gone-listing"), (Kind.SELLER, "gone-seller")])
def test_nothing_of_it_is_left_in_any_table_and_the_rest_stays(database, photos, tools, kind, name):
    made, other = full(database, photos)
    found = "".join(everything(database).values())
    assert all(one in found for one in SECRETS)
    own = made.revision
    looked = preview(database, kind, name)
    assert (looked.listings, looked.photos, looked.shared, looked.views) == (1, 1, 1, 1)
    done = run(database, tools, kind, name)
    left = everything(database)
    for one in (*SECRETS, own):
        where = [table for table, rows in left.items() if one in rows]
        assert where == (["bulk_acts"] if kind == Kind.LISTING and one == "gone-seller" else []), one
    assert done.ended_at_ms == LATER
    with reading(database) as connection:
        found = connection.execute(text("SELECT count(*) FROM findable_words")).scalar_one()
    assert found == 1, "the words of the other listing"
    with reading(database) as connection:
        assert read_decision(connection, other.decision_id) == other
        assert audit.verify(connection).wrong is None
        (entry,) = audit.read(connection, act="erase.done")
    assert entry.detail["certificate"] == done.certificate
    assert entry.detail["sha256"] == certificate_digest(done.certificate)
    assert done.counts["revisions"] == 1
    assert done.counts["photos"] == 1
    rows = count_rows(database)
    assert set(RULES) - {"fingerprints", "novelties", "bulk_acts"} <= set(done.counts) | {
        name for name in RULES if rows[name] == 0
    }
    assert photos.digests(made_digest(b"own")[:2]) == []
    assert photos.get(made_digest(b"shared")) == b"shared", "another listing shows it"


def made_digest(photo):
    return hashlib.sha256(photo).hexdigest()


def test_what_measures_stays_without_a_name_and_no_label_is_left_to_learn_from(database, photos, tools):
    made, _ = full(database, photos)
    with reading(database) as connection:
        assert [one.listing_id for one in known_labels(connection)] == ["gone-listing"]
    run(database, tools)
    with reading(database) as connection:
        decision = read_decision(connection, made.decision_id)
        assert decision.listing_id.startswith("erased ")
        assert decision.scores == made.scores
        assert list(known_labels(connection)) == []


def test_young_photos_wait_and_the_certificate_with_them(database, photos, tmp_path):
    put(database, photos, "gone-listing", None)
    at_once = Tools(photos=photos, now_ms=lambda: photos.clock_ms())
    done = run(database, at_once)
    assert (done.waiting, done.ended_at_ms, done.certificate) == (2, None, None)
    with reading(database) as connection:
        assert connection.execute(select(tables.revisions.c.title)).scalars().all() == [None]
    age(tmp_path)
    (ended,) = resume(database, at_once)
    assert (ended.waiting, ended.counts["photos"]) == (0, 2)
    assert resume(database, at_once) == []
    assert "gone-listing" not in "".join(everything(database).values())


class Killed(BaseException):
    """What no code catches, as a kill."""


@pytest.mark.slow
def test_killed_at_any_moment_it_completes_when_it_is_run_again(make_database, tmp_path):
    for moment in itertools.count(0, 7):  # steps that meet different statements of each listing
        database = make_database()
        photos = PhotoStore(str(tmp_path / f"photos{moment}"))
        for number in range(2):
            put(database, photos, f"gone-{number}", "gone-seller", shown=(f"own{number}".encode(), b"shared"))
        old = Tools(photos=_Old(photos), now_ms=lambda: LATER)
        seen = itertools.count()

        def kill(*_, seen=seen, moment=moment):
            if next(seen) == moment:
                raise Killed

        event.listen(database, "before_cursor_execute", kill)
        event.listen(database, "commit", kill)
        try:
            erase(database, old, Kind.SELLER, "gone-seller", who="ana", why="asked")
            ended = True
        except Killed:
            ended = False
        event.remove(database, "before_cursor_execute", kill)
        event.remove(database, "commit", kill)
        done = erase(database, old, Kind.SELLER, "gone-seller", who="ana", why="asked")
        assert done.ended_at_ms is not None
        left = "".join(everything(database).values())
        assert "gone-" not in left
        assert "zyzzyva" not in left
        assert [one for part in PARTS for one in photos.digests(part)] == []
        database.dispose()
        if ended:
            break
    assert moment > 30, "it was killed at each of its statements"


class _Old:
    """A photo store whose photos are all old."""

    def __init__(self, photos):
        self._photos = photos

    def __getattr__(self, name):
        return getattr(self._photos, name)

    def clock_ms(self):
        return self._photos.clock_ms() + 86_400_000

    def delete(self, digest, before_ms=None):
        return self._photos.delete(digest, before_ms)


def test_what_comes_back_is_erased_again_and_the_copy_beside_the_database_outlives_a_restore(
    database, photos, tools, tmp_path, make_database
):
    put(database, photos, "gone-listing", "gone-seller")
    run(database, tools, Kind.SELLER, "gone-seller")
    beside = tmp_path / "data" / "tombstones.json"
    keep_beside(database, beside)
    assert beside.stat().st_mode & 0o077 == 0
    restored = make_database()
    put(restored, photos, "gone-listing", None)
    put(restored, photos, "new-listing", "gone-seller", at=NOW + 1)
    put(restored, photos, "other", "fine", title="A lamp")
    assert list(came_back(restored)) == []
    assert take_from_beside(restored, beside) == 2
    assert take_from_beside(restored, beside) == 0
    assert sorted(came_back(restored)) == [(Kind.LISTING, "gone-listing"), (Kind.SELLER, "gone-seller")]
    assert len(erase_again(restored, tools)) == 2
    assert erase_again(restored, tools) == []
    with reading(restored) as connection:
        left = connection.execute(select(tables.revisions.c.listing_id)).scalars().all()
        assert "other" in left
        assert not {"gone-listing", "new-listing"} & set(left)
    beside.write_text("{}")
    with pytest.raises(ConfigError, match="is no copy of tombstones"):
        take_from_beside(restored, beside)
    keep_beside(restored, beside)
    foreign = make_database()
    put(foreign, photos, "x", None)
    run(foreign, tools, Kind.LISTING, "x")
    with pytest.raises(ConfigError, match="belongs to another database"):
        take_from_beside(foreign, beside)


def test_a_lifted_tombstone_holds_nothing_and_the_log_has_it(database, photos, tools):
    put(database, photos, "gone-listing", None)
    run(database, tools)
    with reading(database) as connection:
        assert read_tombstones(connection).holds("gone-listing", None)
    says = {"who": "ana", "why": "they came back", "now_ms": LATER}
    lift(database, Kind.LISTING, "gone-listing", **says)
    with reading(database) as connection:
        assert not read_tombstones(connection).holds("gone-listing", None)
        assert [one.act for one in audit.read(connection, act="erase.")] == [
            "erase.lift", "erase.done", "erase.begin"
        ]  # fmt: skip
    with pytest.raises(NotFoundError, match="no listing of this id"):
        lift(database, Kind.LISTING, "gone-listing", **says)


def test_the_log_never_gets_the_name_and_bundles_that_knew_it_are_named(database, photos, tools):
    with writing(database) as connection:
        for digest in ("b" * 64, "c" * 64):
            register(connection, digest=digest, place="/none", card={}, who="ana", now_ms=NOW - 1)
        register(connection, digest="d" * 64, place="/none", card={}, who="ana", now_ms=NOW + 1)
    put(database, photos, "gone-listing", None)
    with pytest.raises(ConfigError, match="do not name there"):
        erase(database, tools, Kind.LISTING, "gone-listing", who="ana", why="gone-listing asked")
    done = run(database, tools)
    known = {one["digest"][0]: one["known_violations"] for one in done.certificate["bundles"]}
    assert known == {"b": 1, "d": 0}, "the one that knows it, and the one that was made after it came"


def test_erasing_what_is_not_there_leaves_a_tombstone(database, tools):
    done = run(database, tools, Kind.SELLER, "nobody")
    assert done.certificate is not None
    assert done.counts == {}
    with reading(database) as connection:
        assert read_tombstones(connection).holds("any", "nobody")


def test_a_listing_whose_words_were_purged_is_erased_all_the_same(database, photos, tools):
    put(database, photos, "gone-listing", "gone-seller")
    with writing(database) as connection:
        connection.execute(update(tables.revisions).values(title=None, description=None, purged_at_ms=NOW))
    assert run(database, tools).counts["revisions"] == 1
    assert "gone-" not in "".join(everything(database).values()).replace("gone-seller", "")
