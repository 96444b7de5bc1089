import io
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from stallwart.core.listing import Listing
from stallwart.core.settings import Settings
from stallwart.dataset.duplicates import DuplicateFinder, duplicate_groups


def groups(listings: Sequence[Listing]) -> list[int]:
    return duplicate_groups(listings, Settings()).tolist()


def titles(*texts: str, description: str | None = None) -> list[Listing]:
    return [Listing(str(i), title=text, description=description) for i, text in enumerate(texts)]


def photo(seed: int, side: int = 220, quality: int = 90, light: int = 0) -> bytes:
    """A drawn photo of random soft patches, the same scene for the same seed."""
    scene = np.random.default_rng(seed).integers(0, 200, (24, 24, 3), dtype=np.uint8) + np.uint8(light)
    file = io.BytesIO()
    Image.fromarray(scene).resize((side, side), Image.Resampling.BICUBIC).save(file, "JPEG", quality=quality)
    return file.getvalue()


def flat(grey: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (80, 80), (grey, grey, grey)).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Buy 10 grams uncut cocaine 96% pure", "Buy 10 grams uncut cocaine 96% pure (Clone) (Clone)"),
        ("XANAX ALPRAZOLAM 2MG BARS AVAILABLE", "xanax  alprazolam 2mg bars - available!!!"),
        ("7g amnesia haze high quality coffeeshop", "14g amnesia haze high quality coffeeshop"),
        ("Glock", "GL0CK"),
        ("buy real glock here today", "buy real g.l.o.c.k here today"),
        ("Лампа настольная, латунь, новая", "Лампа настольная латунь новая!"),
    ],
)
def test_reposts_are_found(one: str, other: str) -> None:
    assert groups(titles(one, other)) == [0, 0]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Glock 19", "Glock 17"),
        ("Brass lamp from the fifties", "Oak table from the fifties"),
        ("7g amnesia haze high quality", "7g blue dream high quality"),
    ],
)
def test_different_things_stay_apart(one: str, other: str) -> None:
    assert groups(titles(one, other)) == [0, 1]


def test_names_in_a_template_stay_apart() -> None:
    names = ["Eagle Ridge", "Old Harbour", "Widow's Vault", "Larch Farm Reserve", "Colonel Amaranth"]
    template = (
        "spirit_type: Bourbon, size: 750, proof: 90.0, abv: 45.0, country: none, barrel: oak, aged: yes"
    )
    assert groups(titles(*names, description=template)) == [0, 1, 2, 3, 4]
    assert groups(titles("Eagle Ridge", "Eagle Ridge", description=template)) == [0, 0]


def test_long_texts_are_compared_by_a_sketch() -> None:
    words = [f"word{number}" for number in range(3_000)]
    base = " ".join(words)
    small_change = " ".join([*words[:-30], *["changed"] * 30])
    half = " ".join([*words[:1_500], *(f"other{number}" for number in range(1_500))])
    listings = [Listing(str(i), description=text) for i, text in enumerate((base, small_change, half))]
    assert groups(listings) == [0, 0, 2]


def test_the_same_photo_is_found_in_another_size_quality_and_light() -> None:
    photos = [photo(1), photo(1, side=160), photo(1, quality=40), photo(1, light=15), photo(2)]
    assert groups([Listing(str(i), photos=(content,)) for i, content in enumerate(photos)]) == [0, 0, 0, 0, 4]


def test_any_photo_of_several_joins() -> None:
    listings = [
        Listing("a", photos=(photo(1), photo(2))),
        Listing("b", photos=(photo(3), photo(2, side=180))),
    ]
    assert groups(listings) == [0, 0]


def test_many_different_photos_stay_apart() -> None:
    listings = [Listing(str(seed), photos=(photo(seed),)) for seed in range(150)]
    assert groups(listings) == list(range(150))


def test_flat_photos_join_only_where_their_bytes_are_equal() -> None:
    listings = [Listing(str(i), photos=(flat(grey),)) for i, grey in enumerate((255, 254, 255, 0))]
    assert groups(listings) == [0, 1, 0, 3]


def test_a_placeholder_in_many_listings_joins_nothing() -> None:
    names = [f"{word} {number}" for number, word in enumerate(["lamp", "desk", "bicycle", "kettle"] * 8)]
    shared = [Listing(name, title=name, photos=(photo(1),)) for name in names]
    assert len(set(groups(shared))) == len(names)
    assert len(set(groups(shared[:15]))) == 1


def test_groups_by_words_and_by_photos_can_be_told_apart() -> None:
    finder = DuplicateFinder(Settings())
    for listing in (
        Listing("a", title="a lamp made of brass", photos=(photo(1),)),
        Listing("b", title="a lamp made of brass", photos=(photo(2),)),
        Listing("c", title="something else entirely", photos=(photo(2),)),
    ):
        finder.add(listing)
    assert finder.groups(photos=False).tolist() == [0, 0, 2]
    assert finder.groups(text=False).tolist() == [0, 1, 1]
    assert finder.groups().tolist() == [0, 0, 0]


def test_listings_without_anything_comparable_stay_alone() -> None:
    listings = [Listing("a"), Listing("b"), Listing("c", photos=(b"broken",)), Listing("d", title="  ")]
    assert groups(listings) == [0, 1, 2, 3]
    assert groups([]) == []


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(alphabet="ab 01\u0430\u0431!.", max_size=40), max_size=12))
def test_equal_texts_share_a_group_named_by_its_first_member(texts: list[str]) -> None:
    found = groups(titles(*texts))
    for place, group in enumerate(found):
        assert group <= place
        assert found[group] == group
        if texts[place].strip():
            assert found[texts.index(texts[place])] == group


@settings(max_examples=25, deadline=None)
@given(st.permutations(range(8)))
def test_the_order_of_listings_does_not_change_who_belongs_together(order: list[int]) -> None:
    texts = [
        f"{name} in very good condition, barely used" for name in ("lamp", "oak table", "bicycle", "kettle")
    ]
    texts += [f"{text} (Clone)" for text in texts]
    found = groups(titles(*(texts[place] for place in order)))
    sets = {frozenset(order[i] % 4 for i in range(8) if found[i] == group) for group in found}
    assert sets == {frozenset({i}) for i in range(4)}
