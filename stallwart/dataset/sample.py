"""A generated market for trying every command: invented listings, drawn photos, labels and a rulebook.

Nothing in it is real. It has the shape and the traps of a real market in small: missing parts in every mix,
near duplicates, disguised words, things that look like a violation and are none, listings whose third photo
alone shows it, several languages, labels that come late, and from autumn on a product nobody saw before.
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stallwart.core.errors import ConfigError
from stallwart.core.listing import Listing
from stallwart.core.taxonomy import NEUTRAL
from stallwart.dataset.drawings import draw
from stallwart.store.files import whole_file, whole_folder

_YEAR = 2025
_DRIFT = 9  # month from which vapes are sold beside cigarettes and spirits from other countries
_RULEBOOK = """\
# The rulebook of a GENERATED market: invented listings for trying Stallwart out, nothing real.

[policies.alcohol]
title = "Alcohol"
covers = "Spirits, wine and beer. Empty bottles, racks and glasses are allowed."
precision = 0.85
prevalence = {alcohol}

[policies.weapons]
title = "Weapons"
covers = "Knives made to fight with and firearms. Kitchen knives and toys are allowed."
precision = 0.90
prevalence = {weapons}

[policies.medicine]
title = "Prescription medicine"
covers = "Pills that need a prescription. Vitamins are allowed."
precision = 0.90
prevalence = {medicine}

[policies.drugs]
title = "Illegal drugs"
covers = "Cannabis and other drugs. Herbal tea and house plants are allowed."
precision = 0.90
prevalence = {drugs}

