import base64
import csv
import io
import json
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from stallwart.core.errors import ConfigError, DataError
from stallwart.core.listing import Listing
from stallwart.core.settings import Settings
from stallwart.dataset.columns import Columns
from stallwart.dataset.read import read_listings
from stallwart.dataset.rejects import Rejects
from stallwart.dataset.tabular import count_rows, listing_files

NOW = datetime(2025, 6, 1, tzinfo=UTC)


def jpeg(side: int = 20, colour: str = "red") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (side, side), colour).save(file, "JPEG")
    return file.getvalue()


PHOTO, OTHER = jpeg(), jpeg(colour="blue")


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    """The rows in the format that the path's suffix names; photos as base64 where the format is text."""
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
        return path
    plain = [{name: in_text(value) for name, value in row.items()} for row in rows]
    with path.open("w", newline="", encoding="utf-8") as file:
        if path.suffix == ".jsonl":
            file.writelines(json.dumps(row) + "\n" for row in plain)
        else:
            table = csv.DictWriter(file, fieldnames=list(dict.fromkeys(key for row in rows for key in row)))
            table.writeheader()
            for row in plain:
                joined = {k: ";".join(v) if isinstance(v, list) else v for k, v in row.items()}
                table.writerow(joined)
    return path


def in_text(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, list):
        return [in_text(part) for part in value]
    return value.isoformat() if isinstance(value, (date, datetime)) else value


def read(*paths: Path, columns: str = "", rejects: Rejects | None = None, **limits: int) -> list[Listing]:
    settings = Settings(**limits)
    return list(read_listings(paths, Columns.parse(columns), settings, rejects or Rejects(), now=NOW))


ROWS = [
    {
        "listing_id": "a",
        "title": "Lamp, brass",
        "description": 'said "new"\nand shiny',
        "price": 12.5,
        "seller_id": "s1",
        "language": "en",
        "listed_at": datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC),
        "images": [PHOTO, OTHER],
    },
    {"listing_id": "b", "title": "Снюс", "listed_at": datetime(2025, 1, 3, tzinfo=UTC), "images": [PHOTO]},
    {"listing_id": "c", "description": "only words", "images": []},
    {"listing_id": "d", "images": [PHOTO]},
]


@pytest.mark.parametrize("suffix", ["parquet", "jsonl", "csv"])
def test_every_format_gives_the_same_listings(tmp_path: Path, suffix: str) -> None:
    rejects = Rejects()
    listings = read(write(tmp_path / f"x.{suffix}", ROWS), rejects=rejects)
    assert [listing.listing_id for listing in listings] == ["a", "b", "c", "d"]
    assert listings[0] == Listing(
        listing_id="a",
        title="Lamp, brass",
        description='said "new"\nand shiny',
        photos=(PHOTO, OTHER),
        seller_id="s1",
        listed_at=datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC),
        price=12.5,
        language="en",
    )
    assert listings[3].photos == (PHOTO,)
    assert listings[3].text == ""
    assert not rejects.counts
    assert (rejects.rows, rejects.photos) == (4, 4)


@pytest.mark.parametrize("suffix", ["parquet", "jsonl", "csv"])
def test_photos_are_read_from_paths_beside_the_file(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "1.jpg").write_bytes(PHOTO)
    (tmp_path / "2.jpg").write_bytes(OTHER)
    rows = [
        {"listing_id": "a", "title": "x", "images": ["photos/1.jpg", "2.jpg"]},
        {"listing_id": "b", "title": "x", "images": ["./2.jpg"]},
    ]
    listings = read(write(tmp_path / f"x.{suffix}", rows))
    assert [listing.photos for listing in listings] == [(PHOTO, OTHER), (OTHER,)]


