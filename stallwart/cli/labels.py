"""`stallwart labels`: what people said of listings, out to other tools and in from them."""

from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import typer

from stallwart.cli import shared
from stallwart.cli.database import ready_database, wall_ms
from stallwart.core.errors import ConfigError, DataError, StallwartError
from stallwart.core.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from stallwart.dataset.label_files import Given
    from stallwart.store.verdicts import Source

app = typer.Typer(
    name="labels",
    help="What people said of listings: out to other tools and to training, and in from them.",
    no_args_is_help=True,
)

Format = Literal["csv", "label-studio", "training"]
_BATCH = 200
_SHOWN = 10


@app.command("export")
def export(
    out: Annotated[Path, typer.Argument(help="File to write; a folder for `training`.", show_default=False)],
    form: Annotated[Format, typer.Option("--format", help=", ".join(get_args(Format)) + ".")] = "csv",
    until: Annotated[
        str | None,
        typer.Option(help="Only what was said before this day, as 2026-05-01.", show_default=False),
    ] = None,
    source: Annotated[
        list[str] | None,
        typer.Option(help="Only what was said for this reason, as audit; repeat it for several."),
    ] = None,
    policies: Annotated[
        Path | None,
        typer.Option(help="Policy file that `training` is for; all policies that were answered without it."),
    ] = None,
    as_json: shared.AsJson = False,
) -> None:
    """Write what holds of each listing state that anybody judged, with its weight and by whom.

    Verdicts that were replaced or undone, and blind readings that measure people, are left out. After a move
    of policies, what a verdict still proves is written; what the move leaves open is left out and counted.

    Example:
        stallwart labels export labels.csv
        stallwart labels export tasks.json --format label-studio
        stallwart labels export relearn/ --format training --until 2026-05-01
    """
    settings, day = shared.read_settings(), shared.day(until, "--until")
    until_ms = None if day is None else int(day.timestamp() * 1_000)
    with ready_database(settings) as engine:
        wanted = _sources(source)
        told: dict[str, Any]
        if form == "training":
            told = _write_training(out, engine, settings, policies, until_ms, wanted)
        else:
            told = _write(out, engine, form, until_ms, wanted)
    if as_json:
        shared.print_json({"file": str(out), **told})
        return
    print(f"{out}: {told['written']:,} labels")  # noqa: T201
    if told["carried"]:
        shared.say(f"{told['carried']:,} as moves of policies carried them")
    for reason, count in told["left_out"].items():
        shared.say(f"{count:,} left out: {reason}")


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="CSV, or Label Studio's JSON (.json).", show_default=False)],
    who: Annotated[
        str | None, typer.Option(help="Who said it, where the file does not.", show_default=False)
    ] = None,
    audit: Annotated[
        bool,
        typer.Option(
            "--audit",
            help="It was read of the audit's draws, all of them or by chance: it counts in the estimates.",
        ),
    ] = False,
    as_json: shared.AsJson = False,
) -> None:
    """Take verdicts from outside; a file may be given again, and each verdict is stored once.

    Rows that cannot be taken are counted with their reason, and the others are taken. What the same person
    said otherwise before is replaced.

    Example:
        stallwart labels import labels.csv --who "the agency"
    """
    with ready_database(shared.read_settings()) as engine:
        done, bad, shown = _import(file, engine, who, audit)
    if as_json:
        shared.print_json({"file": str(file), "taken": done, "bad": bad, "examples": shown})
    else:
        taken = ", ".join(f"{count:,} {name}" for name, count in sorted(done.items())) or "nothing"
        print(f"{file}: {taken}")  # noqa: T201
    for line in shown:
        shared.say(line)
    if bad and not done:
        raise DataError(
            f"{file}: none of {sum(bad.values()):,} rows could be taken: {max(bad, key=bad.__getitem__)}"
        )


def _sources(given: list[str] | None) -> "frozenset[Source] | None":
    from stallwart.store.verdicts import Source

    if not given:
        return None
    try:
        return frozenset(Source(one) for one in given)
    except ValueError as err:
        raise ConfigError(f"--source: {err}; there are: {', '.join(Source)}") from None


