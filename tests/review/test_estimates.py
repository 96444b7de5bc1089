import pytest
from pages.sites import Clock, signed_in, site, words
from review.audited_weeks import audited

from stallwart.estimate.audit import Estimate
from stallwart.review.charts import Point, chart
from stallwart.review.estimate_board import EstimateBoard
from stallwart.review.estimates import EstimatesSection, percent, row
from stallwart.store.people import Role


@pytest.fixture
def board(database):
    return EstimateBoard(database, Clock())


@pytest.fixture
def lead(database, board):
    return signed_in(site(database, [EstimatesSection(board)]), database, Role.LEAD)


def test_before_anything_is_known_the_page_says_so(lead, board):
    assert "being worked out for the first time" in words(lead.get("/estimates").text)
    board.step()
    assert "Nothing was decided in the last 28 days" in words(lead.get("/estimates").text)
    assert lead.get("/estimates/tobacco").status_code == 404


def test_the_page_shows_figures_with_intervals_and_the_counts_behind_them(database, lead, board):
    drawn = audited(database, days=14, every=3)
    board.step()
    text = words(lead.get("/estimates").text)
    assert f"{drawn:,} drawn" in text
    assert "verdicts say yes" in text
    told = board.latest("blocks").overall.audit
    for figure in (told.prevalence, told.precision):
        assert f"{percent(figure.value)} {percent(figure.lower)} to {percent(figure.upper)}" in text
    assert told.precision.value == pytest.approx(0.89, abs=0.1)
    assert 'href="/estimates/tobacco"' in lead.get("/estimates").text
    one = words(lead.get("/estimates/tobacco?about=calls").text)
    assert "Estimates of tobacco" in one
    assert "aria-current" in lead.get("/estimates/tobacco?about=calls").text


def test_no_miss_found_is_shown_as_an_interval_and_never_as_a_recall_of_100_percent(
    database, lead, board, monkeypatch
):
    from review import audited_weeks

    bands = [(*band[:5], 0.0 if band[1] == "allow" else 1.0) for band in audited_weeks.BANDS]
    monkeypatch.setattr(audited_weeks, "BANDS", [band for band in bands if band[1] != "review"])
    audited(database, days=7, every=3)
    board.step()
    text = words(lead.get("/estimates").text)
    assert board.latest("blocks").overall.audit.recall.value is None
    assert "No miss was found in" in text
    recall = board.latest("blocks").overall.audit.recall
    assert f"Recall {percent(recall.lower)} to {percent(recall.upper)}" in text


@pytest.mark.parametrize(
    ("value", "lower", "upper", "shown"),
    [(0.0, 0.0, 0.99, "0.00 % to 99 %"), (0.0, 0.0, 0.04, "0.00 %"), (None, 0.3, 1.0, "30 % to 100 %")],
)
def test_one_verdict_makes_no_single_number(value, lower, upper, shown):
    told = row(Estimate(value, lower, upper, verdicts=1, violating=0, unknown=0, unseen=0))
    assert told["value"] == shown
    assert bool(told["bounds"]) == (upper < 0.5)


def test_what_a_policy_is_called_cannot_break_the_page(database, lead, board, monkeypatch):
    from review import audited_weeks

    nasty = "<img src=x onerror=alert(1)>/../?a=b#"
    monkeypatch.setattr(
        audited_weeks, "BANDS", [("block from 0.6", audited_weeks.Action.BLOCK, (nasty,), 0.5, 20, 1.0)]
    )
    audited(database, days=2)
    board.step()
    assert "<img" not in lead.get("/estimates").text


def test_a_chart_keeps_its_points_within_its_scale():
    points = [Point("a", 0.002, 0.001, 0.013, "a"), Point("b", None, 0.0, 0.004, "b")]
    drawn = chart("Prevalence", points)
    assert [line.text for line in drawn.lines] == ["0 %", "1 %", "2 %"]
    for mark in drawn.marks:
        assert 0 <= mark.top <= mark.bottom <= drawn.height
        assert drawn.left <= mark.x <= drawn.right
    assert drawn.marks[1].y is None
    assert [one.text for one in drawn.names] == ["a", "b"]
    assert chart("Prevalence", []) is None
    assert chart("Recall", points, 1.0).lines[-1].text == "100 %"