def test_one_photo_may_stand_without_a_list(tmp_path: Path) -> None:
    binary = write(tmp_path / "a.parquet", [{"listing_id": "a", "images": PHOTO}])
    nested = write(
        tmp_path / "b.parquet", [{"listing_id": "b", "images": [{"bytes": PHOTO, "path": "gone.jpg"}]}]
    )
    uri = f"data:image/jpeg;base64,{base64.b64encode(PHOTO).decode()}"
    text = write(tmp_path / "c.csv", [{"listing_id": "c", "images": f"{uri};{uri}"}])
    assert [len(listing.photos) for listing in read(binary, nested, text)] == [1, 1, 2]


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/etc/passwd", "photo path leaves the file's folder"),
        ("../secret.jpg", "photo path leaves the file's folder"),
        ("photos/../../secret.jpg", "photo path leaves the file's folder"),
        ("..\\secret.jpg", "photo path leaves the file's folder"),
        ("C:\\secret.jpg", "photo path leaves the file's folder"),
        ("link.jpg", "photo path leaves the file's folder"),
        ("https://example.org/a.jpg", "photo is a URL, which is never fetched here"),
        ("gone.jpg", "photo file is not there"),
        (".", "photo path is no ordinary file"),
        ("a\x00b.jpg", "photo is neither a path nor base64"),
        ("x" * 2000, "photo is neither a path nor base64"),
        ("/9j/" + "A" * 401, "photo is no valid base64"),
        ("large.jpg", "photo too large"),
        ("text.jpg", "photo unreadable"),
    ],
)
def test_a_photo_that_cannot_be_used_is_dropped_and_counted(tmp_path: Path, path: str, reason: str) -> None:
    folder = tmp_path / "market"
    folder.mkdir()
    (tmp_path / "secret.jpg").write_bytes(PHOTO)
    (folder / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    (folder / "large.jpg").write_bytes(PHOTO + bytes(60_000))
    (folder / "text.jpg").write_text("no photo")
    rejects = Rejects()
    file = write(folder / "x.jsonl", [{"listing_id": "a", "title": "lamp", "images": [path]}])
    listings = read(file, rejects=rejects, max_photo_bytes=50_000)
    assert listings == [Listing("a", title="lamp", unread=(reason,))]
    assert rejects.counts == {("photo", reason): 1}


def test_photos_beyond_the_number_looked_at_are_counted(tmp_path: Path) -> None:
    rejects = Rejects()
    file = write(tmp_path / "x.parquet", [{"listing_id": "a", "images": [PHOTO] * 5}])
    assert len(read(file, rejects=rejects, max_photos=3)[0].photos) == 3
    assert rejects.total("photo") == 2


def bad_rows() -> Iterator[tuple[dict[str, Any], str]]:
    good = {"listing_id": "x", "title": "lamp"}
    yield {"title": "lamp"}, "no listing_id"
    yield {**good, "listing_id": "  "}, "no listing_id"
    yield {**good, "listing_id": 1.5}, "listing_id is no text"
    yield {**good, "listing_id": "a\nb"}, "listing_id too long or not printable"
    yield {**good, "title": 7}, "title is no text"
    yield {**good, "description": ["a"]}, "description is no text"
    yield {**good, "images": 7}, "images is neither bytes nor text"
    yield {**good, "listed_at": "1970-01-01"}, "listed_at before 1990"
    yield {**good, "listed_at": "2025-06-03"}, "listed_at in the future"
    yield {**good, "listed_at": "yesterday"}, "listed_at is no ISO 8601 date"
    yield {**good, "listed_at": 1735689600}, "listed_at is no ISO 8601 date"
    yield {"listing_id": "x", "title": " \n"}, "neither words nor a usable photo"
    yield {"listing_id": "x", "images": ["gone.jpg"]}, "neither words nor a usable photo"


@pytest.mark.parametrize(("row", "reason"), list(bad_rows()))
def test_a_bad_row_is_rejected_with_its_place_and_reason(
    tmp_path: Path, row: dict[str, Any], reason: str
) -> None:
    rejects = Rejects()
    file = write(tmp_path / "x.jsonl", [{"listing_id": "ok", "title": "fine"}, row])
    assert [listing.listing_id for listing in read(file, rejects=rejects)] == ["ok"]
    assert rejects.counts["row", reason] == 1
    assert rejects.total("row") == 1
    reject = rejects.examples["row", reason][0]
    assert (reject.file, reject.row) == (str(file), 2)


def test_a_repeated_id_is_rejected_across_files_and_the_first_stays(tmp_path: Path) -> None:
    rejects = Rejects()
    one = write(tmp_path / "a.jsonl", [{"listing_id": "x", "title": "first"}])
    other = write(tmp_path / "b.csv", [{"listing_id": "x", "title": "second"}])
    assert [listing.title for listing in read(one, other, rejects=rejects)] == ["first"]
    assert rejects.counts == {("row", "repeated listing_id"): 1}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"listing_id": "x"', "not valid JSON"),
        (b"[1, 2]", "no JSON object"),
        (b'{"listing_id": "x", "title": "\xff\xfe"}', "not UTF-8"),
        (b"[" * 100_000, "not valid JSON"),
        (b'{"listing_id": "x", "title": NaN}', "title is no text"),
    ],
)
def test_a_broken_line_of_json_spoils_no_other(tmp_path: Path, line: bytes, reason: str) -> None:
    file = tmp_path / "x.jsonl"
    good = b'{"listing_id": "%s", "title": "t"}\n'
    file.write_bytes(b"\xef\xbb\xbf" + good % b"a" + line + b"\n\n" + good % b"b")
    rejects = Rejects()
    assert [listing.listing_id for listing in read(file, rejects=rejects)] == ["a", "b"]
    assert rejects.counts == {("row", reason): 1}


