"""The foundation of the pages: signing in, rights, forms, headers, errors, what is escaped."""

import re

import pytest
from sites import Clock, Somebody, signed_in, site, token_of, words
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from stallwart.core.errors import ConflictError, DataError, NotFoundError, StoreError
from stallwart.core.settings import Settings
from stallwart.pages.background import Background, Job
from stallwart.pages.render import percent, span
from stallwart.pages.roles import EVERYBODY, LEADS, TABLE
from stallwart.pages.signing import safe_way
from stallwart.pages.site import Answer, Route
from stallwart.review.account import AccountSection
from stallwart.store.people import Role, disable, set_role
from tests.store.reviewing import QUICK, WORDS, act, person

HOSTILE = "<script>window.hurt = 1</script><img src=x onerror='window.hurt = 1'>\u202e\u200b\"'&"


class Odd:
    """A section whose pages do what a test says."""

    title = "Odd"

    def __init__(self, does=None, roles=EVERYBODY):
        self.does, self.roles, self.asked = does or (lambda _: Answer(b"done")), roles, []

    def routes(self):
        one = Route("/odd/{what}", "GET", self.endpoint, self.roles)
        return (one, Route("/odd/{what}", "POST", self.endpoint, self.roles, max_body_bytes=20_000))

    def endpoint(self, ask):
        self.asked.append(ask)
        return self.does(ask)


def with_account(odd):
    return [AccountSection(QUICK), odd]


@pytest.fixture
def odd():
    return Odd()


def fails(err):
    def does(_):
        raise err

    return Odd(does)


def test_a_person_signs_in_comes_to_what_they_asked_for_and_signs_out(database, odd):
    person(database, "rita")
    rita = Somebody(site(database, with_account(odd)))
    asked = rita.get("/odd/1?a=2")
    assert asked.headers["location"] == "/sign-in?next=%2Fodd%2F1%3Fa%3D2"
    page = rita.get(asked.headers["location"]).text
    assert 'name="next" value="/odd/1?a=2"' in page
    answer = rita.sign_in("Rita", way="/odd/1?a=2")
    assert (answer.status_code, answer.headers["location"]) == (303, "/odd/1?a=2")
    cookie = next(one for one in answer.headers.get_list("set-cookie") if one.startswith("stallwart="))
    assert {"HttpOnly", "Path=/", "SameSite=strict"} <= set(cookie.split("; "))
    assert "Secure" not in cookie
    assert rita.get("/odd/1?a=2").text == "done"
    assert odd.asked[-1].user.name == "rita"
    assert odd.asked[-1].query.get("a") == "2"
    assert rita.post("/sign-out").headers["location"] == "/sign-in"
    assert rita.get("/odd/1").status_code == 303


def test_over_tls_cookies_are_secure_and_bound_to_the_host(database, odd):
    person(database, "rita")
    rita = Somebody(site(database, with_account(odd), secure=True))
    rita.client.base_url = "https://site.test"
    cookies = rita.sign_in("rita").headers.get_list("set-cookie")
    assert any(one.startswith("__Host-stallwart=") and "Secure" in one for one in cookies)
    assert rita.get("/odd/1").headers["strict-transport-security"]


def test_a_wrong_password_is_refused_on_the_page_and_too_many_have_to_wait(database, odd):
    person(database, "rita")
    rita = Somebody(site(database, with_account(odd)))
    for _ in range(5):
        answer = rita.sign_in("rita", "no " + WORDS)
        assert answer.status_code == 401
        assert "Name or password is wrong" in answer.text
        assert "no " + WORDS not in answer.text
    answer = rita.sign_in("rita")
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) > 0
    assert "too many wrong passwords" in answer.text.lower()


def test_a_sign_in_form_from_elsewhere_is_refused(database, odd):
    person(database, "rita")
    rita = Somebody(site(database, with_account(odd)))
    form = {"name": "rita", "password": WORDS}
    assert rita.client.post("/sign-in", data=form).status_code == 403
    assert rita.client.post("/sign-in", data={**form, "csrf": "x" * 43}).status_code == 403
    other = Somebody(site(database, with_account(odd)))
    token = re.search(r'name="csrf" value="([^"]+)"', other.get("/sign-in").text).group(1)
    assert rita.client.post("/sign-in", data={**form, "csrf": token}).status_code == 403
    assert rita.get("/odd/1").status_code == 303


def test_the_first_start_says_how_to_make_an_account(database, odd):
    app = site(database, with_account(odd))
    assert "stallwart users add" in Somebody(app).get("/sign-in").text
    person(database, "rita")
    assert "stallwart users add" not in Somebody(app).get("/sign-in").text


@pytest.mark.parametrize(
    "way", ["//evil.test", "/\\evil.test", "https://evil.test", "evil", "/a\n", "/" + "a" * 600, "/a\\b"]
)
def test_nobody_is_led_elsewhere_as_they_sign_in(way):
    assert safe_way(way) == ""


