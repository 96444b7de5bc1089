"""The recipe of a bundle: which encoders, which members, how examples are chosen, how it is certified.

A recipe is a small TOML file; `stallwart/training/recipes/` ships the default and the reference network.
"""

import tomllib
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from stallwart.core.errors import ConfigError

RECIPES = Path(__file__).parent / "recipes"


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class EncodersRecipe(_Table):
    """Which encoders, and whether their top layers learn from the market.

    Attributes:
        text, photo: names as in `encoders/table.py`.
        finetune_layers: blocks from the top of each encoder that are trained; 0 leaves both frozen.
        finetune_months: months at the beginning of the training part that encoders learn from, the last of
            them to stop early; rolling origins, and so certificates, begin after them.
        finetune_epochs: passes over these months at most; the best epoch is kept.
        finetune_learning_rate: of AdamW for the blocks; the head beside them learns ten times as fast.
    """

    text: str = "minilm-l6"
    photo: str = "efficientnet-lite0"
    finetune_layers: int = Field(default=0, ge=0)
    finetune_months: int = Field(default=4, ge=2)
    finetune_epochs: int = Field(default=3, ge=1)
    finetune_learning_rate: float = Field(default=2e-5, gt=0)


class MemberRecipe(_Table):
    """One member of the ensemble; its log-odds are averaged with the others' by `weight`.

    Attributes:
        kind: a fusion head (`training/fusion.py`) or `lexical`.
        reads: which parts it is given; it is silent on a listing that has none of them.
        output: `softmax` over neutral and the policies, or one yes-or-no head `per_policy`.
        weight: of its log-odds in the average, unitless.
        seeds: networks fitted with different seeds and averaged.
        gamma: focusing exponent of the focal loss; 0 is cross-entropy.
        alpha: class weights are (1 / share of the class) ** alpha; 0 weighs all rows alike.
        width: units that each part is projected to.
        dropout: share of units dropped while training, in [0, 1).
        modality_dropout: probability that a listing with both parts is shown without one of them.
        noise: standard deviation of noise on the standardised embeddings.
        title_only: share of a listing's weight that goes to a copy with its title and without its
            description, so that a shop's template does not stand for a policy.
        augmented: share of a listing's weight that goes to its changed copies, as `[augment]` makes them.
        mix: probability that a row's photo is swapped for one of another listing with the same label.
        epochs: passes over the examples.
        patience: stop after so many epochs without a better macro average precision on the latest month
            of the training part, and keep the best; 0 runs all epochs on all of it.
        batch_rows: rows of one step.
        learning_rate: of AdamW (Adagrad for `lexical`).
        weight_decay: of AdamW, or L2 of the linear head.
    """

    kind: Literal["concat", "gated", "embrace", "late", "linear", "lexical"]
    reads: tuple[Literal["text", "photo"], ...] = ("text", "photo")
    output: Literal["softmax", "per_policy"] = "softmax"
    weight: float = Field(default=1.0, gt=0)
    seeds: int = Field(default=1, ge=1, le=20)
    gamma: float = Field(default=2.0, ge=0)
    alpha: float = Field(default=0.0, ge=0, le=1)
    width: int = Field(default=256, ge=1)
    dropout: float = Field(default=0.2, ge=0, lt=1)
    modality_dropout: float = Field(default=0.3, ge=0, le=1)
    noise: float = Field(default=0.0, ge=0)
    title_only: float = Field(default=0.0, ge=0, lt=1)
    augmented: float = Field(default=0.0, ge=0, lt=1)
    mix: float = Field(default=0.0, ge=0, le=1)
    epochs: int = Field(default=20, ge=1)
    patience: int = Field(default=0, ge=0)
    batch_rows: int = Field(default=256, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=1e-2, ge=0)

    @model_validator(mode="after")
    def _reads_what_it_can(self) -> "MemberRecipe":
        if not self.reads or (self.kind == "lexical" and self.reads != ("text",)):
            raise ValueError('a lexical member reads = ["text"], any other at least one part')
        return self


class ExamplesRecipe(_Table):
    """How many of each role are trained on.

    Attributes:
        hard_per_positive: hard negatives for each positive: half of them nearest to violations, half of
            them those that earlier models confuse.
        easy_per_positive: easy negatives for each positive, drawn at random; each stands for all that were
            not drawn, so the draw is undone in the probabilities.
        hard_weight: of a hard negative's loss.
    """

    hard_per_positive: float = Field(default=0.5, ge=0)
    easy_per_positive: float = Field(default=10.0, gt=0)
    hard_weight: float = Field(default=1.0, gt=0)


