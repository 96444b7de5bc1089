"""`stallwart webhooks`: who is told of decisions and alerts."""

import asyncio
import secrets
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Column, Table

from stallwart.cli import shared
from stallwart.cli.database import moment, ready_database, shortly, wall_ms
from stallwart.core.decision import Action, Cause, Decision
from stallwart.core.errors import ConfigError, GateError

if TYPE_CHECKING:
    from stallwart.core.settings import Settings
    from stallwart.serving.post import Answer
    from stallwart.store.outbox import Delivery
    from stallwart.store.webhooks import Webhook

app = typer.Typer(
    name="webhooks",
    help="Webhooks: who is told of decisions and alerts, signed, at least once and in order per listing.",
    no_args_is_help=True,
)

WebhookId = Annotated[str, typer.Argument(help="The webhook's id, as `stallwart webhooks list` shows it.")]


@app.command()
def add(
    url: Annotated[str, typer.Argument(help="https URL that decisions are POSTed to.")],
    action: Annotated[
        list[Action] | None,
        typer.Option(help="Which decisions it is told; repeat it for several.", show_default=False),
    ] = None,
    alerts: Annotated[
        bool, typer.Option("--alerts", help="Tell it of alerts: raised, worse, resolved.")
    ] = False,
    as_json: shared.AsJson = False,
) -> None:
    """Add a webhook; the secret that signs its deliveries is printed now and never again.

    The secret alone goes to stdout; give it to the receiver, who checks deliveries with
    `stallwart.client.webhooks.verify`. Running services follow within STALLWART_KEY_CACHE_SECONDS. Private
    and loopback addresses are refused, and so is http, unless STALLWART_WEBHOOK_PRIVATE is set.

    Example:
        stallwart webhooks add https://shop.example.com/hooks/stallwart --action block --action review
    """
    settings = shared.read_settings()
    with ready_database(settings) as engine:
        from stallwart.serving.post import check_webhook_url
        from stallwart.store.webhooks import add_webhook

        check_webhook_url(url, settings)
        hook = add_webhook(engine, url, action or [], wall_ms(), alerts=alerts)
    if as_json:
        shared.print_json({**_facts(hook), "secret": hook.secret})
        return
    print(hook.secret)  # noqa: T201
    shared.say(f"webhook {hook.webhook_id} is told of: {', '.join(_told(hook))}")
    shared.say("keep the line above: it is not shown again")


@app.command("list")
def list_(as_json: shared.AsJson = False) -> None:
    """Show all webhooks, and how much waits for each or was given up.

    Example:
        stallwart webhooks list
    """
    with ready_database(shared.read_settings()) as engine:
        from stallwart.store.outbox import Backlog, backlog
        from stallwart.store.webhooks import list_webhooks

        left = backlog(engine)
        hooks = [(hook, left.get(hook.webhook_id, Backlog())) for hook in list_webhooks(engine)]
    if as_json:
        shared.print_json(
            [
                {**_facts(hook), "waiting": of.waiting, "dead": of.dead, "oldest": moment(of.oldest_ms)}
                for hook, of in hooks
            ]
        )
        return
    table = Table(Column("id", no_wrap=True), "url", "actions", "waiting", "oldest", "dead")
    for hook, of in hooks:
        actions = " ".join(_told(hook))
        waiting, oldest, dead = f"{of.waiting:,}", shortly(moment(of.oldest_ms)), f"{of.dead:,}"
        table.add_row(hook.webhook_id, hook.url, actions, waiting, oldest, dead)
    shared.console().print(table if hooks else "no webhooks; see: stallwart webhooks add")


@app.command()
def remove(webhook_id: WebhookId, as_json: shared.AsJson = False) -> None:
    """Tell a webhook nothing more; what waits for it becomes dead letters.

    Example:
        stallwart webhooks remove wh_0123456789ab
    """
    with ready_database(shared.read_settings()) as engine:
        from stallwart.store.webhooks import remove_webhook

        given_up = remove_webhook(engine, webhook_id, wall_ms())
    if as_json:
        shared.print_json({"webhook_id": webhook_id, "given_up": given_up})
    else:
        print(f"removed {webhook_id}; {given_up:,} waiting deliveries were given up")  # noqa: T201


