import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from stallwart.core.errors import ConfigError, DataError
from stallwart.core.listing import Listing
from stallwart.evaluation.answers import headline
from stallwart.evaluation.evaluate import Besides, Options, evaluate
from stallwart.evaluation.figures import FIGURES
from stallwart.evaluation.held import BROKE, HELD, UNSURE
from stallwart.evaluation.report import render_html, render_markdown, write_report
from stallwart.evaluation.worst import FALSE_CALL, MISS, Witness, thumbnail

REVIEW = np.full(3, 0.2)
OPTIONS = Options(replicates=30)
HOSTILE = "</style><script>alert(1)</script><img src=https://evil.example/x onerror=alert(2)>{{ 7*7 }}"


def photo(size=(300, 200), kind="JPEG"):
    file = io.BytesIO()
    Image.new("RGB", size, (200, 30, 30)).save(file, kind)
    return file.getvalue()


def witness(ids):
    return {one: Listing(one, title=HOSTILE, photos=(photo(),)) for one in ids if one != "L0"}


@pytest.fixture(scope="module")
def evaluation(make_scored, certificates, make_certificate):
    scored = make_scored()
    besides = Besides(
        baseline=np.roll(scored.scores, 1, axis=0),
        ablations={"photo taken away": scored.scores * 0.5},
        repeats=make_scored(80, seed=3),
        seen_sellers=frozenset(f"S{i}" for i in range(10)),
        unseen_sellers={"alcohol": make_certificate("alcohol")},
        facts={"Recipe": HOSTILE, "Command": "a | b"},
        witness=Witness(witness, lambda _listing, _policy: [(HOSTILE, 0.5)]),
    )
    return evaluate(scored, certificates, REVIEW, besides, OPTIONS)


@pytest.fixture(scope="module")
def html(evaluation):
    return render_html(evaluation)


class Page(HTMLParser):
    void = frozenset({"meta", "img", "input", "br", "link", "hr"})

    def __init__(self):
        super().__init__()
        self.tags, self.links, self.open, self.ids = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [
            value for name, value in attrs if name in ("src", "href", "xlink:href", "action", "data")
        ]
        self.ids += [value for name, value in attrs if name == "id"]
        assert not any(name.startswith("on") for name, _ in attrs)
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.void:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_a_hostile_listing_stays_text_and_the_page_asks_for_nothing(html):
    page = Page()
    page.feed(html)
    assert page.open == []
    assert "script" not in page.tags
    assert all(link.startswith(("data:image/jpeg;base64,", "#")) for link in page.links)
    assert {link[1:] for link in page.links if link.startswith("#policy")} <= set(page.ids)
    assert "&lt;script&gt;alert(1)" in html
    assert "{{ 7*7 }}" in html
    assert not re.search(r"url\((?!#)|@import", html)
    assert html.startswith("<!doctype html>")


def test_a_broken_certificate_is_the_first_thing_said(evaluation, html):
    markdown = render_markdown(evaluation)
    broken = [one.policy for one in evaluation.held if one.verdict == BROKE]
    assert broken == ["alcohol"]
    for text in (html, markdown):
        assert text.index("Drift broke Alcohol: certified at 0.90") < text.index("policies may act alone")


def test_the_headline_counts_each_policy_once(evaluation):
    said = headline(evaluation)
    assert said.startswith("1 of 3 policies may act alone. Later listings broke the certificate of Alcohol:")
    assert said.endswith("The other 1 may not yet: their listings go to reviewers.")


def test_calls_that_were_right_less_often_than_wanted_are_not_called_few(evaluation):
    one = evaluation.held[0]
    below = replace(
        one, verdict=UNSURE, wanted=0.9, precision=replace(one.precision, value=0.8, low=0.6, high=0.95)
    )
    said = headline(replace(evaluation, held=(below,)))
    assert (
        f"Of {evaluation.taxonomy[one.policy].title} later calls were right less often than wanted, 0.80"
        in said
    )
    assert "too few" not in said


def test_every_figure_in_markdown_comes_with_interval_and_count(evaluation):
    lines = [line for line in render_markdown(evaluation).splitlines() if line.startswith("| Alcohol")]
    assert len(lines) >= 4
    assert re.search(r"\d\.\d\d \[\d\.\d\d+–\d\.\d\d+\] \(\d+ of \d+\)", lines[1])
    assert "&lt;script&gt;" in render_markdown(evaluation)
    assert "<script>" not in render_markdown(evaluation)


def test_the_three_files_are_whole_and_the_same_twice(evaluation, tmp_path):
    assert write_report(evaluation, tmp_path / "one") == tmp_path / "one" / "report.html"
    write_report(evaluation, tmp_path / "two")
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert names == ["report.html", "report.json", "report.md"]
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_a_folder_that_cannot_be_written_is_a_clear_error(evaluation, tmp_path):
    (tmp_path / "report.json").mkdir()
    with pytest.raises(ConfigError, match="cannot be written"):
        write_report(evaluation, tmp_path)


