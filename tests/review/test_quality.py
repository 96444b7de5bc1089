import pytest
from pages.sites import Clock, signed_in, site, words

from stallwart.review.quality import QualitySection
from stallwart.review.quality_board import QualityBoard
from stallwart.store.database import reading, writing
from stallwart.store.gold import list_gold
from stallwart.store.people import Role
from stallwart.store.verdicts import Answer, Source, add_verdict
from tests.store.outgoing import decide
from tests.store.rolling import NOW

YES, NO = {"tobacco": Answer.YES}, {"tobacco": Answer.NO}


@pytest.fixture
def board(database):
    return QualityBoard(database, Clock())


@pytest.fixture
def lead(database, board):
    return signed_in(site(database, [QualitySection(board)]), database, Role.LEAD)


def say(database, name, who, answers, source=Source.REVIEW, **facts):
    given = {"decision_id": f"d-{name}-0001", "answers": answers, "who": who, "source": source}
    with writing(database) as connection:
        return add_verdict(connection, now_ms=NOW, **given, **facts)


def test_without_readings_the_page_says_what_is_not_known(lead, board):
    assert "worked out for the first time" in words(lead.get("/quality").text)
    board.step()
    text = words(lead.get("/quality").text)
    assert "No decision was read twice yet" in text
    assert "Nothing can be said yet" in text


def test_agreement_is_of_blind_pairs_and_open_until_a_third_settles_it(database, lead, board):
    names = [f"n{number}" for number in range(20)]
    decide(database, [], *((name, 1) for name in names))
    for place, name in enumerate(names):
        say(database, name, "rita", YES if place < 8 else NO)
        say(database, name, "sam", YES if place < 6 else NO, Source.SECOND)
    undone = say(database, "n0", "sam", NO, Source.SECOND)
    say(database, "n0", "sam", YES, Source.SECOND, replaces=undone.verdict_id)
    say(database, "n7", "tom", YES, Source.TIEBREAK)
    board.step()
    ((policy, told),) = board.latest.policies
    assert (policy, told.pairs, told.same) == ("tobacco", 20, 18)
    assert told.kappa == pytest.approx(0.7826, abs=1e-4)
    assert [names for names, _ in board.latest.pairs] == [("rita", "sam")]
    assert [one.decision_id for one in board.latest.open] == ["d-n6-0001"]
    text = words(lead.get("/quality").text)
    assert "0.78" in text
    assert "18 of 20" in text
    assert "d-n6-0001" in text


def test_gold_is_added_from_a_list_and_retired_and_each_act_needs_a_reason(database, lead):
    decide(database, [], ("a", 1), ("b", 1))
    lines = "d-a-0001 tobacco\nd-b-0001 neutral"
    assert lead.post("/quality/gold", lines=lines, why=" ").status_code == 422
    assert lead.post("/quality/gold", lines=lines, why="clear cases").status_code == 303
    with reading(database) as connection:
        found = {one.decision_id: one for one in list_gold(connection)}
    assert found["d-a-0001"].answers == YES
    assert found["d-b-0001"].answers == NO
    assert "2 decisions are gold now" in words(lead.get("/quality").text)
    assert lead.post("/quality/gold/retire", decision="d-a-0001", why="known to all").status_code == 303
    with reading(database) as connection:
        assert [one.decision_id for one in list_gold(connection) if one.retired_at_ms is None] == ["d-b-0001"]


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ("", "1 to 200 lines"), ("d-a-0001", "line 1: needs"), ("d-x tobacco", "no decision"),
        ("d-a-0001 fireworks", "neither neutral nor policies"),
        ("d-a-0001 tobacco\nd-a-0001 tobacco", "gold already"),
    ],
)  # fmt: skip
def test_a_list_with_a_mistake_adds_nothing(database, lead, lines, says):
    decide(database, [], ("a", 1))
    told = lead.post("/quality/gold", lines=lines, why="x")
    assert told.status_code >= 400
    assert says.lower() in words(told.text).lower().replace("&#39;", "'")
    with reading(database) as connection:
        assert list_gold(connection) == []