def test_every_answer_has_a_strict_policy_and_is_kept_by_no_cache(database, odd):
    app = site(database, with_account(odd))
    rita = signed_in(app, database)
    for path in (
        "/account",
        "/odd/1",
        "/nowhere",
        "/sign-in",
        "/healthz",
        "/static/nothing",
        "/static/site.css",
    ):
        headers = rita.get(path).headers
        for part in ("default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'"):
            assert part in headers["content-security-policy"], path
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert ("no-store" in headers["cache-control"]) == (path != "/static/site.css")


def test_templates_hold_no_inline_script_style_or_handler(database):
    rita = signed_in(site(database), database, Role.ADMIN)
    for path in ("/account", "/sign-in", "/nowhere"):
        html = rita.get(path).text
        assert not re.search(r"<script(?![^>]*\bsrc=)", html)
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=", html)


def test_roles_are_read_again_with_each_request(database):
    odd = Odd(roles=LEADS)
    rita = signed_in(site(database, with_account(odd)), database, Role.LEAD, "rita")
    assert rita.get("/odd/1").status_code == 200
    act(database, set_role, "rita", Role.REVIEWER, who="ana", why="x", now_ms=1)
    answer = rita.get("/odd/1")
    assert answer.status_code == 403
    assert "this is for lead, admin" in answer.text.lower()
    act(database, disable, "rita", who="ana", why="x", now_ms=1)
    assert rita.get("/odd/1").status_code == 303
    assert len(odd.asked) == 1


def test_a_session_ends_after_its_idle_time(database, odd):
    clock = Clock()
    rita = signed_in(site(database, with_account(odd), clock), database)
    clock.now_ms += 50 * 60_000
    assert rita.get("/odd/1").status_code == 200
    clock.now_ms += 50 * 60_000
    assert rita.get("/odd/1").status_code == 200
    clock.now_ms += 61 * 60_000
    assert rita.get("/odd/1").status_code == 303


def test_a_form_carries_its_token_as_a_field_or_as_a_header(database, odd):
    rita = signed_in(site(database, with_account(odd)), database)
    token = rita.csrf()
    assert rita.post("/odd/1", what="x").text == "done"
    answer = rita.client.post("/odd/1", data={"a": ["1", "2"]}, headers={"x-csrf-token": token})
    assert answer.text == "done"
    assert odd.asked[-1].form.all("a") == ["1", "2"]
    sent = rita.client.post("/odd/1", data={"csrf": token}, files={"file": ("a.csv", b"a,b", "text/csv")})
    assert sent.text == "done"
    assert odd.asked[-1].files == {"file": ("a.csv", b"a,b")}
    assert rita.client.post("/odd/1", data={}).status_code == 403
    assert len(odd.asked) == 3


def test_bodies_are_bounded_and_must_be_forms(database, odd):
    rita = signed_in(site(database, with_account(odd)), database)
    assert rita.post("/odd/1", what="x" * 30_000).status_code == 413
    token = {"x-csrf-token": rita.csrf()}
    assert rita.client.post("/odd/1", json={"a": 1}, headers=token).status_code == 422
    broken = {**token, "content-type": "multipart/form-data; boundary=x"}
    assert rita.client.post("/odd/1", content=b"--y", headers=broken).status_code in (200, 422)
    assert rita.post("/odd/1", what="\0\ud800".encode(errors="surrogatepass")).status_code == 200
    assert "\0" not in odd.asked[-1].form.get("what")


@pytest.mark.parametrize(
    ("err", "status", "said"),
    [
        (NotFoundError("there is no task 'x'"), 404, "There is no task"),
        (ConflictError("you do not have this task"), 409, "You do not have this task."),
        (DataError("say why"), 422, "Say why."),
        (StoreError("the database is full"), 503, "The database is full."),
        (OperationalError("SELECT secret", {}, Exception("gone")), 503, "The database does not answer"),
        (RuntimeError("secret"), 500, "it is in the log as".capitalize()),
    ],
)
def test_what_goes_wrong_is_a_page_a_fragment_or_json_and_quotes_no_secret(database, err, status, said):
    rita = signed_in(site(database, with_account(fails(err))), database)
    answer = rita.get("/odd/1")
    assert answer.status_code == status
    assert said in words(answer.text)
    assert "secret" not in answer.text
    for headers in ({"hx-request": "true"}, {"accept": "application/json"}):
        told = rita.get("/odd/1", headers=headers)
        assert told.status_code == status
        assert said in told.json()["error"]["message"]
        assert "secret" not in told.text


def test_a_database_that_is_away_is_503_and_says_so(database, odd):
    rita = signed_in(site(database, with_account(odd)), database)

    def gone(*_):
        raise OperationalError("BEGIN", {}, Exception("gone"))

    event.listen(database, "begin", gone)
    answer = rita.get("/odd/1")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert "The database does not answer" in answer.text
    assert rita.get("/sign-in").status_code == 503
    event.remove(database, "begin", gone)
    assert rita.get("/odd/1").status_code == 200


