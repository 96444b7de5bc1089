import io
import json

import numpy as np
import pytest
from PIL import Image
from tiny.market import sources_of, tiny_train

from stallwart.content.text import normalise
from stallwart.core.listing import Listing
from stallwart.core.settings import Settings
from stallwart.dataset.wordlist import Wordlist
from stallwart.evaluation.attacks import ATTACKS, MOVED, PHOTO, SLANG, WORDS, attacked
from stallwart.evaluation.evasion import MODERATE, Attack, measure
from stallwart.evaluation.evasion_page import write_evasion
from stallwart.evaluation.run import attack_bundle
from stallwart.model.runtime import Scorer


def photo(seed=0):
    held = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(256, size=(60, 90, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((180, 120)).save(held, "JPEG")
    return held.getvalue()


SLANG_WORDS = Wordlist({"vodka": ("firewater",)}, {"firewater": ("vodka",)})
LISTING = Listing("L", "Cheap vodka bottles", "Strong spirits delivered quickly", (photo(),))


def test_every_attack_is_the_same_for_a_seed_and_changes_what_it_is_meant_to():
    for attack in ATTACKS:
        hit = attacked(LISTING, attack, 1.0, 1, SLANG_WORDS)
        assert hit == attacked(LISTING, attack, 1.0, 1, SLANG_WORDS)
        assert (hit.text != LISTING.text) == (attack in WORDS or attack == MOVED), attack
        assert (hit.photos != LISTING.photos) == (attack in PHOTO or attack == MOVED), attack
        assert attacked(LISTING, attack, 0.0, seed=1) is LISTING


@pytest.mark.parametrize("attack", ["look-alike letters", "separators", "invisible characters"])
def test_normalising_undoes_what_hides_words_without_changing_them(attack):
    hit = attacked(Listing("L", "cannabis"), attack, 1.0, seed=0)
    assert hit.text != "cannabis"
    assert normalise(hit.text) == "cannabis"


def test_a_stronger_attack_on_words_changes_more_of_them():
    long = Listing("L", " ".join(["spirits"] * 200))
    counts = [
        sum(word != "spirits" for word in attacked(long, "misspelling", s, 0).text.split())
        for s in (0.1, 0.3, 1.0)
    ]
    assert 5 < counts[0] < 40 < counts[1] < 90 < counts[2] == 200


def test_slang_stands_for_terms_of_the_list_alone():
    hit = attacked(LISTING, SLANG, 1.0, 0, SLANG_WORDS)
    assert hit.text == "Cheap firewater bottles. Strong spirits delivered quickly"
    assert attacked(LISTING, SLANG, 1.0, 0) == LISTING
    many = Listing("L", "vodka " * 200)
    assert 40 < attacked(many, SLANG, 0.3, 0, SLANG_WORDS).text.count("firewater") < 80


def test_what_does_not_decode_or_is_not_there_stays_as_it_was():
    broken = Listing("L", photos=(b"no photo",))
    for attack in ATTACKS:
        assert attacked(broken, attack, 1.0, 0).photos == broken.photos
    assert attacked(Listing("L", "only words"), MOVED, 1.0, 0).text == "only words"


@pytest.fixture(scope="module")
def bundle(sample_market, tmp_path_factory):
    return tiny_train(
        sample_market, tmp_path_factory.mktemp("b") / "tiny", tmp_path_factory.mktemp("cache")
    ).bundle


def test_recall_is_lost_to_an_attack_and_never_to_none(bundle, sample_market, tmp_path):
    settings = Settings(cache_dir=tmp_path / "cache", threads=1)
    names = tmp_path / "names.csv"
    names.write_text("term,slang\nvodka,firewater\n")
    points = attack_bundle(bundle, sources_of(sample_market), settings, Attack(per_policy=6, lexicon=[names]))
    assert {one.attack for one in points} == set(ATTACKS)
    assert all(0 <= one.before <= one.n and 0 <= one.changed <= one.n and one.n for one in points)
    moved = [one for one in points if one.attack in WORDS]
    assert sum(one.after for one in moved) < sum(one.before for one in moved)

    page = write_evasion(points, bundle.digest, tmp_path / "out")
    told = json.loads((tmp_path / "out" / "evasion.json").read_text())
    assert len(told["points"]) == len(points)
    html = page.read_text()
    assert html.count("<svg") == len(ATTACKS)
    assert f"strength {MODERATE}" in html


def test_the_threshold_stays_where_it_was_without_an_attack(bundle, tmp_path):
    scorer = Scorer(bundle, Settings(cache_dir=tmp_path, threads=1))
    policy = bundle.taxonomy.ids[0]
    violations = [(Listing(f"L{n}", f"vodka number {n}"), policy) for n in range(10)]
    points = measure(scorer, violations, Attack(strengths=(0.3, 1.0), attacks=("mirror", "misspelling")))
    assert len({one.threshold for one in points}) == 1
    mirrored = [one for one in points if one.attack == "mirror"]
    assert all(one.after == one.before and one.kept[0] == 1.0 for one in mirrored)
