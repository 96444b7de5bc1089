"""The page of certificates shows rights and their evidence, and lets people withdraw and begin to earn."""

import pytest

from stallwart.core.settings import Settings
from stallwart.monitoring.certificate_pages import CertificatesSection, line
from stallwart.monitoring.certificates import Certificates
from stallwart.monitoring.step import Around
from stallwart.review.account import AccountSection
from stallwart.store.database import reading
from stallwart.store.people import Role
from stallwart.store.rights import State, read_right
from tests.monitoring.rights_made import judged, with_rights, would_be
from tests.pages.sites import signed_in, site, words
from tests.store.reviewing import QUICK
from tests.store.rolling import NOW, OLD

LATER = NOW + 10 * 86_400_000


@pytest.fixture
def lead(database):
    with_rights(database)
    return signed_in(site(database, [AccountSection(QUICK), CertificatesSection()]), database, Role.LEAD)


def look(database):
    Certificates(Around(database, Settings(), lambda: LATER)).run()


def right(database, policy):
    with reading(database) as connection:
        return read_right(connection, OLD, policy)


def test_it_says_who_may_act_alone_and_what_speaks_against_it(database, lead):
    judged(database, range(8), "yes")
    judged(database, range(8, 10), "no")
    look(database)
    page = lead.get("/certificates").text
    assert "<polyline" in page
    said = words(page)
    assert "tobacco acts alone, certified offline" in said
    assert "10 verdicts on drawn blocks: 8 right, 2 wrong" in said
    assert "drugs never had it" in said


def test_a_lead_withdraws_a_right_with_a_reason(database, lead):
    form = {"bundle": OLD, "policy": "tobacco", "version": "1"}
    assert "is stallwart watch running?" in words(lead.get("/certificates").text)
    refused = lead.post("/certificates/withdraw", **form, why=" ")
    assert refused.status_code >= 400
    answer = lead.post("/certificates/withdraw", **form, why="vapes are called wrongly")
    assert (answer.status_code, answer.headers["location"]) == (303, "/certificates")
    assert right(database, "tobacco").state is State.WITHDRAWN
    assert right(database, "tobacco").why == "vapes are called wrongly"
    again = lead.post("/certificates/withdraw", **form, why="once more")
    assert again.status_code >= 400, "the page that this comes from is an old one"
    said = words(lead.get("/certificates").text)
    assert "withdrawn: its blocks go to review" in said
    assert "None acts alone or is earning it, so there is nothing to look at" in said


def test_a_lead_lets_a_policy_earn_its_right_and_the_page_says_how_many_more(database, lead):
    answer = lead.post(
        "/certificates/earn", bundle=OLD, policy="drugs", version="1", why="it looks good in review"
    )
    assert answer.status_code == 303
    begun = right(database, "drugs")
    assert (begun.state, begun.tried[0], len(begun.tried)) == (State.EARNING, 0.7, 4)
    would_be(database, range(2_000_000, 2_000_012), "yes", at_ms=begun.since_ms + 1)
    look(database)
    said = words(lead.get("/certificates").text)
    assert "12 verdicts on drawn would-be blocks: 12 right" in said
    assert "more verdicts would prove it from" in said


@pytest.mark.parametrize("form", [{"version": "x"}, {"policy": "wine"}, {"version": "7"}])
def test_a_form_that_fits_nothing_is_refused(database, lead, form):
    given = {"bundle": OLD, "policy": "tobacco", "version": "1", "why": "a reason", **form}
    assert lead.post("/certificates/withdraw", **given).status_code in (400, 404, 409, 422)
    assert right(database, "tobacco").state is State.CERTIFIED


def test_before_anything_decides_the_page_says_so(database):
    somebody = signed_in(
        site(database, [AccountSection(QUICK), CertificatesSection()]), database, Role.ENGINEER
    )
    assert "No bundle decides yet" in words(somebody.get("/certificates").text)


def test_a_line_stays_within_its_drawing():
    drawn = line([[0, 0.0, 1.0], [50, 4.0, 0.0], [100, 9.5, 0.0]], 8.0)
    assert drawn is not None
    assert drawn.path == "0.0,120.0 320.0,69.5 640.0,0.0"
    assert len(drawn.wrong) == 2
    assert 0 < drawn.limit_y < 120
    assert line([], 8.0) is None