def test_json_holds_every_figure_and_nothing_of_a_listing_but_its_id(evaluation, tmp_path):
    write_report(evaluation, tmp_path)
    text = (tmp_path / "report.json").read_text()
    found = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert found["format"] == 1
    assert set(found["policies"]["alcohol"]) <= set(FIGURES)
    assert found["policies"]["fraud"]["precision"]["live"]["value"] is None
    assert found["gates"]["act"] == {"alcohol": 0.5, "weapons": 0.99, "fraud": None}
    assert set(found["worst"][0]) == {"policy", "kind", "listing_id", "label", "score", "month"}
    assert text.count("alert(1)") == 1  # the recipe's name, which the caller gave


def test_verdicts_on_certificates_follow_the_rule(make_scored, make_certificate):
    scored = make_scored(2000, skill=6)
    found = evaluate(
        scored,
        [
            make_certificate("alcohol", 0.9999),
            make_certificate("weapons", 0.2),
            make_certificate("fraud", 1.0),
        ],
        REVIEW,
        options=OPTIONS,
    )
    assert {one.policy: one.verdict for one in found.held} == {
        "weapons": BROKE,
        "fraud": UNSURE,
        "alcohol": HELD,
    }
    assert found.held[0].policy == "weapons"


def test_the_worst_errors_are_the_worst_of_different_groups(evaluation, make_scored):
    scored = make_scored()
    for kind, positive, pick in ((FALSE_CALL, False, max), (MISS, True, min)):
        rows = [e for e in evaluation.worst if e.policy == "alcohol" and e.kind == kind]
        assert rows[0].score == pick(scored.scores[(scored.rows.labels == 1) == positive, 0])
        groups = [int(e.listing_id[1:]) // 2 for e in rows]
        assert len(set(groups)) == len(groups) == 4
        assert [e.score for e in rows] == sorted((e.score for e in rows), reverse=kind == FALSE_CALL)


def test_a_thumbnail_is_small_and_re_encoded_and_a_broken_photo_has_none():
    small = thumbnail(photo((900, 600), "PNG"))
    with Image.open(io.BytesIO(small)) as image:
        assert (image.format, image.size) == ("JPEG", (160, 107))
    assert thumbnail(b"no photo") is None


def test_slices_split_every_family_without_losing_a_row(evaluation, make_scored):
    for family in ("parts", "language", "month"):
        total = sum(piece.n for piece in evaluation.slices if piece.family == family)
        nothing = 0 if family != "parts" else 30  # neither words nor photo
        assert total == 600 - nothing
    sellers = {piece.name: piece.n for piece in evaluation.slices if piece.family == "seller"}
    assert sum(sellers.values()) == (make_scored().rows.sellers != "").sum()


def test_the_baseline_stands_beside_the_model_with_a_paired_difference(evaluation):
    change = evaluation.baseline.change.measured
    own = evaluation.macro["average_precision"].measured.value
    assert change.value == pytest.approx(evaluation.baseline.macro.measured.value - own)
    assert change.high < 0  # shuffled scores are worse


def test_the_same_order_has_the_same_average_precision(evaluation):
    change = evaluation.ablations["photo taken away"].change.measured
    assert (change.value, change.low, change.high) == (0, 0, 0)


def test_a_report_without_anything_beside_still_reads(make_scored, make_certificate):
    scored = make_scored(200)
    found = evaluate(scored, [make_certificate(p) for p in scored.taxonomy.ids], REVIEW, options=OPTIONS)
    assert headline(found) == "None of 3 policies may act alone yet: their listings go to reviewers."
    assert headline(found) in render_markdown(found)
    Page().feed(render_html(found))


def test_a_policy_without_a_violation_leaves_a_gap_and_no_error(make_scored, certificates):
    scored = make_scored()
    found = evaluate(scored[scored.rows.labels != 2], certificates, REVIEW, options=OPTIONS)
    assert np.isnan(found.policies["weapons"]["average_precision"].live.value)
    assert "weapons" not in {error.policy for error in found.worst}
    Page().feed(render_html(found))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s, c: (s[:0], c, REVIEW, None), "no row to evaluate"),
        (lambda s, c: (s, c[:2], REVIEW, None), "no certificate for fraud"),
        (lambda s, c: (s, c, REVIEW[:2], None), "review scores are"),
        (lambda s, c: (s, c, REVIEW, Besides(baseline=s.scores[:5])), "scores of the baseline"),
        (lambda s, c: (replace(s, scores=s.scores * np.nan), c, REVIEW, None), "not finite"),
    ],
)
def test_wrong_input_is_named(make_scored, certificates, change, message):
    scored, given, review, besides = change(make_scored(), certificates)
    with pytest.raises(DataError, match=message):
        evaluate(scored, given, review, besides, OPTIONS)
