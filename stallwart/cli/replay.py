"""`stallwart replay`: a bundle, other thresholds or a smaller rulebook over stored traffic."""

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stallwart.cli import shared
from stallwart.cli.database import ready_database, wall_ms
from stallwart.core.errors import ConfigError, DataError, GateError
from stallwart.core.settings import Settings
from stallwart.core.taxonomy import read_taxonomy

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from stallwart.model.bundle import Bundle
    from stallwart.replay.run import Replayer
    from stallwart.replay.session import Session

_AGO = re.compile(r"([1-9][0-9]{0,5})([dhm])")
_UNITS = {"d": "days", "h": "hours", "m": "minutes"}


def replay(
    bundle: Annotated[
        str,
        typer.Argument(
            help="Folder of the bundle; or champion, challenger, or the digest of a registered one.",
            show_default=False,
        ),
    ],
    since: Annotated[
        str | None, typer.Option(help="First day, as 2026-11-01, or how long ago, as 7d, 12h, 30m.")
    ] = None,
    until: Annotated[
        str | None, typer.Option(help="First day after, or how long ago; now if not given.")
    ] = None,
    thresholds: Annotated[
        Path | None, typer.Option(help="JSON file: a bundle's thresholds.json, or limits as in a decision.")
    ] = None,
    threshold: Annotated[
        list[str] | None,
        typer.Option(help="Block from this score: tobacco=0.8 or tobacco=never; repeatable."),
    ] = None,
    review_threshold: Annotated[
        list[str] | None, typer.Option(help="Ask a person from this score, likewise; repeatable.")
    ] = None,
    policies: Annotated[
        Path | None, typer.Option(help="Rulebook: policies of the bundle that it lacks do nothing.")
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Every decision, not only each listing's last in that time.")
    ] = False,
    sample: Annotated[
        int | None, typer.Option(min=1, help="Replay so many, drawn at random; all if not given.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the sample and of the examples.")] = 0,
    verify: Annotated[
        bool,
        typer.Option("--verify", help="Check that what this bundle decided comes out the same; else exit 1."),
    ] = False,
    hunt: Annotated[
        str | None,
        typer.Option(help="List the likeliest listings of this policy that were not called for it."),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="How many of them.")] = 50,
    examples: Annotated[int, typer.Option(min=0, help="Examples of each kind of change.")] = 5,
    seconds_per_review: Annotated[float, typer.Option(min=0, help="What a review takes a person.")] = 30.0,
    show_words: Annotated[
        bool, typer.Option("--show-words", help="Add titles; without it no listing's words are shown.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--out", help="report.html, or a .csv with a row for each change.")
    ] = None,
    as_json: shared.AsJson = False,
) -> None:
    """Run a bundle over stored traffic and say what would change, for whom, and what it costs reviewers.

    Reads the database and the photos of a service, beside it, and changes nothing. Listings whose content
    was purged, or of which a photo is gone, are left out and counted, and so is what the service could not
    score when it decided (a deadline, an overload).

    Example:

        stallwart replay bundles/second --since 7d --out changes.csv

        stallwart replay bundles/first --threshold tobacco=0.8

        stallwart replay bundles/first --verify

        stallwart replay bundles/second --hunt tobacco --top 20
    """
    settings = shared.read_settings()
    _check(out, verify, hunt, any((thresholds, threshold, review_threshold, policies)))
    now_ms = wall_ms()
    _check_there(settings)
    with ready_database(settings) as engine:
        from stallwart.replay import rules
        from stallwart.replay.session import Session, named_bundle
        from stallwart.replay.stored import Window

        plain = named_bundle(bundle, engine)
        block = rules.read_changes(threshold or (), "--threshold")
        review = rules.read_changes(review_threshold or (), "--review-threshold")
        given = rules.read_limits(thresholds) if thresholds else {}
        rulebook = read_taxonomy(policies) if policies else None
        ruled = rules.changed(plain, given, block, review, rulebook)
        if hunt is not None and hunt not in plain.taxonomy.ids:
            raise ConfigError(f"--hunt {hunt}: the bundle knows {', '.join(plain.taxonomy.ids)}")
        begin, end = moment_ms(since, "--since", now_ms), moment_ms(until, "--until", now_ms)
        end = now_ms if end is None else end
        if begin is not None and begin >= end:
            raise ConfigError(f"--since {since}: the time ends before it begins; see --until")
        window = Window(begin, end, plain.digest if verify else None, every or verify)
        with _replayer(ruled, settings, engine if verify else None) as replayer:
            run = Session(engine, replayer, window, sample, seed, shared.show_progress)
            if verify:
                _verify(run, as_json)
            elif hunt is not None:
                _hunt(run, hunt, top, show_words, as_json)
            else:
                shown = _Shown(examples, seed, seconds_per_review, show_words, out, as_json)
                _compare(run, shown, rules.limits_of(plain) != rules.limits_of(ruled))


@dataclass
class _Shown:
    """How a comparison is shown."""

    examples: int
    seed: int
    seconds_per_review: float
    show_words: bool
    out: Path | None
    as_json: bool


def _compare(run: "Session", shown: _Shown, limits_changed: bool) -> None:
    from stallwart.replay import page
    from stallwart.replay.tally import Span, Tally

    tally = Tally(shown.examples, shown.seed, shown.show_words)
    with _changes_file(shown) as changes:
        for one in run.replayed():
            kind = tally.add(one)
            if kind is not None and changes is not None:
                changes.add(kind, one)
    _check_any(run, tally.n)
    span = Span(tally.first_ms, tally.last_ms, run.weight())
    facts = {
        **run.facts(),
        "limits_changed": limits_changed,
        **tally.facts(span, shown.seconds_per_review),
    }
    if shown.out is not None and shown.out.suffix == ".html":
        page.write_page(facts, shown.out)
    if shown.as_json:
        shared.print_json(facts)
    else:
        print(page.as_text(facts), end="")  # noqa: T201
    if shown.out is not None:
        shared.say(f"written to {shown.out}")


