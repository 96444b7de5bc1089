"""What the pages ask a full database, and which of it reads a whole table; asked through the site itself."""

import re
import tempfile
from pathlib import Path

from sqlalchemy import Engine
from starlette.testclient import TestClient

from bench.queues.fill import POLICIES
from bench.queues.pages import CSRF, JUDGED, TASK, WORDS, rulebook
from stallwart.cli.database import wall_ms
from stallwart.cli.review import compose
from stallwart.core.settings import Settings
from stallwart.pages.app import Parts, create_site
from stallwart.store.passwords import Passwords
from tests.store.test_query_plans import plans, whole

_LARGE = ("decisions", "revisions", "tasks", "verdicts", "audit_draws")  # those that `fill` fills


def scans(engine: Engine, name: str) -> tuple[int, list[tuple[str, str]]]:
    """How many statements the pages of a lead gave, and those that read a whole table: (table, statement).

    Of tables with few rows a database is right to read all.
    """
    quick = Passwords(time_cost=1, memory_kib=64, lanes=1)
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(threads=4, data_dir=Path(folder), review_explain_seconds=0)
        sections, _ = compose(engine, settings, quick, wall_ms, None, rulebook(Path(folder)))
        client = TestClient(create_site(sections, Parts(engine, settings, quick, wall_ms)))
        with plans(engine) as found:
            _day(client, name)
    read = {(whole(line) or "", statement) for statement, line in found}
    return len({statement for statement, _ in found}), sorted(one for one in read if one[0] in _LARGE)


def _day(client: TestClient, name: str) -> None:
    token = CSRF.findall(client.get("/sign-in").text)[-1]
    form = {"csrf": token, "name": name, "password": WORDS, "next": ""}
    assert client.post("/sign-in", data=form, follow_redirects=False).status_code == 303
    page = client.get("/tasks").text
    client.headers.update({"x-csrf-token": CSRF.findall(page)[0], "hx-request": "true"})

    def post(act: str, **form: object) -> str:
        answer = client.post(f"/tasks/{act}", data=form)
        assert answer.status_code in (200, 204), (act, answer.status_code, answer.text[:300])
        return answer.text

    (task,) = TASK.findall(page)
    more = post("take", have=[task])
    post(f"{task}/verdict", policy=POLICIES[0], judged=JUDGED.findall(page))
    post("undo")
    post("renew", have=[task])
    post(f"{task}/skip", reason="I cannot tell")
    (other,) = TASK.findall(more)
    client.get(f"/tasks/{other}/nearest")
    post(f"{other}/escalate", reason="too hard")
    post("take")
    del client.headers["hx-request"]
    listing = re.compile(r"listing-\d+")
    for path in ("/queue", "/views", "/tasks", "/search", "/statements"):
        answer = client.get(path)
        assert answer.status_code == 200, (path, answer.status_code)
        for one in listing.findall(answer.text)[:1]:
            client.get("/views", params={"listing": one})