def test_a_broken_line_of_csv_spoils_no_other(tmp_path: Path) -> None:
    file = tmp_path / "x.csv"
    file.write_bytes(
        b'\xef\xbb\xbflisting_id,title\r\na,t\r\nb,t,extra\r\nc,\xff\r\nd,"t"x\r\n"e","two\r\nlines"\r\nf\r\n'
    )
    rejects = Rejects()
    listings = read(file, rejects=rejects)
    assert [(listing.listing_id, listing.title) for listing in listings] == [
        ("a", "t"),
        ("e", "two\r\nlines"),
    ]
    assert rejects.counts == {
        ("row", "more or fewer cells than the header"): 2,
        ("row", "not UTF-8"): 1,
        ("row", "not valid CSV"): 1,
    }


def test_a_price_or_seller_of_a_wrong_type_costs_only_itself(tmp_path: Path) -> None:
    rejects = Rejects()
    row = {"listing_id": "a", "title": "t", "price": "12,50 EUR", "seller_id": [1], "language": True}
    (listing,) = read(write(tmp_path / "x.jsonl", [row]), rejects=rejects)
    assert (listing.price, listing.seller_id, listing.language) == (None, None, None)
    assert rejects.total("field") == 3


def test_long_and_broken_texts_are_cut_and_counted(tmp_path: Path) -> None:
    rejects = Rejects()
    rows = [{"listing_id": "a", "title": "x" * 200, "description": "half \ud83d"}]
    (listing,) = read(write(tmp_path / "x.jsonl", rows), rejects=rejects, max_text_chars=150)
    assert listing.title == "x" * 150
    assert listing.text.encode()
    assert set(rejects.counts) == {
        ("field", "title cut to the limit"),
        ("field", "description has half characters, replaced"),
    }


@pytest.mark.parametrize(
    "kind", [pa.timestamp("ns"), pa.timestamp("s", "Europe/Riga"), pa.timestamp("ms", "UTC"), pa.date32()]
)
def test_every_time_type_of_parquet_is_read_in_utc(tmp_path: Path, kind: pa.DataType) -> None:
    times = pa.array([datetime(2025, 1, 2, tzinfo=UTC)], pa.timestamp("s", "UTC")).cast(pa.timestamp("s"))
    zoned = times.cast(pa.timestamp("s", "UTC")) if getattr(kind, "tz", None) else times
    table = pa.table({"listing_id": ["a"], "title": ["t"], "listed_at": zoned.cast(kind)})
    pq.write_table(table, tmp_path / "x.parquet")
    assert read(tmp_path / "x.parquet")[0].listed_at == datetime(2025, 1, 2, tzinfo=UTC)


