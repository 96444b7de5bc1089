"""Text in pieces: nothing is lost, marks are where the words are, and what nobody sees is named."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stallwart.content.unseen import revealed
from stallwart.core.listing import Listing
from stallwart.review.marking import marked_listing

QUICK_OR_NOT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=50)
TEXTS = st.text("ab \n.\u202e\u200b\u200d\u0301é漢\x00\ud800", max_size=30)  # few letters: quick to draw


def plain(marked):
    return "".join(one.text for one in (*marked.first, *marked.rest) if not one.unseen)


@QUICK_OR_NOT
@given(
    TEXTS, TEXTS, st.lists(st.tuples(st.integers(0, 130), st.integers(1, 20), st.floats(-1, 3)), max_size=6)
)
def test_all_that_can_be_seen_is_shown_once_and_in_order(title, body, places):
    words = [{"start": at, "end": at + long, "weight": weight} for at, long, weight in places]
    for given_text, marked in zip((title, body), marked_listing(title, body, words), strict=True):
        shown = plain(marked)
        rest = iter(given_text.strip())
        assert all(one in rest for one in shown)  # in the same order
        for one in (*marked.first, *marked.rest):
            assert "\u202e" not in one.text
            assert "\u200b" not in one.text
    assert plain(marked_listing("abc def", "ghi", ())[0]) == "abc def"


@QUICK_OR_NOT
@given(
    st.sampled_from(["Old knife", "knife", ""]),
    st.sampled_from(["A knife.", "Old knife"]),
    st.sampled_from(["", "sharp things"]),
)
def test_a_word_is_marked_where_the_model_read_it(title, body, read):
    text = Listing("x", title=title, description=body).with_read(read).text
    start = text.rindex("knife")
    found = marked_listing(title, body, [{"start": start, "end": start + 5, "weight": 1.0}], read)
    marked = [one.text for part in found for one in part.first if one.strength]
    assert set(marked) == {"knife"}


def test_strengths_follow_the_weights_and_weak_words_are_not_marked():
    words = [
        {"start": 0, "end": 3, "weight": 3.0},
        {"start": 4, "end": 7, "weight": 1.5},
        {"start": 8, "end": 11, "weight": 0.1},
        {"start": 12, "end": 15, "weight": -2.0},
    ]
    title, _ = marked_listing("one two six ten", None, words)
    assert [one.strength for one in title.first if one.text.strip()] == [3, 2, 1, 0]


def test_a_joiner_inside_a_word_stays_and_a_run_of_them_is_named():
    title, _ = marked_listing("a\u200db \u200d\u200d\u200d c\u00ad", None, ())
    assert [one.text for one in title.first if one.unseen] == ["zero width joiner × 3", "soft hyphen"]
    assert "a\u200db" in plain(title)


def test_a_long_text_is_cut_in_two_and_none_of_it_is_lost():
    _, body = marked_listing(None, "word " * 20_000, [{"start": 3_998, "end": 4_003, "weight": 1.0}])
    assert len(plain(body)) == len(("word " * 20_000).strip())
    assert body.rest


def test_where_words_are_only_shown_what_nobody_sees_is_named_in_brackets():
    assert (
        revealed("kn\u200b\u200bife \u202e5€ 漢")
        == "kn[zero-width space × 2]ife [right-to-left override]5€ 漢"
    )
    assert revealed("a lamp\nof brass") == "a lamp\nof brass"
