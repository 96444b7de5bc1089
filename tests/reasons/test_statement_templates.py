from dataclasses import replace

import pytest

from stallwart.core.errors import ConfigError
from stallwart.core.settings import Settings
from stallwart.reasons.give import Statements
from stallwart.reasons.rows import decision_facts
from stallwart.reasons.templates import Templates, samples, tidy

FACTS = next(samples())


def written(folder, **texts):
    for name, text in texts.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".txt").write_text(text)
    return folder


def test_what_is_shipped_works_for_every_kind_of_facts_in_every_language():
    templates = Templates(None)
    assert templates.languages == ("de", "en", "es", "fr")
    for language in templates.languages:
        for facts in samples():
            said = templates.render(facts, language)
            assert (said.language, said.template) == (language, f"{language}/general")
            assert facts.decision_id in said.text
            assert facts.policies[0].title in said.text
            assert "\n\n\n" not in said.text
            assert "None" not in said.text


@pytest.mark.parametrize(
    ("changes", "says", "says_not"),
    [
        ({}, "without a person", "upheld"),
        ({"automatic": False}, "brought the listing to our attention", "probability"),
        ({"automatic": False, "detection": "notice"}, "somebody reported", "on our own initiative"),
        ({"automatic": False, "detection": "sweep", "flagged": False}, "No automated system found", "sample"),
        ({"automatic": False, "detection": "sample", "flagged": False}, "drawn by chance", "searched"),
        ({"automatic": False, "together": True}, "without looking at each", "A person looked at it"),
        ({"automatic": False, "together": True, "looked": True}, "was shown to them", "looked at it"),
        ({"automatic": False, "upheld": True}, "the decision was upheld", "without a person"),
    ],
)
def test_it_says_how_the_listing_was_found_and_who_decided(changes, says, says_not):
    text = Templates(None).render(replace(FACTS, **changes)).text
    assert says in text
    assert says_not not in text


def test_the_operators_templates_come_first_and_fall_back_to_the_general_one_and_to_english(tmp_path):
    written(tmp_path, de__weapons="Waffen {{ decision_id }}", en__general="Own {{ decision_id }}")
    templates = Templates(tmp_path)
    drugs = replace(FACTS, policies=(replace(FACTS.policies[0], id="drugs"),))
    assert templates.render(FACTS, "de").text == "Waffen d_0\n"
    assert templates.render(drugs, "de").template == "de/general"
    assert "Begründung" in templates.render(drugs, "de").text
    assert templates.render(drugs, "pt").text == "Own d_0\n"
    assert templates.render(replace(FACTS, language="de-AT")).language == "de"
    assert templates.render(replace(FACTS, language="?")).language == "en"


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("en__general", "{% if %}", "general.txt:1"),
        ("en__general", "{{ seller }}", "does not work"),
        ("en__weapons", "{{ policies[1].title }}", "does not work"),
        ("en__weapons", "{{ ''.__class__.__mro__ }}", "does not work"),
        ("en__weapons", "{{ policies.append(1) }}", "does not work"),
        ("en__general", " \n ", "gives an empty statement"),
        ("EN__general", "x", "is no LANGUAGE/POLICY.txt"),
        ("en__No-Policy", "x", "is no LANGUAGE/POLICY.txt"),
    ],
)
def test_a_template_that_does_not_work_is_found_at_start(tmp_path, name, text, said):
    written(tmp_path, **{name: text})
    with pytest.raises(ConfigError, match=said):
        Statements(Settings(statement_templates=tmp_path))


def test_a_folder_that_is_not_there_and_categories_that_cannot_be_read_are_errors(tmp_path):
    with pytest.raises(ConfigError, match="is no folder"):
        Templates(tmp_path / "none")
    for given in ("weapons", "=X", "weapons=no such", "weapons="):
        with pytest.raises(ConfigError, match="STALLWART_STATEMENT_CATEGORIES"):
            Statements(Settings(statement_categories=given))
    known = Statements(Settings(statement_categories="weapons=STATEMENT_CATEGORY_VIOLENCE, drugs=SELF_HARM"))
    assert known.category("weapons") == "STATEMENT_CATEGORY_VIOLENCE"
    assert known.category("tobacco") == "STATEMENT_CATEGORY_OTHER_VIOLATION_TC"


def test_titles_that_look_like_templates_stay_words():
    hostile = replace(FACTS, listing_id="{{ 7 * 7 }}<script>")
    assert "{{ 7 * 7 }}<script>" in Templates(None).render(hostile).text
    assert tidy("a  \n\n\n\nb") == "a\n\nb\n"


def test_the_facts_for_the_public_name_neither_listing_nor_person():
    said = decision_facts(replace(FACTS, listing_id="secret-listing"))
    assert "secret-listing" not in said
    assert "Weapons" in said