def _write(
    out: Path, engine: "Engine", form: str, until_ms: int | None, wanted: "frozenset[Source] | None"
) -> dict[str, Any]:
    from stallwart.core.carrying import moves
    from stallwart.dataset.label_files import write_csv, write_label_studio
    from stallwart.dataset.stored import LEFT_OPEN, NOTHING_LEFT
    from stallwart.store import rulebooks
    from stallwart.store.database import reading
    from stallwart.store.files import whole_file
    from stallwart.store.labels import KnownLabel, known_labels

    if out.is_dir():
        raise ConfigError(f"{out}: is a folder; name a file")
    write = write_csv if form == "csv" else write_label_studio
    left_out: Counter[str] = Counter()
    carried = 0

    def telling(labels: Iterator[KnownLabel]) -> Iterator[KnownLabel]:
        nonlocal carried
        for one in labels:
            if one.tells:
                carried += one.carried
                yield one
            else:
                left_out[LEFT_OPEN if one.left_open else NOTHING_LEFT] += 1

    with (
        reading(engine) as connection,
        whole_file(out) as place,
        place.open("w", encoding="utf-8", newline="") as file,
    ):
        over = moves(rulebooks.history(connection))
        written = write(telling(known_labels(connection, until_ms, wanted, over)), file)
    return {"written": written, "carried": carried, "left_out": dict(left_out)}


def _write_training(
    out: Path,
    engine: "Engine",
    settings: Settings,
    policies: Path | None,
    until_ms: int | None,
    wanted: "frozenset[Source] | None",
) -> dict[str, Any]:
    from stallwart.core.carrying import moves
    from stallwart.core.taxonomy import read_taxonomy
    from stallwart.dataset.stored import write_training_files
    from stallwart.store import rulebooks
    from stallwart.store.database import reading
    from stallwart.store.labels import known_labels
    from stallwart.store.photos import PhotoStore

    taxonomy = None if policies is None else read_taxonomy(policies)
    with reading(engine) as connection:
        over = moves(rulebooks.history(connection), taxonomy)
        ids = (
            {policy for one in known_labels(connection, until_ms, wanted, over) for policy in one.answers}
            if taxonomy is None
            else set(taxonomy.ids)
        )
    photos = PhotoStore(settings.photo_store or str((settings.data_dir / "photos").absolute()))
    told = write_training_files(out, engine, photos, ids, until_ms, wanted, over)
    if told.photos_gone:
        shared.say(f"{told.photos_gone:,} photos are not kept any more; their listings were written without")
    return {
        "written": told.listings, "carried": told.carried, "labels": dict(told.labels),
        "left_out": dict(told.left_out),
    }  # fmt: skip


def _import(
    file: Path, engine: "Engine", who: str | None, audit: bool
) -> tuple[Counter[str], Counter[str], list[str]]:
    from stallwart.dataset.label_files import read_verdict_file
    from stallwart.store import audit as log
    from stallwart.store.database import writing

    done: Counter[str] = Counter()
    bad: Counter[str] = Counter()
    shown: list[str] = []
    rows = read_verdict_file(file)
    while batch := list(islice(rows, _BATCH)):
        with writing(engine) as connection:
            for place, answer in _take(connection, batch, who, audit):
                if isinstance(answer, str):
                    done[answer] += 1
                    continue
                bad[str(answer)] += 1
                if len(shown) < _SHOWN:
                    shown.append(f"{file}:{place}: {answer}")
    operator = shared.operator(None)
    with writing(engine) as connection:
        log.append(
            connection, who=operator, act="labels.import", subject=file.name, why="verdicts from outside",
            detail={"taken": dict(done), "bad": sum(bad.values()), "audit": audit}, now_ms=wall_ms(),
        )  # fmt: skip
    return done, bad, shown


def _take(
    connection: "Connection", batch: "list[Given]", who: str | None, audit: bool
) -> Iterator[tuple[int, str | StallwartError]]:
    from stallwart.store.label_import import Outside, take_verdict
    from stallwart.store.verdicts import Source

    source = Source.AUDIT if audit else Source.IMPORT
    for one in batch:
        if one.problem:
            yield one.place, DataError(one.problem)
            continue
        given = Outside(one.decision_id, one.answers, one.others, one.who or who or "", one.severity)
        try:
            yield one.place, take_verdict(connection, given, source, wall_ms()).value
        except StallwartError as err:
            yield one.place, err
