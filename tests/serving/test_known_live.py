"""What is made known to be bad decides in running services within a minute: by command and by verdict."""

import base64
import json
import subprocess
import time
from dataclasses import dataclass

import httpx
import pytest

from bench.serve.processes import ROOT, STALLWART, free_port
from stallwart.core.settings import Settings
from stallwart.store.database import database_url, open_database, writing
from stallwart.store.verdicts import Answer, Source, add_verdict
from tests.index.stored import KNIFE, LAMP, photo
from tests.serving.commands import Command, environment_of, make_key

pytestmark = pytest.mark.slow
MINUTE = 60.0  # what is promised


@dataclass
class House:
    """`stallwart serve` and `stallwart review` on one database."""

    service: Command
    key: str
    environment: dict[str, str]
    numbers: int = 0

    def decide(self, words, picture):
        """The decision on another listing with these words and this photo."""
        self.numbers += 1
        listing = {"listing_id": f"L{self.numbers}", "title": "For sale", "description": words}
        listing["photos"] = [{"base64": base64.b64encode(picture).decode()}]
        said = httpx.post(
            f"{self.service.url}/v1/decisions", json={"listing": listing}, timeout=60,
            headers={"Authorization": f"Bearer {self.key}"},
        )  # fmt: skip
        assert said.status_code == 200, said.text
        return said.json()

    def seconds_until_known(self, entry, words, picture):
        """How long other listings with these words and this photo are decided without the entry."""
        began = time.monotonic()
        while time.monotonic() - began < MINUTE:
            decision = self.decide(words, picture)
            if decision["cause"] == "known-bad" and decision["evidence"]["known"]["verdict"] == entry:
                assert decision["action"] in ("review", "block")
                return time.monotonic() - began
            time.sleep(0.5)
        raise AssertionError(f"not known after {MINUTE:g} seconds")


@pytest.fixture
def house(tmp_path, tiny_bundles):
    settings = {"data_dir": tmp_path / "data", "cache_dir": tmp_path / "cache", "deadline_ms": 30_000}
    key, environment = make_key(settings), environment_of(**settings)
    service = Command(tiny_bundles[0], settings, tmp_path / "serve.log").start()
    words = [STALLWART, "review", "--port", str(free_port())]
    with (tmp_path / "review.log").open("ab") as log:
        desk = subprocess.Popen(list(map(str, words)), env=environment, cwd=ROOT, stdout=log, stderr=log)
    try:
        yield House(service.wait(), key, environment)
    finally:
        service.stop()
        desk.terminate()
        desk.wait(60)


def test_an_entry_of_a_command_and_one_of_a_verdict_decide_within_a_minute(house, tmp_path):
    named = house.decide(LAMP, photo(1))
    assert named["cause"] == "new"
    words = [STALLWART, "known", "add", named["decision_id"], "tobacco", "--why", "a raid", "--json"]
    added = subprocess.run(words, env=house.environment, check=True, capture_output=True, text=True)
    assert json.loads(added.stdout)["policy"] == "tobacco"
    # other words: the photo alone has to be enough, sent once more at another quality
    taken = house.seconds_until_known(None, "Nothing is said of it.", photo(1, quality=80))

    judged = house.decide(KNIFE, photo(2))
    settings = Settings(data_dir=tmp_path / "data")
    engine = open_database(database_url(settings), settings)
    with writing(engine) as connection:
        said = add_verdict(
            connection, decision_id=judged["decision_id"], answers={"weapons": Answer.YES}, who="rita",
            source=Source.REVIEW, now_ms=time.time_ns() // 1_000_000,
        )  # fmt: skip
    engine.dispose()
    later = house.seconds_until_known(said.verdict_id, KNIFE + " Today!", photo(9))
    print(f"known after {taken:.1f} s by a command, {later:.1f} s by a verdict")