@contextlib.contextmanager
def _changes_file(shown: _Shown) -> Iterator[Any]:
    """Where each change is written as it comes, or None."""
    if shown.out is None or shown.out.suffix != ".csv":
        yield None
        return
    from stallwart.replay.page import ChangesFile
    from stallwart.store.files import whole_file

    with whole_file(shown.out) as path, path.open("w", encoding="utf-8", newline="") as file:
        yield ChangesFile(file, shown.show_words)


def _hunt(run: "Session", policy: str, top: int, show_words: bool, as_json: bool) -> None:
    from stallwart.replay import page, rules
    from stallwart.replay.hunt import hunt

    limits = rules.limits_of(run.replayer.scorer.bundle)
    hunted = hunt(run.replayed(failed_too=True), policy, limits, top, show_words)
    _check_any(run, hunted.looked_at)
    facts = {**run.facts(), **hunted.facts()}
    if as_json:
        shared.print_json(facts)
    else:
        print(page.hunted_text(facts), end="")  # noqa: T201


def _verify(run: "Session", as_json: bool) -> None:
    from stallwart.replay import page
    from stallwart.replay.tally import share_of
    from stallwart.replay.verify import verify

    found = verify(run.replayed(as_then=True), run.replayer.scorer.bundle.taxonomy.ids)
    equal = share_of(found.equal, found.compared)
    facts = {
        **run.facts(),
        "equal": equal,
        "actions": dict(found.by_action),
        "differences": found.differences,
    }
    if as_json:
        shared.print_json(facts)
    else:
        print(f"the same again: {page.counted(equal)}")  # noqa: T201
        for line in page.left_out(facts):
            print(line)  # noqa: T201
        for one in found.differences:
            print(f"  {one['decision_id']}: " + ", ".join(_difference(one)))  # noqa: T201
    _check_any(run, found.compared)
    if found.equal < found.compared:
        raise GateError(
            f"{found.compared - found.equal:,} of {found.compared:,} decisions come out otherwise; see"
            " whether STALLWART_MAX_PHOTOS, _MAX_PHOTO_PIXELS and _MAX_TEXT_CHARS are those of the service"
        )


def _difference(one: dict[str, Any]) -> Iterator[str]:
    for name in ("action", "policies", "scores"):
        if name in one:
            then, now = one[name]
            yield f"{name} {then} -> {now}"


def _check_any(run: "Session", n: int) -> None:
    if n == 0 and not run.population:
        raise DataError(
            "no decision is stored in that time; see STALLWART_DATA_DIR and STALLWART_DATABASE_URL, or give"
            " an earlier --since"
        )
    if n == 0:
        out = {**run.replayer.left_out, **run.failed_then}
        said = ", ".join(f"{reason}: {count:,}" for reason, count in out.items()) or "none qualifies"
        raise DataError(f"none of the stored decisions of that time can be compared ({said})")


def _check(out: Path | None, verify: bool, hunt: str | None, changed: bool) -> None:
    if out is not None and out.suffix not in (".html", ".csv"):
        raise ConfigError(f"--out {out}: name a file that ends in .html or .csv")
    if verify and (hunt is not None or changed):
        raise ConfigError(
            "--verify compares with what the bundle decided: give no thresholds, rulebook or hunt"
        )
    if out is not None and (verify or hunt is not None):
        raise ConfigError("--out is for comparisons; use --json for what --verify and --hunt find")


def _check_there(settings: Settings) -> None:
    """A replay reads: a database that is not there is a mistake, and is not made."""
    file = settings.data_dir / "stallwart.sqlite"
    if not settings.database_url and not file.exists():
        raise ConfigError(
            f"{file}: there is no database; run it where STALLWART_DATA_DIR or STALLWART_DATABASE_URL"
            " are those of the service"
        )


@contextlib.contextmanager
def _replayer(bundle: "Bundle", settings: Settings, then: "Engine | None") -> "Iterator[Replayer]":
    from stallwart.encoders.cache import EmbeddingCache
    from stallwart.model.runtime import Scorer
    from stallwart.replay.besides import Besides
    from stallwart.replay.run import Replayer
    from stallwart.store.photos import PhotoStore

    photos = PhotoStore(settings.photo_store or str((settings.data_dir / "photos").absolute()))
    cache = EmbeddingCache(settings.cache_dir)
    try:
        beside = None if then is None else Besides(then, bundle).of
        yield Replayer(Scorer(bundle, settings, cache), photos, beside)
    finally:
        cache.close()


def moment_ms(text: str | None, option: str, now_ms: int) -> int | None:
    """Milliseconds since 1970 of a day (2026-11-01, in UTC) or of some time ago (7d, 12h, 30m).

    Raises:
        ConfigError: it is neither.
    """
    if text is not None and (ago := _AGO.fullmatch(text)):
        return now_ms - timedelta(**{_UNITS[ago[2]]: int(ago[1])}) // timedelta(milliseconds=1)
    try:
        at = shared.day(text, option)
    except ConfigError:
        raise ConfigError(
            f"{option}: {text!r} is neither a day as 2026-11-01 nor as 7d, 12h or 30m"
        ) from None
    return None if at is None else int(at.timestamp() * 1000)