@app.command("test")
def try_(webhook_id: WebhookId, as_json: shared.AsJson = False) -> None:
    """Send a made-up decision to a webhook now, signed as any other; exit code 1 where it does not take it.

    Its listing is named `stallwart-test`, and its delivery id begins with `test_`.

    Example:
        stallwart webhooks test wh_0123456789ab
    """
    settings = shared.read_settings()
    with ready_database(settings) as engine:
        from stallwart.store.webhooks import read_webhook

        hook = read_webhook(engine, webhook_id)
    if hook.removed_at_ms is not None:
        raise ConfigError(f"webhook {webhook_id} was removed; see: stallwart webhooks list")
    answer = asyncio.run(_send_test(hook, settings))
    if as_json:
        shared.print_json({"webhook_id": webhook_id, "took": answer.took, "status": answer.status})
    if not answer.took:
        raise GateError(f"webhook {webhook_id} did not take it: {answer.said}")
    if not as_json:
        print(f"{webhook_id} took it: {answer.said}")  # noqa: T201


@app.command()
def dead(
    webhook_id: Annotated[str | None, typer.Argument(help="Of this webhook only.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Most that are shown.")] = 100,
    as_json: shared.AsJson = False,
) -> None:
    """Show dead letters: deliveries that were given up, and why, the earliest first.

    Example:
        stallwart webhooks dead wh_0123456789ab --json
    """
    with ready_database(shared.read_settings()) as engine:
        from stallwart.store.outbox import list_dead

        letters = list_dead(engine, webhook_id, limit)
    if as_json:
        shared.print_json([_letter(letter) for letter in letters])
        return
    table = Table(
        Column("delivery", no_wrap=True), "webhook", "listing", "decision", "given up", "attempts", "why"
    )
    for one in letters:
        ended, attempts = shortly(moment(one.ended_at_ms)), str(one.attempts)
        table.add_row(
            one.delivery_id, one.webhook_id, one.listing_id, one.decision_id, ended, attempts, one.last_error
        )
    shared.console().print(table if letters else "no dead letters")


@app.command()
def replay(
    webhook_id: WebhookId,
    delivery: Annotated[
        list[str] | None, typer.Argument(help="Ids of dead letters; all of the webhook if not given.")
    ] = None,
    as_json: shared.AsJson = False,
) -> None:
    """Send dead letters again, in their old order and with all attempts before them.

    Later decisions of a listing that were delivered in the meantime are not sent again; a receiver tells by
    `decided_at_ms` and `supersedes` that a replayed decision is not the last.

    Example:
        stallwart webhooks replay wh_0123456789ab
    """
    with ready_database(shared.read_settings()) as engine:
        from stallwart.store.outbox import replay_dead

        replayed = replay_dead(engine, webhook_id, wall_ms(), delivery or [])
    if as_json:
        shared.print_json({"webhook_id": webhook_id, "replayed": replayed})
    else:
        print(f"deliveries to {webhook_id} that wait again: {replayed:,}")  # noqa: T201


async def _send_test(hook: "Webhook", settings: "Settings") -> "Answer":
    from stallwart.serving.post import post_signed, webhook_client

    decision = Decision(
        decision_id=f"test-{secrets.token_hex(8)}",
        listing_id="stallwart-test",
        revision="0" * 64,
        action=min(hook.actions, default=Action.ALLOW),
        policies=(),
        reason="a test of the webhook; no listing was decided about",
        scores=None,
        thresholds={},
        bundle="0" * 64,
        taxonomy="0" * 64,
        cause=Cause.NEW,
        decided_at_ms=wall_ms(),
    )
    body = decision.model_dump_json().encode()
    async with webhook_client(settings) as client:
        return await post_signed(client, hook, f"test_{secrets.token_hex(8)}", body, settings, wall_ms)


def _told(hook: "Webhook") -> list[str]:
    return [*sorted(hook.actions), *(["alerts"] if hook.alerts else [])]


def _facts(hook: "Webhook") -> dict[str, Any]:
    return {
        "webhook_id": hook.webhook_id,
        "url": hook.url,
        "actions": sorted(hook.actions),
        "alerts": hook.alerts,
        "created": moment(hook.created_at_ms),
    }


def _letter(one: "Delivery") -> dict[str, Any]:
    return {
        "delivery_id": one.delivery_id,
        "webhook_id": one.webhook_id,
        "listing_id": one.listing_id,
        "decision_id": one.decision_id,
        "attempts": one.attempts,
        "why": one.last_error,
        "created": moment(one.created_at_ms),
        "given_up": moment(one.ended_at_ms),
    }
