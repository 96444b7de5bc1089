"""`stallwart keys`: who may call the service."""

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Column, Table

from stallwart.cli import shared
from stallwart.cli.database import moment, ready_database, shortly, wall_ms
from stallwart.core.errors import ConfigError

if TYPE_CHECKING:
    from stallwart.store.keys import ApiKey, NewKey

app = typer.Typer(
    name="keys",
    help="API keys of the service: who may call it, for what, until when and how often.",
    no_args_is_help=True,
)

KeyId = Annotated[str, typer.Argument(help="The key's id, as `stallwart keys list` shows it.")]


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Who the key is for; several keys may share a name.")],
    scope: Annotated[
        list[str],
        typer.Option(
            help="What it may do: score, read, feedback, admin; repeat it for several, none implies another.",
            show_default=False,
        ),
    ],
    per_minute: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Requests in a calendar minute over all processes, a batch is one; no limit if not given.",
        ),
    ] = None,
    expires: Annotated[
        str | None, typer.Option(help="First day on which it is refused, UTC; never if not given.")
    ] = None,
    as_json: shared.AsJson = False,
) -> None:
    """Make an API key; its secret is printed now and never again.

    The secret alone goes to stdout. Send it as the header `Authorization: Bearer sw_...`.

    Example:
        stallwart keys create shop --scope score --scope read --per-minute 600 --expires 2027-01-01
    """
    until = shared.day(expires, "--expires")
    with ready_database(shared.read_settings()) as engine:
        from stallwart.store.keys import Scope, create_key

        unknown = [one for one in scope if one not in set(Scope)]
        if unknown:
            raise ConfigError(f"--scope: no scope {unknown[0]!r}; there are: {', '.join(Scope)}")
        made = create_key(
            engine,
            name,
            map(Scope, scope),
            wall_ms(),
            per_minute=per_minute,
            expires_at_ms=None if until is None else int(until.timestamp() * 1000),
        )
    _print_new(made, as_json)


@app.command("list")
def list_(as_json: shared.AsJson = False) -> None:
    """Show all keys, the expired and revoked ones too; secrets are kept nowhere.

    Example:
        stallwart keys list --json
    """
    with ready_database(shared.read_settings()) as engine:
        from stallwart.store.keys import list_keys

        facts = [_facts(key) for key in list_keys(engine)]
    if as_json:
        shared.print_json(facts)
        return
    table = Table(Column("id", no_wrap=True), "name", "scopes", "per minute", "expires", "state")
    for fact in facts:
        per_minute = f"{fact['per_minute']:,}" if fact["per_minute"] else "no limit"
        table.add_row(
            fact["key_id"], fact["name"], " ".join(fact["scopes"]), per_minute,
            shortly(fact["expires"]) or "never", fact["state"],
        )  # fmt: skip
    shared.console().print(table if facts else "no keys; see: stallwart keys create")


@app.command()
def revoke(key_id: KeyId, as_json: shared.AsJson = False) -> None:
    """Refuse a key from now on; running services follow within STALLWART_KEY_CACHE_SECONDS.

    Example:
        stallwart keys revoke 0123456789ab
    """
    settings = shared.read_settings()
    with ready_database(settings) as engine:
        from stallwart.store.keys import revoke_key

        key = revoke_key(engine, key_id, wall_ms())
    if as_json:
        shared.print_json(_facts(key))
    else:
        print(f"revoked {key.key_id} ({key.name}); refused within {settings.key_cache_seconds:g} s")  # noqa: T201


@app.command()
def rotate(
    key_id: KeyId,
    overlap_hours: Annotated[
        float, typer.Option(min=0, max=24 * 365, help="How long the old key still works, in hours.")
    ] = 24.0,
    as_json: shared.AsJson = False,
) -> None:
    """Replace a key by one with its name, scopes, quota and lifetime; the old one ends after the overlap.

    The new secret alone goes to stdout, now and never again. In the overlap each key has a quota of its own.

    Example:
        stallwart keys rotate 0123456789ab --overlap-hours 48
    """
    with ready_database(shared.read_settings()) as engine:
        from stallwart.store.keys import rotate_key

        made = rotate_key(engine, key_id, wall_ms(), int(overlap_hours * 3_600_000))
    _print_new(made, as_json, replaces=key_id)


def _print_new(made: "NewKey", as_json: bool, replaces: str | None = None) -> None:
    facts = _facts(made.key)
    if as_json:
        shared.print_json({**facts, "replaces": replaces, "secret": made.secret})
        return
    print(made.secret)  # noqa: T201
    expires = facts["expires"] or "never"
    shared.say(f"key {made.key.key_id} for {made.key.name}: {', '.join(facts['scopes'])}; expires {expires}")
    shared.say("keep the line above: it is not shown again")


def _facts(key: "ApiKey") -> dict[str, Any]:
    return {
        "key_id": key.key_id,
        "name": key.name,
        "scopes": sorted(key.scopes),
        "per_minute": key.per_minute,
        "created": moment(key.created_at_ms),
        "expires": moment(key.expires_at_ms),
        "revoked": moment(key.revoked_at_ms),
        "state": key.state(wall_ms()),
    }
