"""`stallwart policy`: take in a policy that was written this morning, and change the rulebook."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Column, Table

from stallwart.cli import shared
from stallwart.cli.database import moment, ready_database, shortly, wall_ms
from stallwart.core import rulebook
from stallwart.core.errors import ConfigError
from stallwart.core.rulebook import Move, Rulebook, Standing
from stallwart.core.taxonomy import Policy, read_taxonomy
from stallwart.dataset.columns import Columns
from stallwart.dataset.rejects import Rejects

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from stallwart.model.bundle import Bundle
    from stallwart.store.rulebooks import Effects

app = typer.Typer(
    name="policy",
    help="The rulebook: add, split, merge, retire and narrow policies, with every version kept.",
    no_args_is_help=True,
)

File = Annotated[Path, typer.Argument(help="TOML file as policies.toml.", show_default=False)]
Name = Annotated[str, typer.Argument(help="Id of the policy.", show_default=False)]
_TRIED = (0.5, 0.7, 0.9)  # probabilities from which a new policy may come to act
Yes = Annotated[
    bool, typer.Option("--yes", help="Do it; without, what would happen is shown and nothing is changed.")
]
FromBundle = Annotated[
    str | None,
    typer.Option("--bundle", help="Bundle to stand beside: folder, digest or alias; else the champion."),
]


@app.command()
def add(
    file: File,
    why: shared.Why,
    examples: Annotated[
        list[Path] | None,
        typer.Option("--examples", help="File of listings that break the new policy, photos and all."),
    ] = None,
    against: Annotated[
        list[Path] | None,
        typer.Option(
            "--against", help="File of listings that do not; a draw of stored traffic if not given."
        ),
    ] = None,
    traffic: Annotated[
        int, typer.Option(min=1, help="Listings drawn from stored traffic where --against is not given.")
    ] = 1000,
    only: Annotated[
        str | None, typer.Option("--only", help="Id of the one policy in the file that is meant.")
    ] = None,
    bundle: FromBundle = None,
    columns: shared.ColumnNames = "",
    who: shared.Who = None,
    yes: Yes = False,
    as_json: shared.AsJson = False,
) -> None:
    """Take in the policies of a file that the rulebook does not have; they are scored within seconds.

    A new policy acts on nothing. Its score is stored with every decision, and listings from its review
    threshold on become tasks. Given again with more examples it gets a better head; no other score changes.

    Example:
        stallwart policy add policies.toml --examples knives.parquet --why "the law of 1 May" --yes
    """
    from stallwart.model.shelf import shelf

    settings, by = shared.read_settings(), shared.operator(who)
    given = [one for one in read_taxonomy(file).policies if only in (None, one.id)]
    with ready_database(settings) as engine:
        from stallwart.model.addon import write_addon
        from stallwart.store import rulebooks
        from stallwart.store.database import writing
        from stallwart.training.newpolicy import FEW, Stock, make_addon

        beside, book, seen = _start(engine, bundle)
        new = [one for one in given if _is_new(one, book)]
        if not new or (examples and len(new) > 1):
            raise ConfigError(
                f"{file}: "
                + ("holds no policy that is new" if not new else "holds several policies that are new")
                + (f"; name one with --only: {', '.join(one.id for one in new)}" if new else "")
            )
        books = [book] if seen == 0 else []
        for one in new:
            if one.id not in {entry.policy.id for entry in book.entries}:
                book = rulebook.add(book, one)
                books.append(book)
        rejects = Rejects.within(settings)
        stock = Stock(
            tuple(examples or ()), tuple(against or ()), Columns.parse(columns), traffic, rejects=rejects
        )
        now_ms = wall_ms()
        made = {
            one.id: make_addon(one, book, beside, stock, engine, settings, now_ms, shared.show_progress)
            for one in new
        }
        facts: dict[str, Any] = {
            "changed": yes,
            "version": book.version,
            "beside": beside.digest,
            "left_out": {f"{kind}: {reason}": n for (kind, reason), n in rejects.counts.items()},
            "policies": {
                name: {"addon": one.digest, "review": one.review, **one.card} for name, one in made.items()
            },
        }
        if yes:
            places = {
                name: (one.digest, str(write_addon(one, shelf(settings)))) for name, one in made.items()
            }
            with writing(engine) as connection:
                if len(books) > (seen == 0):
                    rulebooks.move(
                        connection, books, seen=seen, who=by, why=why, now_ms=now_ms, places=places
                    )
                for name, (digest, place) in places.items():
                    rulebooks.replace_addon(
                        connection, name, digest, place, version=book.version, who=by, why=why, now_ms=now_ms
                    )
                _begin_to_earn(connection, beside, new, by, why, now_ms)
    _told(
        facts,
        as_json,
        [
            f"{name}: {one.card['examples']} examples against {one.card['against']:,} others,"
            f" candidates from {one.review:g}"
            for name, one in made.items()
        ],
    )
    for reason, count in facts["left_out"].items():
        shared.say(f"left out or cut, {reason}: {count:,}")
    for name, addon in made.items():
        if examples and (n := addon.card["examples"]) < FEW:
            shared.say(f"{name}: {n} examples are few; with less than {FEW} it finds little")


@app.command()
def split(
    name: Name, file: File, why: shared.Why, bundle: FromBundle = None, who: shared.Who = None,
    yes: Yes = False, as_json: shared.AsJson = False,
) -> None:  # fmt: skip
    """Put the policies of a file in the place of one; the old one goes on until a bundle knows the new ones.

    Example:
        stallwart policy split drugs parts.toml --why "cannabis is licensed now"
    """
    parts = tuple(read_taxonomy(file).policies)
    _moved(lambda book: rulebook.split(book, name, parts), bundle, who, why, yes, as_json)


@app.command()
def merge(
    file: File,
    names: Annotated[list[str], typer.Argument(help="Ids of those that are merged.", show_default=False)],
    why: shared.Why, bundle: FromBundle = None, who: shared.Who = None,
    yes: Yes = False, as_json: shared.AsJson = False,
) -> None:  # fmt: skip
    """Put the one policy of a file in the place of several, which go on until a bundle knows it.

    Example:
        stallwart policy merge fraud.toml counterfeit fraud_digital --why "one team, one rule"
    """
    (whole, *more) = read_taxonomy(file).policies
    if more:
        raise ConfigError(f"{file}: holds {1 + len(more)} policies; a merge leads to one")
    _moved(lambda book: rulebook.merge(book, tuple(names), whole), bundle, who, why, yes, as_json)


@app.command()
def retire(
    name: Name, why: shared.Why, bundle: FromBundle = None, who: shared.Who = None,
    yes: Yes = False, as_json: shared.AsJson = False,
) -> None:  # fmt: skip
    """Have a policy neither act nor ask, within seconds; its open tasks are cancelled.

    Example:
        stallwart policy retire alcohol --why "allowed since 1 May" --yes
    """
    _moved(lambda book: rulebook.retire(book, name), bundle, who, why, yes, as_json)


@app.command()
def narrow(
    file: File,
    why: shared.Why,
    only: Annotated[
        str | None, typer.Option("--only", help="Id of the one policy in the file that is meant.")
    ] = None,
    bundle: FromBundle = None, who: shared.Who = None, yes: Yes = False, as_json: shared.AsJson = False,
) -> None:  # fmt: skip
    """Give a policy a text that covers less; it asks people and acts no more until a bundle learned the text.

    Example:
        stallwart policy narrow policies.toml --only adult --why "adult goods are allowed"
    """
    chosen = [one for one in read_taxonomy(file).policies if only in (None, one.id)]
    if len(chosen) != 1:
        raise ConfigError(f"{file}: name the one policy that is narrowed with --only")
    _moved(lambda book: rulebook.narrow(book, chosen[0]), bundle, who, why, yes, as_json)


@app.command("list")
def list_(
    toml: Annotated[
        bool, typer.Option("--toml", help="Print the policies of the next training as policies.toml.")
    ] = False,
    as_json: shared.AsJson = False,
) -> None:
    """Show every policy with what it does, its add-on and its candidates so far.

    Example:
        stallwart policy list --toml > policies.toml
    """
    with ready_database(shared.read_settings()) as engine:
        from stallwart.store import rulebooks
        from stallwart.store.database import reading

        book = _start(engine, None)[1]
        with reading(engine) as connection:
            addons = {row.policy: row.digest for row in rulebooks.scoring(connection)}
            counts = rulebooks.candidate_counts(connection)
    if toml:
        print(as_toml(book), end="")  # noqa: T201
        return
    facts = [
        {**entry.model_dump(mode="json"), "addon": addons.get(entry.policy.id),
         "candidates": counts.get(entry.policy.id, 0)}
        for entry in book.entries
    ]  # fmt: skip
    if as_json:
        shared.print_json({"version": book.version, "digest": book.digest, "policies": facts})
        return
    table = Table("policy", "does", "since version", "from", Column("add-on", no_wrap=True), "candidates")
    for entry, fact in zip(book.entries, facts, strict=True):
        table.add_row(
            entry.policy.id, str(entry.standing), str(entry.since), ", ".join(entry.origin),
            (fact["addon"] or "")[:12], f"{fact['candidates']:,}",
        )  # fmt: skip
    shared.console().print(table)


@app.command()
def history(as_json: shared.AsJson = False) -> None:
    """Show every version of the rulebook, the newest first; who made it and why is in the audit log.

    Example:
        stallwart policy history
    """
    with ready_database(shared.read_settings()) as engine:
        from stallwart.store import audit, rulebooks
        from stallwart.store.database import reading

        with reading(engine) as connection:
            versions = rulebooks.history(connection)[::-1]
            said = {
                one.detail.get("version"): one for one in audit.read(connection, act="policy.", limit=10_000)
                if one.act != "policy.addon"
            }  # fmt: skip
    facts: list[dict[str, Any]] = [
        {
            "version": book.version, "digest": book.digest, "at": moment(at_ms), "move": str(book.step.move),
            "old": list(book.step.old), "new": list(book.step.new),
            "who": said[book.version].who if book.version in said else None,
            "why": said[book.version].why if book.version in said else None,
        }
        for book, at_ms in versions
    ]  # fmt: skip
    if as_json:
        shared.print_json(facts)
        return
    table = Table("version", "when", "move", "from", "to", "who", "why")
    for fact in facts:
        table.add_row(
            str(fact["version"]), shortly(fact["at"]), fact["move"], ", ".join(fact["old"]),
            ", ".join(fact["new"]), fact["who"] or "", fact["why"] or "",
        )  # fmt: skip
    shared.console().print(table if facts else "the rulebook was never changed")


def as_toml(book: Rulebook) -> str:
    """The policies that the next training learns, as policies.toml holds them."""
    import json

    parts = [f"# Version {book.version} of the rulebook\n"]
    for one in book.to_train.policies:
        facts = one.model_dump(exclude={"id"})
        # JSON's strings and numbers are TOML's too, but for a character that TOML does not let stand
        lines = [
            f"{name} = {json.dumps(value, ensure_ascii=False)}".replace("\x7f", "\\u007f")
            for name, value in facts.items()
        ]
        parts.append(f"[policies.{one.id}]\n" + "\n".join(lines) + "\n")
    return "\n".join(parts)


def _start(engine: "Engine", named: str | None) -> "tuple[Bundle, Rulebook, int]":
    """The bundle, the rulebook as it is or as it would begin, and the version that is written."""
    from stallwart.replay.session import named_bundle
    from stallwart.store import rulebooks
    from stallwart.store.database import reading

    bundle = named_bundle(named or "champion", engine)
    with reading(engine) as connection:
        book = rulebooks.current(connection)
    return bundle, book or rulebook.begin(bundle.taxonomy), book.version if book else 0


def _begin_to_earn(
    connection: "Connection", bundle: "Bundle", policies: Sequence[Policy], who: str, why: str, now_ms: int
) -> None:
    """Let new policies earn the right to act by verdicts on would-be blocks; with a new head, anew."""
    from stallwart.monitoring.certificates import first_rights
    from stallwart.store import rights

    begun = [
        rights.Right(bundle.digest, one.id, rights.State.NONE, one.precision, None, None, why, now_ms)
        for one in policies
    ]
    # The bundle's own with them: whoever finds some of its rights takes them for all
    for given in (first_rights(bundle, now_ms), begun):
        rights.adopt(connection, given, who=who, now_ms=now_ms)
    for one in policies:
        seen = rights.read_right(connection, bundle.digest, one.id)
        if seen.state not in (rights.State.NONE, rights.State.WITHDRAWN):
            changed = "its head was fitted again, so that earlier verdicts say nothing of its score"
            seen = rights.withdraw(connection, seen, who=who, why=changed, now_ms=now_ms)
        rights.start_earning(connection, seen, _TRIED, who=who, why=why, now_ms=now_ms)


def _is_new(policy: Policy, book: Rulebook) -> bool:
    """Whether a policy is not there yet, or is tried and may get another head."""
    for entry in book.entries:
        if entry.policy.id == policy.id:
            return entry.standing is Standing.TRIED and entry.policy.covers == policy.covers
    return True


def _moved(make: Any, named: str | None, who: str | None, why: str, yes: bool, as_json: bool) -> None:
    by = shared.operator(who)
    with ready_database(shared.read_settings()) as engine:
        from stallwart.store import rulebooks
        from stallwart.store.database import reading, writing

        _, book, seen = _start(engine, named)
        made = make(book)
        if yes:
            with writing(engine) as connection:
                books = [made] if seen else [book, made]
                found = rulebooks.move(connection, books, seen=seen, who=by, why=why, now_ms=wall_ms())
        else:
            with reading(engine) as connection:
                found = rulebooks.effects(connection, made)
    facts = {
        "changed": yes, "version": made.version, "move": str(made.step.move), "old": list(made.step.old),
        "new": list(made.step.new), "tasks_cancelled": found.cancelled, "tasks_kept": found.kept,
        "addons_ended": list(found.ended),
    }  # fmt: skip
    _told(facts, as_json, _effects(made, found))


def _effects(book: Rulebook, found: "Effects") -> list[str]:
    """What happens to labels, tasks, thresholds and statistics, in sentences."""
    old, new = ", ".join(book.step.old), ", ".join(book.step.new)
    lines = {
        Move.SPLIT: [
            f"labels: of {old} they are unknown for {new} until somebody says which; its `no` is one to each",
            f"thresholds: {old} keeps its own until a bundle knows {new}, which act on nothing until then",
            f"statistics: of {old} they end with that bundle; of {new} they begin now",
        ],
        Move.MERGE: [
            f"labels: of {old} they count for {new}",
            f"thresholds: {old} keep theirs until a bundle knows {new}, which acts on nothing until then",
            f"statistics: of {old} they end with that bundle; of {new} they begin now",
        ],
        Move.RETIRE: [
            f"labels: of {old} they are kept, and count as neutral in the next training",
            f"thresholds: {old} neither acts nor asks from now on",
            f"statistics: of {old} they end now",
        ],
        Move.NARROW: [
            f"labels: of {old} they are kept, and unknown until somebody says again; its `no` stays",
            f"thresholds: {old} asks people and does not act until a bundle was trained on the new text",
            f"statistics: of {old} they begin again",
        ],
    }[book.step.move]
    tasks = f"tasks: {found.cancelled:,} open ones are cancelled, {found.kept:,} stay"
    ended = [f"add-ons: {len(found.ended)} end"] if found.ended else []
    return [*lines, tasks, *ended]


def _told(facts: dict[str, Any], as_json: bool, lines: Sequence[str]) -> None:
    if as_json:
        shared.print_json(facts)
        return
    print(f"version {facts['version']} of the rulebook" + ("" if facts["changed"] else ", if it were done"))  # noqa: T201
    for line in lines:
        print(f"  {line}")  # noqa: T201
    if not facts["changed"]:
        shared.say("nothing was changed; do it with --yes")