def test_a_date_outside_of_python_is_a_reject(tmp_path: Path) -> None:
    times = pa.array([10**17], pa.int64()).cast(pa.timestamp("ms"))
    pq.write_table(
        pa.table({"listing_id": ["a"], "title": ["t"], "listed_at": times}), tmp_path / "x.parquet"
    )
    rejects = Rejects()
    assert read(tmp_path / "x.parquet", rejects=rejects) == []
    assert rejects.counts == {("row", "listed_at cannot be read"): 1}


def test_other_names_of_columns_are_mapped(tmp_path: Path) -> None:
    file = write(tmp_path / "x.csv", [{"id": 5, "headline": "Lamp", "title": "ignored"}])
    assert read(file, columns="listing_id=id, title=headline") == [Listing("5", title="Lamp")]


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_a_missing_column_is_named_with_those_there(tmp_path: Path, suffix: str) -> None:
    file = write(tmp_path / f"x.{suffix}", [{"id": "5", "headline": "Lamp"}])
    with pytest.raises(DataError, match=r"no column 'listing_id'.*id, headline.*--columns listing_id="):
        read(file)
    with pytest.raises(DataError, match="no column 'name' for title"):
        read(file, columns="listing_id=id,title=name")


@pytest.mark.parametrize("text", ["title", "=x", "colour=x", "title=a,title=b"])
def test_a_wrong_mapping_is_an_error_of_usage(text: str) -> None:
    with pytest.raises(ConfigError, match="--columns"):
        Columns.parse(text)


def test_too_many_rejects_stop_the_run(tmp_path: Path) -> None:
    bad = [{"listing_id": "", "title": "t"}] * 6
    good = [{"listing_id": str(i), "title": "t"} for i in range(600)]
    few = write(tmp_path / "few.csv", bad + good)
    many = write(tmp_path / "many.csv", bad + good[:300])
    assert len(read(few, rejects=Rejects(max_rejects=5))) == 600
    with pytest.raises(DataError, match=r"6 of 306 rows cannot be used: 6 no listing_id.*--rejects-to"):
        read(many, rejects=Rejects(max_rejects=5))


@pytest.mark.parametrize(("bad", "good", "stops"), [(10, 10, False), (11, 10, True), (19, 0, False)])
def test_rejects_stop_a_small_file_too_when_they_are_most_of_it(
    tmp_path: Path, bad: int, good: int, stops: bool
) -> None:
    rows = [{"listing_id": "", "title": "t"}] * bad + [{"listing_id": i, "title": "t"} for i in range(good)]
    file = write(tmp_path / "x.csv", rows)
    if stops:
        with pytest.raises(DataError, match=r"11 of 21 rows.*STALLWART_MAX_REJECT_SHARE"):
            read(file)
    else:
        assert len(read(file)) == good
    limits = Settings(max_reject_share=1)
    assert len(read(file, rejects=Rejects.within(limits))) == good


def test_photos_that_are_mostly_missing_stop_a_small_file_too(tmp_path: Path) -> None:
    rows = [{"listing_id": str(i), "title": "t", "images": "gone.jpg"} for i in range(25)]
    with pytest.raises(DataError, match="25 of 25 photos"):
        read(write(tmp_path / "x.csv", rows))


def test_what_waits_for_a_ruling_is_not_left_out_for_what_it_lacks(tmp_path: Path) -> None:
    rows = [
        {"listing_id": "empty"},
        {"listing_id": "photo", "images": ["gone.jpg"]},
        {"listing_id": "title", "title": 7, "description": "brass"},
        {"listing_id": "date", "title": "lamp", "listed_at": "1066-10-14"},
        {"title": "nobody's"},
    ]
    file, rejects = write(tmp_path / "x.jsonl", rows), Rejects()
    found = read_listings([file], Columns(), Settings(), rejects, now=NOW, to_rule=True)
    assert [(one.listing_id, one.text, len(one.unread)) for one in found] == [
        ("empty", "", 0),
        ("photo", "", 1),
        ("title", "brass", 1),
        ("date", "lamp", 0),
    ]
    assert rejects.total("row") == 1
    assert [one.listing_id for one in read(file)] == []


