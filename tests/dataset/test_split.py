from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from stallwart.core.errors import ConfigError, DataError
from stallwart.core.listing import Label, Listing
from stallwart.core.scored import Rows
from stallwart.core.taxonomy import Policy, Taxonomy
from stallwart.dataset.rows import RowsBuilder, as_known
from stallwart.dataset.split import leak_check, split_by_date, split_by_shares

START = np.datetime64("2025-01-01", "ms")
FIRST, SECOND = datetime(2025, 1, 31), datetime(2025, 2, 10)


def rows_of(days: list[int], groups: list[int] | None = None, delays: list[int] | None = None) -> Rows:
    n = len(days)
    listed = START + np.array(days) * np.timedelta64(1, "D")
    return Rows(
        listing_ids=np.array([f"L{i}" for i in range(n)]),
        labels=np.zeros(n, np.int64),
        listed_at=listed,
        labelled_at=listed + np.array(delays or [0] * n) * np.timedelta64(1, "D"),
        groups=np.array(groups or range(n), np.int64),
        sellers=np.array([""] * n),
        languages=np.array([""] * n),
        has_text=np.ones(n, np.bool_),
        has_photo=np.zeros(n, np.bool_),
    )


def test_rows_go_where_their_day_and_their_group_belong() -> None:
    #            train  train(late label)  validation  repeat of train  test  repeat of validation
    rows = rows_of([0, 29, 30, 35, 45, 46, 39], [0, 1, 2, 0, 4, 2, 6], [1, 5, 1, 1, 1, 1, 20])
    split = split_by_date(rows, FIRST, SECOND)
    assert split.train.tolist() == [0]
    assert split.validation.tolist() == [2]
    assert split.test.tolist() == [4]
    assert split.repeats.tolist() == [3, 5]
    assert split.unknown.tolist() == [1, 6]
    leak_check(split, rows)


def test_a_repeat_of_a_listing_with_a_late_label_leaves_the_later_parts_too() -> None:
    rows = rows_of([0, 29, 31, 45], [0, 1, 2, 1], [0, 9, 0, 0])
    split = split_by_date(rows, FIRST, SECOND)
    assert split.repeats.tolist() == [3]
    assert split.test.tolist() == []


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_no_split_leaks_and_no_row_is_lost(data: st.DataObject) -> None:
    n = data.draw(st.integers(3, 40))
    days = data.draw(st.lists(st.integers(0, 60), min_size=n, max_size=n))
    groups = data.draw(st.lists(st.integers(0, n), min_size=n, max_size=n))
    delays = data.draw(st.lists(st.integers(0, 20), min_size=n, max_size=n))
    rows = rows_of(days, groups, delays)
    try:
        split = split_by_date(rows, FIRST, SECOND)
    except DataError:
        assume(False)
    leak_check(split, rows)
    parts = np.concatenate([split.train, split.validation, split.test, split.repeats, split.unknown])
    assert sorted(parts.tolist()) == list(range(n))
    for group in set(groups):
        members = [place for place in range(n) if groups[place] == group]
        used = [place for place in members if place not in split.repeats]
        earliest = min(days[place] for place in members)
        part = np.searchsorted([30, 40], [days[place] for place in used], side="right")
        assert set(part.tolist()) == {int(np.searchsorted([30, 40], earliest, side="right"))}


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 300), min_size=20, max_size=60, unique=True))
def test_shares_follow_the_order_of_time(days: list[int]) -> None:
    rows = rows_of(days)
    split = split_by_shares(rows, 0.6, 0.2)
    leak_check(split, rows)
    assert len(split.train) == int(0.6 * len(days))
    assert len(split.train) + len(split.validation) == int(0.8 * len(days))


