"""Every limit and default of one installation, in one table.

Read once, in `cli/`, from the environment (`STALLWART_MAX_PHOTO_BYTES=...`) and passed down as arguments.
"""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Limits and defaults; each can be set by `STALLWART_<NAME>`."""

    model_config = SettingsConfigDict(env_prefix="STALLWART_", frozen=True, extra="forbid")

    cache_dir: Path = Field(
        default=Path.home() / ".cache" / "stallwart",
        description="Folder for embeddings, exported encoders and resumable work; safe to delete.",
    )
    threads: int = Field(
        default=2, ge=1, le=256, description="Worker threads for embedding and scoring; one core each."
    )
    max_photo_bytes: int = Field(
        default=20_000_000, ge=1_000, description="Largest encoded photo, in bytes; larger ones are rejected."
    )
    max_photo_pixels: int = Field(
        default=60_000_000,
        ge=10_000,
        description="Largest photo, in pixels over all frames read, checked first.",
    )
    max_photos: int = Field(default=12, ge=1, le=100, description="Photos of one listing that are looked at.")
    max_text_chars: int = Field(
        default=100_000, ge=100, description="Longest title or description, in characters; the rest is cut."
    )
    max_rejects: int = Field(
        default=100, ge=0, description="Rejected rows after which a run stops, unless they stay under 1 %."
    )
