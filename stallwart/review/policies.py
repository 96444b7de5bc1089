"""What the policies say, for people: from a policy file, or from the taxonomy of the bundle that decides."""

from pathlib import Path

from sqlalchemy import Engine

from stallwart.core.taxonomy import Policy, Taxonomy, read_taxonomy
from stallwart.model.bundle import read_bundle
from stallwart.store.database import reading, store_errors
from stallwart.store.registry import champion, read_bundle_row


class Policies:
    """The rulebook as it is now; may be read by many threads.

    Args:
        database: names the champion.
        file: a policy file, which is read once and holds; None takes the champion's taxonomy.
        bundle: folder of a bundle, whose taxonomy holds until a champion is registered.

    Raises:
        ConfigError: the policy file cannot be read.
        BundleError: the bundle cannot.
    """

    def __init__(self, database: Engine, file: Path | None = None, bundle: Path | None = None):
        self._database, self._fixed = database, file is not None
        self._digest: str | None = None
        self._by_id: dict[str, Policy] = {}
        if file is not None:
            self._take(read_taxonomy(file))
        elif bundle is not None:
            self._take(read_bundle(bundle).taxonomy)

    def refresh(self) -> None:
        """Read the champion's taxonomy where it is another one than before.

        Raises:
            StoreError: the database does not answer.
            BundleError: the champion is not at its place any more.
        """
        if self._fixed:
            return
        with store_errors("the champion cannot be read"), reading(self._database) as connection:
            digest = champion(connection)
            place = read_bundle_row(connection, digest).place if digest else None
        if place is None or digest == self._digest:
            return
        self._take(read_bundle(Path(place)).taxonomy)
        self._digest = digest

    @property
    def ids(self) -> tuple[str, ...]:
        """All policies in the order of the rulebook; empty where no rulebook is known."""
        return tuple(self._by_id)

    def get(self, policy_id: str) -> Policy | None:
        """The policy, where the rulebook is known and has it."""
        return self._by_id.get(policy_id)

    def title(self, policy_id: str) -> str:
        """What people call it; its id where nothing better is known."""
        policy = self._by_id.get(policy_id)
        return policy.title if policy else policy_id

    def _take(self, taxonomy: Taxonomy) -> None:
        self._by_id = {policy.id: policy for policy in taxonomy.policies}
