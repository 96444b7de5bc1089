import pytest

from stallwart.core import rulebook
from stallwart.core.errors import ConfigError
from stallwart.core.rulebook import Standing
from stallwart.core.taxonomy import Policy, Taxonomy


def policy(name, covers="all of it", prevalence=0.01):
    return Policy(id=name, title=name, covers=covers, prevalence=prevalence)


@pytest.fixture
def book():
    return rulebook.begin(Taxonomy(policies=(policy("drugs"), policy("weapons"), policy("fraud"))))


def standings(book):
    return {entry.policy.id: str(entry.standing) for entry in book.entries}


def test_a_version_follows_each_move_and_the_one_before_stays_as_it_was(book):
    more = rulebook.add(book, policy("knives"))
    assert (book.version, more.version) == (1, 2)
    assert standings(more) == {**standings(book), "knives": "tried"}
    assert book.digest != more.digest == rulebook.add(book, policy("knives")).digest
    assert more.to_train.ids == ("drugs", "weapons", "fraud", "knives")


def test_a_split_keeps_the_old_policy_going_and_trains_its_parts(book):
    made = rulebook.split(book, "drugs", (policy("cannabis"), policy("opioids")))
    assert standings(made)["drugs"] == "replaced"
    assert made["cannabis"].origin == ("drugs",)
    assert made.to_train.ids == ("weapons", "fraud", "cannabis", "opioids")
    assert made.standing_of(policy("drugs")) is Standing.REPLACED


def test_a_narrowed_policy_is_active_again_in_a_bundle_that_learned_its_new_text(book):
    made = rulebook.narrow(book, policy("drugs", covers="without cannabis"))
    assert made.standing_of(policy("drugs")) is Standing.NARROWED
    assert made.standing_of(policy("drugs", covers="without cannabis")) is Standing.ACTIVE


def test_a_policy_that_is_tried_is_active_in_a_bundle_that_learned_it(book):
    assert rulebook.add(book, policy("knives")).standing_of(policy("knives")) is Standing.ACTIVE


def test_a_policy_that_no_rulebook_knows_stands_nowhere(book):
    assert book.standing_of(policy("elsewhere")) is None


@pytest.mark.parametrize(
    ("move", "said"),
    [
        (lambda b: rulebook.add(b, policy("drugs")), "never used again"),
        (lambda b: rulebook.add(b, policy("much", prevalence=0.98)), "leave room for neutral"),
        (lambda b: rulebook.split(b, "drugs", (policy("one"),)), "two policies or more"),
        (lambda b: rulebook.split(b, "toys", (policy("a"), policy("b"))), "no policy 'toys'"),
        (lambda b: rulebook.merge(b, ("drugs", "drugs"), policy("all")), "two different policies"),
        (lambda b: rulebook.narrow(b, policy("drugs")), "the same as before"),
        (lambda b: rulebook.retire(rulebook.retire(b, "drugs"), "drugs"), "retired since version 2"),
        (lambda b: rulebook.add(rulebook.retire(b, "drugs"), policy("drugs")), "never used again"),
    ],
)
def test_a_move_that_makes_no_sense_is_refused(book, move, said):
    with pytest.raises(ConfigError, match=said):
        move(book)
