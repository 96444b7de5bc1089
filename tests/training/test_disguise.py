import string

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stallwart.content.text import normalise
from stallwart.core.errors import ConfigError
from stallwart.dataset.rejects import Rejects
from stallwart.dataset.wordlist import Wordlist, read_wordlists
from stallwart.training.disguise import evasion, noise, slang, synonyms

NAMES = Wordlist(
    slang={"cannabis": ("ganja", "weed"), "cocaine": ("snow",)},
    terms={"ganja": ("cannabis",), "weed": ("cannabis",), "snow": ("cocaine",)},
)
SENTENCE = "genuine leather wallet with original receipt and dust cover"
SEEDS = st.integers(0, 2**32)


def often(change, text, n=60):
    return {change(text, np.random.default_rng(seed)) for seed in range(n)}


@given(st.text(), SEEDS)
def test_any_text_can_be_changed_and_the_same_draw_changes_it_alike(text, seed):
    for change in (noise, evasion):
        one, other = (change(text, np.random.default_rng(seed)) for _ in range(2))
        assert one == other
        assert bool(one.strip()) == bool(text.strip())


@given(st.text(alphabet=string.ascii_letters, min_size=2), SEEDS)
def test_normalising_undoes_the_disguise_of_a_word(word, seed):
    assert normalise(evasion(word, np.random.default_rng(seed))) == normalise(word)


def test_a_disguise_hides_words_from_a_plain_search():
    changed = often(evasion, SENTENCE)
    assert len(changed) > 30
    assert any("\u200b" in one for one in changed)
    assert any("w-a-l-l-e-t" in one or "w.a.l.l.e.t" in one for one in changed)
    assert any("0r" in one or "1g" in one or "3" in one for one in changed)
    assert any(ord(letter) > 0x400 and letter.isalpha() for one in changed for letter in one)


def test_slips_of_the_hand_keep_short_words_and_figures():
    for changed in often(noise, "box of 500mg pills for £20 each, fast delivery"):
        assert {"box", "of", "500mg", "for", "£20"} <= set(changed.split())


def test_most_words_stay_as_they_are():
    kept = [len(set(SENTENCE.split()) & set(one.split())) for one in often(noise, SENTENCE)]
    assert np.mean(kept) > 0.7 * len(SENTENCE.split())


def test_a_term_takes_its_other_names_in_any_listing():
    changed = often(lambda text, random: slang(text, random, NAMES, both_ways=False), "Cannabis for sale")
    assert changed == {"Cannabis for sale", "Ganja for sale", "Weed for sale"}


def test_slang_becomes_its_term_only_where_the_listing_is_known_to_mean_it():
    honest = often(lambda text, random: slang(text, random, NAMES, both_ways=False), "snow boots")
    meant = often(lambda text, random: slang(text, random, NAMES, both_ways=True), "pure snow, 1 g")
    assert honest == {"snow boots"}
    assert meant == {"pure snow, 1 g", "pure cocaine, 1 g"}


def test_names_inside_other_words_are_left_alone():
    assert often(lambda text, random: synonyms(text, random, NAMES), "tumbleweed snowman") == {
        "tumbleweed snowman"
    }


def test_without_a_word_list_nothing_is_replaced():
    assert often(lambda text, random: synonyms(text, random, Wordlist()), SENTENCE) == {SENTENCE}


def test_a_word_list_is_read_and_its_bad_lines_are_reported(tmp_path):
    path = tmp_path / "names.csv"
    path.write_text("slang,note,term\nweed,common,Cannabis\na,short,lsd\nweed\nSnow,,cocaine\nsame,,same\n")
    rejects = Rejects()
    words = read_wordlists([path], rejects)
    assert words.slang == {"cannabis": ("weed",), "cocaine": ("snow",)}
    assert words.terms == {"snow": ("cocaine",), "weed": ("cannabis",)}
    assert [reject.row for reject in rejects] == [3, 4, 6]
    rejects.check()  # a list of words never stops a run over listings


def test_without_the_names_the_last_two_columns_are_read(tmp_path):
    path = tmp_path / "names.csv"
    path.write_text("class,drug,street name\nopiate,heroin,brown sugar\n")
    assert read_wordlists([path], Rejects()).slang == {"heroin": ("brown sugar",)}


@pytest.mark.parametrize(
    "content", [b"", b"term\nweed\n", b"term,slang\n", b"term,slang\nx,y\n", b"\xff\xfe,\n"]
)
def test_a_file_that_is_no_word_list_is_refused(tmp_path, content):
    path = tmp_path / "names.csv"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"names\.csv"):
        read_wordlists([path], Rejects())


def test_a_word_list_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="give CSV in UTF-8"):
        read_wordlists([tmp_path / "none.csv"], Rejects())