def test_hostile_text_is_escaped(database):
    odd = Odd(lambda _: Answer.redirect("/account", said=HOSTILE))
    rita = signed_in(site(database, with_account(odd)), database)
    rita.post("/odd/1")
    shown = rita.get("/account").text
    assert "<script>window" not in shown
    assert "&lt;script&gt;window.hurt = 1&lt;/script&gt;&lt;img src=x onerror=&#39;" in shown
    assert "window.hurt" not in rita.get("/account").text  # it is told once
    missing = rita.get(f"/nowhere/{HOSTILE}").text
    assert "window.hurt" not in missing
    way = Somebody(site(database, with_account(odd))).get("/sign-in", params={"next": f"/{HOSTILE}"}).text
    assert "<script>window" not in way


def test_htmx_is_redirected_by_a_header(database):
    odd = Odd(lambda _: Answer.redirect("/account"))
    answer = signed_in(site(database, with_account(odd)), database).get(
        "/odd/1", headers={"hx-request": "true"}
    )
    assert (answer.status_code, answer.headers["hx-redirect"]) == (204, "/account")


def test_pieces_are_sent_as_they_come(database):
    odd = Odd(lambda _: Answer.download(iter([b"a,b\n", b"1,2\n"]), "all.csv", "text/csv; charset=utf-8"))
    answer = signed_in(site(database, with_account(odd)), database).get("/odd/1")
    assert answer.text == "a,b\n1,2\n"
    assert answer.headers["content-disposition"] == 'attachment; filename="all.csv"'


def test_two_routes_of_one_path_are_found_at_the_start(database, odd):
    with pytest.raises(ValueError, match=r"GET /odd/\{what\}"):
        site(database, [odd, Odd()])


def test_what_fails_in_the_background_is_told_on_every_page_until_it_works():
    clock, broken = Clock(), [True]

    def work():
        if broken[0]:
            raise StoreError("the disk is full")

    job = Job("making tasks", 1.0, work)
    background = Background([job], clock)
    background.step(job)
    clock.now_ms += 5_000
    background.step(job)
    assert [(one.name, one.since_ms) for one in background.failing()] == [
        ("making tasks", clock.now_ms - 5_000)
    ]
    broken[0] = False
    background.step(job)
    assert background.failing() == []


def test_jobs_run_while_the_site_does_and_a_fault_shows(database, odd):
    done, closed = [], []

    def faulty():
        done.append(1)
        raise RuntimeError("secret")

    jobs = [Job("counting", 0.01, faulty, close=lambda: closed.append(1))]
    app = site(database, with_account(odd), jobs=jobs)
    rita = signed_in(app, database)
    with rita.client:
        for _ in range(1_000):
            text = rita.get("/account").text
            if "Counting has not worked" in text:
                break
        assert "Counting has not worked" in text
        assert "secret" not in text
        assert "failing: counting" in rita.get("/healthz").text
    assert done
    assert closed == [1]


def test_a_new_password_ends_all_sessions(database):
    rita = signed_in(site(database), database, name="rita")
    new = "seven green bicycles"
    wrong = rita.post("/account/password", now="no " + WORDS, new=new, again=new)
    assert wrong.status_code == 401
    assert rita.post("/account/password", now=WORDS, new=new, again="x").status_code == 422
    assert rita.post("/account/password", now=WORDS, new="short", again="short").status_code == 422
    assert rita.post("/account/password", now=WORDS, new=new, again=new).status_code == 303
    assert rita.get("/account").status_code == 303
    assert rita.sign_in("rita", new).status_code == 303


def test_a_person_ends_their_other_sessions(database):
    app = site(database)
    rita = signed_in(app, database, name="rita")
    laptop, phone = Somebody(app), Somebody(app)
    laptop.sign_in("rita")
    phone.sign_in("rita")
    assert "Sign out everywhere else" in rita.get("/account").text
    rita.post("/account/sessions")
    assert rita.get("/account").status_code == 200
    assert laptop.get("/account").status_code == phone.get("/account").status_code == 303


def test_the_table_of_roles_names_every_role():
    assert {role for roles in TABLE.values() for role in roles} == set(Role)


def test_lengths_of_time_and_shares_are_said_shortly():
    assert [span(ms) for ms in (0, 59_000, 61_000, -7_200_000, 9e8)] == [
        "0 s",
        "59 s",
        "1 min",
        "2 h",
        "10 d",
    ]
    assert [percent(one) for one in (None, 0.5, 0.12345)] == ["–", "50 %", "12.3 %"]
    assert token_of('<meta name="csrf" content="x">') == "x"
    assert Settings().review_threads > 0