def test_every_reject_is_logged_and_examples_stay_few(tmp_path: Path) -> None:
    file = write(tmp_path / "x.csv", [{"listing_id": "", "title": "secret words"}] * 50)
    with Rejects(log=tmp_path / "log.csv", max_share=1) as rejects:
        read(file, rejects=rejects)
    assert rejects.counts == {("row", "no listing_id"): 50}
    assert len(list(rejects)) == 10
    logged = list(csv.DictReader((tmp_path / "log.csv").read_text().splitlines()))
    assert len(logged) == 50
    assert logged[49]["row"] == "51"
    assert "secret" not in (tmp_path / "log.csv").read_text()


@pytest.mark.parametrize("content", [b"", b"PAR1", b"no parquet at all" * 100])
def test_a_file_that_is_not_whole_is_an_error(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "x.parquet"
    file.write_bytes(content)
    with pytest.raises(DataError, match="no whole Parquet file"):
        read(file)


def test_a_truncated_parquet_file_is_an_error(tmp_path: Path) -> None:
    file = write(tmp_path / "x.parquet", ROWS)
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(DataError, match="no whole Parquet file"):
        read(file)


def test_folders_stand_for_their_files_without_labels_and_hidden_ones(tmp_path: Path) -> None:
    (tmp_path / "2025").mkdir()
    for name in ("b.csv", "a.jsonl", "2025/c.csv", ".hidden.csv", "labels.csv", "README.md"):
        (tmp_path / name).write_text("x")
    files = listing_files([tmp_path], without=[tmp_path / "labels.csv"])
    assert [file.relative_to(tmp_path).as_posix() for file in files] == ["2025/c.csv", "a.jsonl", "b.csv"]


def test_wrong_paths_are_errors(tmp_path: Path) -> None:
    (tmp_path / "x.xlsx").write_text("x")
    (tmp_path / "empty").mkdir()
    for path, message in [("x.xlsx", "unknown kind"), ("gone.csv", "no such file"), ("empty", "holds no")]:
        with pytest.raises(DataError, match=message):
            listing_files([tmp_path / path])
    with pytest.raises(DataError, match="no files given"):
        listing_files([])
    (tmp_path / "y.csv").write_text("x")
    with pytest.raises(DataError, match="given twice"):
        listing_files([tmp_path / "y.csv", tmp_path / "y.csv"])
    assert count_rows([tmp_path / "y.csv"]) is None


@pytest.mark.parametrize("suffix", ["parquet", "jsonl", "csv"])
def test_memory_does_not_grow_with_the_rows(tmp_path: Path, suffix: str) -> None:
    file = write(
        tmp_path / f"x.{suffix}",
        [{"listing_id": str(i), "title": f"{i} " + "x" * 5_000, "images": [PHOTO]} for i in range(2_000)],
    )
    listings = read_listings([file], Columns(), Settings(), Rejects(), now=NOW, decode=False)
    next(listings)
    tracemalloc.start()
    before = pa.total_allocated_bytes()
    most = max(pa.total_allocated_bytes() - before for _ in listings)
    assert tracemalloc.get_traced_memory()[1] < 4_000_000  # the texts alone are 10 million
    assert most < 4_000_000
    tracemalloc.stop()


@pytest.mark.market
def test_the_market_reads_whole(market: Path) -> None:
    rejects = Rejects()
    files = sorted(market.glob("*.parquet"))[:1]
    listings = read_listings(files, Columns(), Settings(), rejects)
    assert sum(1 for _ in listings) == count_rows(files)
    assert not rejects.counts


def test_a_gap_in_a_list_of_photos_is_counted(tmp_path: Path) -> None:
    rejects = Rejects()
    file = write(tmp_path / "x.parquet", [{"listing_id": "a", "images": [PHOTO, None]}])
    assert read(file, rejects=rejects)[0].photos == (PHOTO,)
    assert rejects.counts == {("photo", "photo unreadable"): 1}
