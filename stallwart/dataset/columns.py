"""Which column of a user's file holds what: the market's names, or the user's own."""

from collections.abc import Iterable, Mapping
from typing import Self

from pydantic import BaseModel, ConfigDict, Field

from stallwart.core.errors import ConfigError, DataError


class Columns(BaseModel):
    """Names of the columns in listing and label files; all but the id may be absent from a file.

    Attributes:
        listing_id: text or whole number, unique.
        title: text.
        description: text.
        images: encoded bytes, base64, or paths beside the file; one, a list, or in CSV separated by `;`.
        seller_id: text or whole number.
        listed_at: time stamp, date or ISO 8601 text; UTC where it names no zone.
        price: number.
        language: text.
        label: `neutral` or a policy id.
        labelled_at: as `listed_at`.
        labelled_by: text.
        weight: number >= 1, one over the probability that the listing was drawn for labelling.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    listing_id: str = Field(default="listing_id", min_length=1)
    title: str = Field(default="title", min_length=1)
    description: str = Field(default="description", min_length=1)
    images: str = Field(default="images", min_length=1)
    seller_id: str = Field(default="seller_id", min_length=1)
    listed_at: str = Field(default="listed_at", min_length=1)
    price: str = Field(default="price", min_length=1)
    language: str = Field(default="language", min_length=1)
    label: str = Field(default="label", min_length=1)
    labelled_at: str = Field(default="labelled_at", min_length=1)
    labelled_by: str = Field(default="labelled_by", min_length=1)
    weight: str = Field(default="weight", min_length=1)

    @classmethod
    def parse(cls, text: str) -> Self:
        """The mapping written as `title=headline,images=photo_paths`; "" keeps every default.

        Raises:
            ConfigError: a part is no `name=column`, or names no field.
        """
        pairs: dict[str, str] = {}
        for part in filter(None, (part.strip() for part in text.split(","))):
            name, equals, column = (piece.strip() for piece in part.partition("="))
            if not (name and equals and column):
                raise ConfigError(f"--columns: {part!r} is not of the form name=column, as in title=headline")
            if name not in cls.model_fields:
                raise ConfigError(f"--columns: no field {name!r}; there are: {', '.join(cls.model_fields)}")
            if name in pairs:
                raise ConfigError(f"--columns: {name!r} is given twice")
            pairs[name] = column
        return cls(**pairs)

    def present(self, wanted: Iterable[str], there: Iterable[str], where: str) -> Mapping[str, str]:
        """field -> column, for the wanted fields whose column is there.

        Raises:
            DataError: the id is missing, or a column that the user named.
        """
        there = list(there)
        found = {name: getattr(self, name) for name in wanted if getattr(self, name) in there}
        named = self.model_fields_set & set(wanted)
        for name in sorted({"listing_id", *named} - set(found)):
            raise DataError(
                f"{where}: has no column {getattr(self, name)!r} for {name}; it has: "
                f"{', '.join(there[:30])}. Say which one it is with --columns {name}=..."
            )
        return found
