"""What stands beside a bundle at one moment: add-ons that score too, and policies that may not act or ask."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from stallwart.core.rulebook import Rulebook, Standing
from stallwart.core.taxonomy import Taxonomy
from stallwart.decide.decide import Thresholds
from stallwart.model.addon import AddOn

_NEVER = float("inf")


@dataclass(frozen=True)
class Additions:
    """Add-ons and limits over those of a bundle.

    Attributes:
        addons: in the order of their columns, behind those of the bundle.
        silent: policies of the bundle that neither act nor ask.
        asking: policies of the bundle that ask and do not act.
        rights: scores from which policies of add-ons may act, earned by verdicts.
        rulebook: digest of the rulebook that says so; empty where none was ever written.
    """

    addons: tuple[AddOn, ...] = ()
    silent: frozenset[str] = frozenset()
    asking: frozenset[str] = frozenset()
    rights: Mapping[str, float] = field(default_factory=dict)
    rulebook: str = ""

    @property
    def digests(self) -> tuple[str, ...]:
        """Of the add-ons, for decisions."""
        return tuple(addon.digest for addon in self.addons)

    @property
    def policies(self) -> tuple[str, ...]:
        """Ids of the add-ons' policies, in the order of their columns."""
        return tuple(addon.policy.id for addon in self.addons)

    def thresholds(self, of_bundle: Thresholds) -> Thresholds:
        """From which score each policy acts and asks; an add-on does neither until it has earned a right."""
        quiet = self.silent | self.asking
        act = {name: value for name, value in of_bundle.act.items() if name not in quiet}
        review = {name: _NEVER if name in self.silent else value for name, value in of_bundle.review.items()}
        ids = self.policies
        earned = {name: self.rights[name] for name in ids if name in self.rights}
        return Thresholds({**act, **earned}, {**review, **dict.fromkeys(ids, _NEVER)})

    def candidates(self, scores: Iterable[float]) -> tuple[tuple[AddOn, float], ...]:
        """The add-ons whose score reaches their threshold, with it, given their scores in order."""
        pairs = zip(self.addons, scores, strict=True)
        return tuple((addon, score) for addon, score in pairs if score >= addon.review)  # NaN does not


NONE = Additions()
"""Nothing stands beside a bundle."""


def additions(
    book: Rulebook | None,
    taxonomy: Taxonomy,
    encoders: tuple[str, str],
    addons: Iterable[AddOn],
    rights: Mapping[str, float] | None = None,
) -> Additions:
    """What stands beside a bundle under a rulebook.

    Args:
        book: the rulebook; None where none was ever written.
        taxonomy: what the bundle was trained on.
        encoders: digests of its encoders, as `addon.encoder_digests` gives them.
        addons: registered ones; of a policy that the bundle knows, or with other encoders, none counts.
        rights: scores from which policies of add-ons may act.
    """
    if book is None:
        return NONE
    standing = {policy.id: book.standing_of(policy) for policy in taxonomy.policies}
    tried = {entry.policy.id for entry in book.entries if entry.standing is Standing.TRIED}
    kept = [
        addon
        for addon in addons
        if addon.policy.id in tried and addon.policy.id not in standing and addon.fits(*encoders)
    ]
    return Additions(
        tuple(sorted(kept, key=lambda addon: addon.policy.id)),
        frozenset(name for name, one in standing.items() if one is Standing.RETIRED),
        frozenset(name for name, one in standing.items() if one is Standing.NARROWED),
        dict(rights or {}),
        book.digest,
    )