def test_wrong_dates_and_shares_are_errors() -> None:
    rows = rows_of([0, 31, 45])
    with pytest.raises(ConfigError, match="swap"):
        split_by_date(rows, SECOND, FIRST)
    with pytest.raises(ConfigError, match="must be above 0"):
        split_by_shares(rows, 0.9, 0.2)
    with pytest.raises(DataError, match="train part is empty"):
        split_by_date(rows, datetime(2024, 1, 1), SECOND)
    with pytest.raises(DataError, match="part is empty"):
        split_by_shares(rows_of([0] * 50))
    with pytest.raises(DataError, match="no rows"):
        split_by_shares(rows[:0])


def test_dates_without_a_zone_are_utc() -> None:
    rows = rows_of([0, 31, 45])
    plain = split_by_date(rows, FIRST, SECOND)
    zoned = split_by_date(rows, FIRST.replace(tzinfo=UTC), SECOND.replace(tzinfo=UTC))
    days = split_by_date(rows, date(2025, 1, 31), date(2025, 2, 10))  # type: ignore[arg-type]
    assert plain.train_until == zoned.train_until == days.train_until == np.datetime64("2025-01-31", "ms")


ROWS = rows_of([0, 1, 31, 32, 45, 46])
SPLIT = split_by_date(ROWS, FIRST, SECOND)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"test": np.array([1, 4])}, "stand in both test and train"),
        ({"validation": np.array([2, 5]), "test": np.array([4])}, "after its end"),
        ({"train": np.array([0, 1, 2]), "validation": np.array([3])}, "after its end"),
        ({"test": np.array([3, 4]), "validation": np.array([2])}, "before its start"),
    ],
)
def test_a_row_in_a_wrong_part_fails_loudly(change: dict[str, np.ndarray], message: str) -> None:
    leak_check(SPLIT, ROWS)
    with pytest.raises(DataError, match=message):
        leak_check(replace(SPLIT, **change), ROWS)


def test_a_group_on_both_sides_and_a_late_label_fail_loudly() -> None:
    with pytest.raises(DataError, match="group of near duplicates"):
        leak_check(SPLIT, rows_of([0, 1, 31, 32, 45, 46], [0, 1, 2, 3, 1, 5]))
    with pytest.raises(DataError, match="labelled after its end"):
        leak_check(SPLIT, rows_of([0, 1, 31, 32, 45, 46], delays=[0, 40, 0, 0, 0, 0]))


TAXONOMY = Taxonomy(policies=(Policy(id="tobacco", title="T", prevalence=0.1),))
DAY = datetime(2025, 1, 5, tzinfo=UTC)


def test_rows_are_built_from_listings_that_have_a_label_and_a_date() -> None:
    labels = {
        "a": Label("a", "tobacco", labelled_at=DAY + timedelta(days=1)),
        "b": Label("b", "neutral"),
        "c": Label("c", "neutral"),
    }
    builder = RowsBuilder(TAXONOMY, labels)
    listings = [
        Listing("a", title="snus", seller_id="s", language="ru", listed_at=DAY),
        Listing("b", photos=(b"x",), listed_at=DAY),
        Listing("c", title="no date"),
        Listing("d", title="no label", listed_at=DAY),
    ]
    assert [builder.add(listing) for listing in listings] == [True, True, False, False]
    assert (builder.unlabelled, builder.undated) == (1, 1)
    rows = builder.rows(np.array([0, 1]))
    assert rows.labels.tolist() == [1, 0]
    assert rows.labelled_at.astype("datetime64[D]").astype(str).tolist() == ["2025-01-06", "2025-01-05"]
    assert rows.sellers.tolist() == ["s", ""]
    assert (rows.has_text.tolist(), rows.has_photo.tolist()) == ([True, False], [False, True])
    earlier, known = as_known(rows, {"a": Label("a", "neutral")}, TAXONOMY)
    assert known.tolist() == [True, False]
    assert earlier.labels.tolist() == [0, 0]
    assert earlier.labelled_at[0] == rows.listed_at[0]


def test_nothing_to_build_rows_from_is_an_error() -> None:
    builder = RowsBuilder(TAXONOMY, {})
    builder.add(Listing("a", title="x", listed_at=DAY))
    with pytest.raises(DataError, match="1 have no label"):
        builder.rows(np.zeros(0, np.int64))