class WeightsRecipe(_Table):
    """How much single listings count, beside what `[examples]` says; the defaults weigh all alike.

    Attributes:
        most_sampling: largest weight that a label gets for how it was sampled. A label that was drawn with
            probability p stands for 1 / p listings; more than this is cut, so that no single listing rules.
        recent_days: a listing that many days or less before the end of the training part counts as recent.
        recent: what a recent listing counts, where an older one counts 1.
    """

    most_sampling: float = Field(default=10.0, ge=1)
    recent_days: int = Field(default=91, ge=1)
    recent: float = Field(default=1.0, ge=1, le=100)


class AugmentRecipe(_Table):
    """How copies of training listings are changed; a member's `augmented` says what they weigh.

    Attributes:
        text: ways to change words; each copy is changed in one of them, drawn among those that find
            something to change: `noise` (slips of the hand), `evasion` (look-alike letters, digits for
            letters, separators, invisible signs), `slang` and `synonyms` (from word lists).
        photo: ways to change photos, one drawn for each photo: `flip` (mirrored), `crop`.
        copies: of each listing.
        slang, synonyms: word lists (`dataset/wordlist.py`); paths from where the command runs.
        slang_policies: policies in whose listings slang is also replaced by what it stands for; in others
            the same words may be honest.
    """

    text: tuple[Literal["noise", "evasion", "slang", "synonyms"], ...] = ()
    photo: tuple[Literal["flip", "crop"], ...] = ()
    copies: int = Field(default=1, ge=1, le=10)
    slang: tuple[str, ...] = ()
    synonyms: tuple[str, ...] = ()
    slang_policies: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _lists_are_used(self) -> "AugmentRecipe":
        for kind, files in (("slang", self.slang), ("synonyms", self.synonyms)):
            if (kind in self.text) != bool(files):
                raise ValueError(f'"{kind}" among text and a word list under {kind} belong together')
        return self


class CertificationRecipe(_Table):
    """How thresholds are certified.

    Attributes:
        confidence: of each policy's bound.
        first_origin_months: months of training data before the first month that is scored.
        miss_cost, review_cost: of a missed violation and of one look, in the same unit; a listing goes to
            review where probability * miss_cost >= review_cost.
    """

    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    first_origin_months: int = Field(default=2, ge=1)
    miss_cost: float = Field(default=10.0, gt=0)
    review_cost: float = Field(default=1.0, gt=0)


class Recipe(_Table):
    """All choices of one training run; stored whole in the bundle's card."""

    encoders: EncodersRecipe = EncodersRecipe()
    members: tuple[MemberRecipe, ...] = Field(min_length=1)
    examples: ExamplesRecipe = ExamplesRecipe()
    weights: WeightsRecipe = WeightsRecipe()
    augment: AugmentRecipe = AugmentRecipe()
    certification: CertificationRecipe = CertificationRecipe()
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _copies_are_used(self) -> "Recipe":
        made = bool(self.augment.text or self.augment.photo)
        if made != any(member.augmented for member in self.members):
            raise ValueError("augment.text or photo and a member with augmented above 0 belong together")
        return self

    def with_slang(self, path: str) -> "Recipe":
        """The same recipe with copies whose slang is replaced as the word list at `path` says.

        Members that the recipe gives no copies get them, for half of a listing's weight.
        """
        augment = self.augment.model_copy(
            update={
                "text": tuple(dict.fromkeys((*self.augment.text, "slang"))),
                "slang": tuple(dict.fromkeys((*self.augment.slang, path))),
            }
        )
        members = self.members
        if not any(member.augmented for member in members):
            members = tuple(
                one.model_copy(update={"augmented": 0.5}) if "text" in one.reads else one for one in members
            )
        return self.model_copy(update={"augment": augment, "members": members})


def read_recipe(name: str) -> Recipe:
    """The recipe called `name` among those that ship, or in the TOML file at that path.

    Raises:
        ConfigError: there is none, or it is not a recipe.
    """
    shipped = RECIPES / f"{name}.toml"
    path = shipped if shipped.is_file() else Path(name)
    try:
        return Recipe.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError:
        names = ", ".join(sorted(recipe.stem for recipe in RECIPES.glob("*.toml")))
        raise ConfigError(f"no recipe {name!r}; there are: {names}, or name a TOML file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as err:
        raise ConfigError(f"{path}: is not valid TOML: {err}") from None
    except ValidationError as err:
        first = err.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{path}: {where}: {first['msg']}") from None
