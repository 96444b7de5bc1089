import numpy as np
import pytest

from stallwart.core.errors import BundleError, ConfigError, DataError, GateError, StallwartError
from stallwart.core.listing import Listing
from stallwart.core.scored import Rows, Scored
from stallwart.core.settings import Settings
from stallwart.core.taxonomy import Policy, Taxonomy, read_taxonomy


def policies(**shares):
    return Taxonomy(policies=tuple(Policy(id=i, title=i, prevalence=p) for i, p in shares.items()))


def test_each_error_has_its_own_exit_code():
    kinds = [GateError, ConfigError, DataError, BundleError]
    assert [kind.exit_code for kind in kinds] == [1, 2, 3, 4]
    assert all(issubclass(kind, StallwartError) for kind in kinds)


@pytest.mark.parametrize(
    ("title", "description", "text"),
    [
        (None, None, ""),
        (" ", "", ""),
        ("Lamp", None, "Lamp"),
        (None, "Brass.", "Brass."),
        ("Lamp", "Brass.", "Lamp. Brass."),
        ("Lamp", " Lamp ", "Lamp"),
    ],
)
def test_the_text_of_a_listing_is_what_there_is(title, description, text):
    assert Listing("L", title, description).text == text


def test_live_shares_leave_the_rest_to_neutral_and_sum_to_one():
    shares = policies(alcohol=0.02, weapons=0.01).shares
    assert list(shares) == ["neutral", "alcohol", "weapons"]
    assert sum(shares.values()) == pytest.approx(1)


def test_a_taxonomy_is_named_by_all_it_says():
    one = policies(alcohol=0.02)
    assert one.digest == policies(alcohol=0.02).digest
    assert one.digest != policies(alcohol=0.03).digest


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[policies", "not valid TOML"),
        ("", "needs a table"),
        ("policies = 3", "needs a table"),
        ("[policies]", "at least one policy"),
        ("[policies.neutral]\ntitle='x'\nprevalence=0.1", "neutral"),
        ("[policies.Alcohol]\ntitle='x'\nprevalence=0.1", "lower case"),
        ("[policies.a]\ntitle='x'\nprevalence=0", "prevalence"),
        ("[policies.a]\ntitle='x'\nprevalence=0.1\nprecison=0.9", "precison"),
        ("[policies.a]\ntitle='x'\nprevalence=0.6\n[policies.b]\ntitle='y'\nprevalence=0.5", "add up to"),
    ],
)
def test_a_wrong_policy_file_is_refused_with_its_reason(tmp_path, content, said):
    path = tmp_path / "policies.toml"
    path.write_text(content)
    with pytest.raises(ConfigError, match=said):
        read_taxonomy(path)


def test_all_that_is_wrong_with_a_policy_file_is_said_at_once_with_the_policies_names(tmp_path):
    path = tmp_path / "policies.toml"
    path.write_text(
        "[policies.wine]\ntitle='x'\nprevalence=0.1\ncover='y'\nprecision=1.5\n"
        "[policies.beer]\nprevalence='much'\n"
    )
    with pytest.raises(ConfigError) as said:
        read_taxonomy(path)
    for words in (
        "policy 'wine': no key is called 'cover'; there are: title, covers, precision, prevalence",
        "policy 'wine': precision has to be below 1.0, not 1.5",
        "policy 'beer': title is missing",
        "policy 'beer': prevalence has to be a number, not 'much'",
    ):
        assert words in str(said.value)


def test_a_policy_file_that_is_not_there_says_which(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.toml: cannot be read .* name a file"):
        read_taxonomy(tmp_path / "none.toml")


def test_an_unknown_policy_answers_with_those_there_are():
    with pytest.raises(ConfigError, match="there are: alcohol"):
        policies(alcohol=0.1)["wine"]


def rows(n):
    days = np.full(n, np.datetime64("2025-03-04", "ms"))
    words, yes = np.array([""] * n), np.ones(n, dtype=bool)
    numbers = np.arange(n)
    return Rows(np.array([f"L{i}" for i in range(n)]), numbers, days, days, numbers, words, words, yes, yes)


def test_columns_of_different_length_are_refused():
    with pytest.raises(ValueError, match="differ in length"):
        Rows(**{**{f: getattr(rows(3), f) for f in Rows.__dataclass_fields__}, "labels": np.zeros(2)})


def test_scores_need_a_row_for_each_listing_and_a_column_for_each_policy():
    taxonomy = policies(alcohol=0.1, weapons=0.1)
    scored = Scored(rows(3), np.zeros((3, 2)), taxonomy)
    assert len(scored[np.array([2, 0])]) == 2
    assert scored[np.array([2, 0])].rows.listing_ids.tolist() == ["L2", "L0"]
    assert scored.rows.months.tolist() == ["2025-03"] * 3
    with pytest.raises(ValueError, match="expected"):
        Scored(rows(3), np.zeros((3, 3)), taxonomy)


def test_settings_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("STALLWART_THREADS", "5")
    assert Settings().threads == 5