[policies.tobacco]
title = "Tobacco and vapes"
covers = "Cigarettes, tobacco, e-cigarettes and liquids."
precision = 0.85
prevalence = {tobacco}
"""
_RARE = {"alcohol": 0.03, "weapons": 0.01, "medicine": 0.02, "drugs": 0.02, "tobacco": 0.02}
# About what `_KINDS` comes to before the drift: what one would know then
_AS_GENERATED = {"alcohol": 0.05, "weapons": 0.08, "medicine": 0.05, "drugs": 0.05, "tobacco": 0.05}


@dataclass(frozen=True)
class _Kind:
    """One kind of thing that is sold.

    Attributes:
        label: what enforcement says of it.
        names: titles, in several languages.
        words: sentences of a description.
        drawing: what its photos show.
        share: how common it is, relative to the others.
        since: month it first appears in.
    """

    label: str
    names: Sequence[str]
    words: Sequence[str]
    drawing: str
    share: float
    since: int = 1


_KINDS = (
    _Kind("alcohol",
          ["Highland whisky 12 years", "Vodka 0.7 l", "Botella de ron añejo", "Red wine, case of six"],
          ["Sealed bottle.", "40 % vol.", "Smooth and smoky.", "Sin abrir."], "bottle", 4),
    _Kind("alcohol", ["Cachaça artesanal", "Pisco quebranta", "Mezcal joven"],
          ["Safra especial.", "Alambique da serra.", "700 ml."], "round bottle", 5, _DRIFT),
    _Kind("weapons", ["Combat dagger", "Switchblade, black", "Automatic knife", "Navaja automática"],
          ["Very sharp double edge.", "Fits in the boot.", "Opens with a button."], "dagger", 7),
    _Kind("medicine", ["Xanax 2mg", "Tramadol 50mg tablets", "Diazepam 10mg", "Pastillas de oxycodona"],
          ["No prescription needed.", "Strip of ten.", "Pharmacy quality.", "Sin receta."], "pills", 4),
    _Kind("drugs", ["Cannabis buds", "Amnesia haze weed", "Hash, soft", "Marihuana de interior"],
          ["Stealth shipping.", "Per gram.", "Top shelf.", "Message me on wickr."], "leaf", 4),
    _Kind("tobacco", ["Cigarettes carton", "Rolling tobacco 50g", "Сигареты блок", "Сигары ручной работы"],
          ["Duty free.", "Ten packs.", "Без акциза.", "Fresh stock."], "cigarettes", 4),
    _Kind("tobacco", ["Vape mango ice 5000", "Disposable e-cigarette", "Pod descartável menta"],
          ["Nicotine 50mg.", "5000 puffs.", "Rechargeable.", "Sabor intenso."], "vape", 6, _DRIFT),
    # things that look or read like a violation and are none
    _Kind(NEUTRAL,
          ["Empty whisky bottle, vintage", "Wine rack for 12 bottles", "Bottle lamp", "Vinegar bottle"],
          ["Empty, for decoration.", "Looks good on a shelf.", "Cleaned."], "empty bottle", 5),
    _Kind(NEUTRAL, ["Toy dagger, plastic", "Bread knife", "Kitchen knife set", "Cuchillo de cocina"],
          ["For children from six.", "Dishwasher safe.", "Soft plastic."], "toy dagger", 4),
    _Kind(NEUTRAL, ["Vitamin C tablets", "Pill box, seven days", "Mint drops"],
          ["Food supplement.", "No medicine.", "Sugar free."], "sweets", 4),
    _Kind(NEUTRAL, ["Fern in a pot", "Herbal tea leaves", "Leaf print poster", "Planta de interior"],
          ["Needs little light.", "Calming blend.", "A3, unframed."], "fern", 4),
    # everything else
    _Kind(NEUTRAL, ["Brass lamp", "Reading lamp", "Lámpara de mesa", "Настольная лампа"],
          ["Works well.", "Collection only.", "Funciona bien.", "В хорошем состоянии."], "lamp", 10),
    _Kind(NEUTRAL, ["Children's bicycle", "Mountain bike 26", "Bicicleta urbana", "Велосипед"],
          ["New tyres.", "Serviced in spring.", "Poco uso.", "Недорого."], "bicycle", 10),
    _Kind(NEUTRAL, ["Oak table", "Two chairs", "Mesa de madera", "Стол дубовый"],
          ["Some scratches.", "Solid wood.", "Самовывоз."], "table", 10),
    _Kind(NEUTRAL, ["Football", "Toy car", "Board game", "Pelota"],
          ["Complete.", "Hardly used.", "Para niños."], "ball", 8),
)  # fmt: skip
_COLOURS = ("black", "white", "red", "green", "blue", "grey")
_CONDITIONS = ("new", "used", "like new", "boxed", "rare", "cheap", "from a smoke-free home", "two for one")
_LEET = str.maketrans("aeio", "4310")


def write_sample(
    folder: Path, listings: int = 600, seed: int = 7, *, shares_as_generated: bool = False
) -> None:
    """Write a generated market into a new folder: twelve monthly Parquet files, labels and a rulebook.

    Args:
        folder: is made; an earlier sample in it is replaced.
        listings: how many, at least 60.
        seed: the same seed gives the same files, byte for byte on one version of the libraries.
        shares_as_generated: whether the rulebook states the live shares that the listings have, to which far
            fewer listings prove a precision; without, violations are said to be rarer than among them.

    Raises:
        ConfigError: too few listings, the folder cannot be written, or it holds something else.
    """
    if listings < 60:
        raise ConfigError(
            f"{listings} listings are too few for five policies and twelve months; ask for 60 or more"
        )
    if folder.exists() and (
        not folder.is_dir() or (any(folder.iterdir()) and not (folder / "SAMPLE").exists())
    ):
        raise ConfigError(f"{folder}: holds something that is no sample; name a new folder")
    made = generate(listings, seed)
    with whole_folder(folder) as new:
        (new / "SAMPLE").write_text("A generated market: invented listings and drawn photos, nothing real.\n")
        (new / "policies.toml").write_text(
            _RULEBOOK.format(**(_AS_GENERATED if shares_as_generated else _RARE))
        )
        with (new / "labels.csv").open("w", newline="") as file:
            table = csv.writer(file)
            table.writerow(["listing_id", "label", "labelled_at", "labelled_by"])
            for listing, label, labelled_at in made:
                table.writerow([listing.listing_id, label, labelled_at.isoformat(), "generated"])
        for month in range(1, 13):
            chosen = [item for item, _, _ in made if item.listed_at and item.listed_at.month == month]
            with whole_file(new / f"listings-{_YEAR}-{month:02}.parquet") as part:
                pq.write_table(_table(chosen), part)


def generate(listings: int, seed: int) -> list[tuple[Listing, str, datetime]]:
    """The generated listings in order of time, each with its label and when that became known."""
    random = np.random.default_rng(seed)
    made: list[tuple[Listing, str, datetime]] = []
    start = datetime(_YEAR, 1, 1, tzinfo=UTC)
    minutes = np.sort(random.integers(0, 365 * 24 * 60, size=listings))
    for number, minute in enumerate(minutes.tolist()):
        listed_at = start + timedelta(minutes=minute)
        labelled_at = listed_at + timedelta(hours=int(random.integers(1, 14 * 24)))
        if made and random.random() < 0.06:
            original, label, _ = made[int(random.integers(max(0, len(made) - 80), len(made)))]
            listing = _reposted(original, random)
        else:
            listing, label = _new(listed_at.month, random)
        made.append(
            (replace(listing, listing_id=f"G{seed}-{number:05}", listed_at=listed_at), label, labelled_at)
        )
    return made


def _new(month: int, random: np.random.Generator) -> tuple[Listing, str]:
    kinds = [kind for kind in _KINDS if kind.since <= month]
    shares = np.array([kind.share for kind in kinds])
    kind = kinds[int(random.choice(len(kinds), p=shares / shares.sum()))]
    name = _pick(kind.names, random)
    title = f"{name}, {_pick(_COLOURS, random)}, {_pick(_CONDITIONS, random)} {int(random.integers(1, 99))}"
    if kind.label != NEUTRAL and random.random() < 0.15:
        title = _disguised(title, random)
    words = " ".join(dict.fromkeys(_pick(kind.words, random) for _ in range(int(random.integers(1, 4)))))
    photos, has_words = _photos(kind, random)
    known_seller = random.random() < (0.8 if kind.label != NEUTRAL else 0.6)
    listing = Listing(
        listing_id="",
        title=title if has_words and random.random() < 0.93 else None,
        description=words if has_words and random.random() < 0.7 else None,
        photos=photos,
        seller_id=f"seller{int(random.integers(0, 60)) + 60 * (month >= _DRIFT)}" if known_seller else None,
        price=float(random.integers(100, 20_000)) / 100 if random.random() < 0.7 else None,
        language=_language(name),
    )
    return (listing if listing.text or photos else replace(listing, title=title)), kind.label


def _photos(kind: _Kind, random: np.random.Generator) -> tuple[tuple[bytes, ...], bool]:
    """Photos of a thing, and whether words come with them; some show a violation in the third photo alone."""
    chance = random.random()
    if chance < 0.25:
        return (), True
    if chance < 0.9:
        count = 1 + int(random.random() < 0.2)
        return tuple(_jpeg(kind.drawing, random) for _ in range(count)), chance < 0.75
    return (_jpeg("table", random), _jpeg("lamp", random), _jpeg(kind.drawing, random)), False


def _jpeg(drawing: str, random: np.random.Generator) -> bytes:
    file = io.BytesIO()
    draw(drawing, random).save(file, "JPEG", quality=80)
    return file.getvalue()


def _reposted(original: Listing, random: np.random.Generator) -> Listing:
    """The same listing again with small changes, as sellers do it."""
    title = original.title and f"{original.title}{_pick([' (Clone)', '!', ' - again', ''], random)}"
    return replace(original, title=title, price=None)


def _disguised(title: str, random: np.random.Generator) -> str:
    first, _, rest = title.partition(" ")
    way = int(random.integers(0, 3))
    if way == 0:
        return f"{first.lower().translate(_LEET)} {rest}"
    if way == 1:
        return f"{'.'.join(first)} {rest}"
    return f"{first[:1]}\u200b{first[1:].replace('a', 'а')} {rest}"  # a Cyrillic а


def _language(name: str) -> str:
    if any("а" <= char <= "я" for char in name.lower()):
        return "ru"
    return "es" if any(word in name for word in ("de ", "Navaja", "Pelota", "á", "ñ", "ça", "ável")) else "en"


def _pick(options: Sequence[str], random: np.random.Generator) -> str:
    return options[int(random.integers(0, len(options)))]


def _table(listings: Sequence[Listing]) -> pa.Table:
    """The listings in the columns of a market's monthly file."""
    schema = pa.schema(
        {
            "listing_id": pa.string(),
            "seller_id": pa.string(),
            "listed_at": pa.timestamp("ms", "UTC"),
            "title": pa.string(),
            "description": pa.string(),
            "price": pa.float64(),
            "language": pa.string(),
            "images": pa.list_(pa.binary()),
        }
    )
    rows = [
        {
            **{name: getattr(listing, name) for name in schema.names if name != "images"},
            "images": list(listing.photos),
        }
        for listing in listings
    ]
    return pa.Table.from_pylist(rows, schema=schema)
