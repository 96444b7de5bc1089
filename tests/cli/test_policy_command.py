"""`stallwart policy` on a database of its own and a bundle of tiny encoders, in this process."""

import json
import tomllib

import pytest

from stallwart.cli.policy import as_toml
from stallwart.core import rulebook
from stallwart.core.taxonomy import Policy, Taxonomy

WHY = ["--why", "the law of 1 May"]


@pytest.fixture
def knives(tmp_path):
    file = tmp_path / "knives.toml"
    file.write_text('[policies.knives]\ntitle = "Knives"\ncovers = "Blades."\nprevalence = 0.01\n')
    return file


@pytest.fixture
def examples(tmp_path):
    file = tmp_path / "examples.jsonl"
    rows = [{"listing_id": f"K{n}", "title": f"Sharp switchblade knife {n}"} for n in range(6)]
    file.write_text("\n".join(map(json.dumps, rows)))
    return file


@pytest.fixture
def policy(here, tmp_path, monkeypatch, tiny_bundles, sample_market):
    monkeypatch.setenv("STALLWART_DATA_DIR", str(tmp_path / "data"))
    from_bundle = ["--bundle", str(tiny_bundles[0])]

    def command(*args, bundle=True):
        return here("policy", *args, *(from_bundle if bundle else ()))

    command.against = ["--against", str(sorted(sample_market.glob("listings-*.parquet"))[0])]
    return command


def test_a_policy_is_shown_then_taken_in_and_retired_when_asked(policy, knives, examples):
    add = ["add", knives, "--examples", examples, *policy.against, *WHY, "--json"]
    shown = policy(*add)
    assert shown.code == 0, shown.err
    assert not shown.facts["changed"]
    made = policy(*add, "--yes")
    assert made.code == 0, made.err
    assert made.facts["policies"]["knives"]["examples"] == 6
    assert made.facts["policies"] == shown.facts["policies"]
    assert made.facts["version"] == 2

    again = policy(*add, "--yes")  # the same examples give the same head, and the right is earned anew
    assert again.code == 0, again.err
    assert again.facts["version"] == 2

    retired = policy("retire", "knives", *WHY, "--json")
    assert (retired.facts["changed"], len(retired.facts["addons_ended"])) == (False, 1)
    told = policy("retire", "knives", *WHY, "--yes")
    assert "labels: of knives they are kept" in told.out
    gone = policy(*add, "--yes")
    assert gone.code == 2
    assert "holds no policy that is new" in gone.err


def test_examples_that_cannot_be_read_are_counted_and_few_are_said_to_be_few(policy, knives, examples):
    good = json.dumps({"listing_id": "K1", "title": "Sharp switchblade knife"})
    examples.write_text(good + '\n{"listing_id": "K2", "title\n' + json.dumps({"title": "no id"}) + "\n")
    said = policy("add", knives, "--examples", examples, *policy.against, *WHY)
    assert said.code == 0, said.err
    assert "left out or cut, row: not valid JSON: 1" in said.err
    assert "left out or cut, row: no listing_id: 1" in said.err
    assert "1 examples are few; with less than 5" in said.err


def test_the_first_version_has_a_reason_of_its_own(policy, knives, examples):
    assert policy("add", knives, "--examples", examples, *policy.against, *WHY, "--yes").code == 0
    second, first = policy("history", "--json", bundle=False).facts
    assert second["why"] == "the law of 1 May"
    assert first["why"] == "as the bundle was trained, before the first change"


def test_a_rulebook_without_a_champion_says_what_to_do(policy, knives):
    said = policy("add", knives, *WHY, bundle=False)
    assert said.code == 2
    assert "champion" in said.err


def test_several_new_policies_need_a_name_where_examples_are_given(policy, knives, examples):
    knives.write_text(knives.read_text() + knives.read_text().replace("knives", "swords"))
    said = policy("add", knives, "--examples", examples, *WHY)
    assert said.code == 2
    assert "--only: knives, swords" in said.err


def test_without_traffic_and_files_there_is_nothing_to_tell_it_apart_from(policy, knives, examples):
    said = policy("add", knives, "--examples", examples, *WHY)
    assert said.code == 3
    assert "--against" in said.err


def test_what_the_next_training_learns_reads_as_it_was_said():
    odd = Policy(id="odd", title='He said "no"\n\x7f\\', covers="é 🗡 \t", prevalence=0.25)
    book = rulebook.begin(Taxonomy(policies=(odd,)))
    read = tomllib.loads(as_toml(book))["policies"]
    assert Policy(id="odd", **read["odd"]) == odd
