"""An alert reaches the webhooks that want alerts, signed and in order, as a decision would."""

import asyncio
import json

from stallwart.client.webhooks import verify
from stallwart.core.settings import Settings
from stallwart.serving.deliver import Deliverer
from stallwart.store.alerts import Severity, raise_alert, resolve_alert
from stallwart.store.database import writing
from stallwart.store.webhooks import add_webhook
from tests.serving.receiver import Receiver
from tests.store.outgoing import NOW


def test_an_alert_is_told_signed_and_its_end_after_it(database):
    receiver = Receiver()
    try:
        hook = add_webhook(database, f"{receiver.url}/ops", [], NOW, alerts=True)
        with writing(database) as connection:
            raise_alert(
                connection, key="drift/colour", severity=Severity.TICKET, title="Drift: colour",
                words="grey", runbook="monitoring.md#drift", now_ms=NOW,
            )  # fmt: skip
        with writing(database) as connection:
            resolve_alert(connection, "drift/colour", who="stallwart watch", why="over", now_ms=NOW)
        deliverer = Deliverer(database, Settings(webhook_private=True), lambda: NOW, jitter=lambda: 0.5)
        asyncio.run(deliverer.drain())
        told = [json.loads(came.body) for came in receiver.came]
        assert [one["event"] for one in told] == ["raised", "resolved"]
        assert told[0]["alert"]["words"] == "grey"
        assert told[1]["alert"]["resolved_why"] == "over"
        for came in receiver.came:
            assert verify(hook.secret, came.headers, came.body, NOW / 1000)
    finally:
        receiver.close()
