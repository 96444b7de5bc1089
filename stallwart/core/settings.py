"""Every limit and default of one installation, in one table.

Read once, in `cli/`, from the environment (`STALLWART_MAX_PHOTO_BYTES=...`) and passed down as arguments.
"""

from pathlib import Path
from typing import Literal

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
        default=100,
        ge=0,
        description="Rejected rows, or photos, that a run tolerates; more of them stop it once they are"
        " over 1 %.",
    )
    max_reject_share: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Rejected share of a run's rows, or photos, that stops it however few they are, once 20"
        " were met.",
    )

    # Serving: what is kept
    data_dir: Path = Field(
        default=Path("stallwart-data"), description="Folder of the database and photos that a service keeps."
    )
    database_url: str = Field(
        default="",
        description="SQLAlchemy URL, as postgresql+psycopg://user:password@host/name; SQLite in `data_dir` if"
        " empty.",
        repr=False,
    )
    photo_store: str = Field(
        default="", description="Folder or fsspec URL (s3://, gs://) of kept photos; in `data_dir` if empty."
    )
    bundle_store: Path | None = Field(
        default=None,
        description="Folder of registered bundles that every replica sees; in `data_dir` if unset.",
    )
    retention_days: int = Field(
        default=365, ge=1, description="Days after which a listing's stored words and photos are deleted."
    )
    commit_rows: int = Field(default=256, ge=1, le=10_000, description="Most decisions in one transaction.")

    # Serving: requests
    deadline_ms: int = Field(
        default=2_000, ge=10, description="Time for one answer where the caller states none."
    )
    max_deadline_ms: int = Field(
        default=30_000, ge=10, description="Longest deadline that a caller may ask for."
    )
    max_queue: int = Field(
        default=256, ge=1, description="Listings that wait for a worker; more are refused at once."
    )
    max_queue_bytes: int = Field(
        default=256_000_000, ge=1_000, description="Bytes of words and photos that wait for a worker."
    )
    max_body_bytes: int = Field(
        default=32_000_000, ge=1_000, description="Largest request, counted as it arrives."
    )
    max_listings: int = Field(default=64, ge=1, le=10_000, description="Listings in one batch request.")
    max_connections: int = Field(
        default=1_000, ge=1, description="Requests at work in one process; more are answered 503 at once."
    )
    memory_cache_mb: int = Field(
        default=64, ge=0, description="Embeddings held in memory by each process, in megabytes."
    )
    key_cache_seconds: float = Field(
        default=5.0, ge=0, description="How long a process trusts what it read of an API key or a webhook."
    )
    reload_seconds: float = Field(
        default=5.0,
        ge=0,
        description="How often a service looks whether its bundle's folder changed; 0 is never.",
    )
    rollout_seconds: float = Field(
        default=1.0,
        gt=0,
        le=60,
        description="How often a service reads the rollout, and looks at its guards.",
    )
    follow_seconds: float = Field(
        default=5.0,
        gt=0,
        description="Age of what was last read of a rollout from which the champion decides about all;"
        " and of rights from which nothing is blocked, but sent to review.",
    )
    max_shadow: int = Field(
        default=64, ge=0, description="Listings that wait to be scored by a model that does not decide."
    )
    shutdown_seconds: float = Field(
        default=30.0, ge=0, description="How long a stopping service finishes what it took."
    )
    provider: Literal["cpu", "cuda"] = Field(
        default="cpu", description="What onnxruntime runs the graphs on."
    )

    # Serving: photos by URL
    photo_hosts: str = Field(
        default="",
        description="Hosts that photos may be fetched from, with commas, as img.example.com,*.example.org;"
        " none if empty.",
    )
    photo_source: str = Field(
        default="",
        description="Folder or fsspec URL (s3://, gs://) below which requests name photos by `path`.",
    )
    fetch_timeout_ms: int = Field(default=1_500, ge=10, description="Time for one photo, redirects included.")
    fetch_redirects: int = Field(
        default=3, ge=0, le=20, description="Redirects that are followed for one photo."
    )

    # Serving: words in photos
    read_photos: int = Field(
        default=4, ge=1, le=100, description="Photos of a listing whose words `stallwart read` reads."
    )
    read_hours: float = Field(
        default=24.0,
        gt=0,
        le=8_760,
        description="Hours after its decision in which `stallwart read` still reads a listing's photos.",
    )

    # Serving: webhooks
    webhook_timeout_ms: int = Field(default=5_000, ge=10, description="Time for one delivery.")
    webhook_attempts: int = Field(
        default=12, ge=1, le=100, description="Attempts after which a delivery is a dead letter."
    )
    webhook_backoff_ms: int = Field(
        default=1_000, ge=1, description="Pause after the first failed attempt; each later one doubles it."
    )
    webhook_max_backoff_ms: int = Field(
        default=3_600_000, ge=1, description="Longest pause between two attempts."
    )
    webhook_private: bool = Field(
        default=False, description="Whether webhooks may go to private and loopback addresses."
    )

    # Review: people
    session_idle_minutes: float = Field(
        default=60.0,
        gt=0,
        le=1_440,
        description="Minutes without a request after which a person signs in again.",
    )
    session_hours: float = Field(
        default=12.0, gt=0, le=720, description="Hours after which a person signs in again in any case."
    )

    # Review: the pages
    review_body_bytes: int = Field(
        default=1_000_000, ge=10_000, description="Largest form that a page of review takes, in bytes."
    )
    review_explain_seconds: float = Field(
        default=5.0,
        ge=0,
        le=3_600,
        description="Seconds between two looks for open tasks that lack evidence; 0 makes none.",
    )
    review_explain_photos: int = Field(
        default=1,
        ge=0,
        le=20,
        description="Photos of a listing explained to reviewers; each costs 25 passes of its encoder.",
    )
    review_threads: int = Field(
        default=8, ge=1, le=64, description="Pages of review at work at once in a process; others wait."
    )

    # Review: the queue
    review_lease_seconds: float = Field(
        default=300.0, ge=10, le=86_400, description="How long a task that somebody took is kept for them."
    )
    review_undo_minutes: float = Field(
        default=10.0,
        ge=0,
        le=1_440,
        description="How long a verdict can be undone; readings that depend on it are drawn after that.",
    )
    review_deadline_hours: float = Field(
        default=24.0,
        gt=0,
        le=8_760,
        description="Hours in which a task is to be read, where its policy says none.",
    )
    review_deadlines: str = Field(
        default="", description="Hours of single policies, with commas, as weapons=4,tobacco=12."
    )
    review_harms: str = Field(
        default="",
        description="Harm of a missed violation by policy, as weapons=10,tobacco=2; 1 for the others.",
    )
    review_halving_hours: float = Field(
        default=6.0,
        gt=0,
        le=8_760,
        description="Hours of waiting that weigh as much as twice the harm or the uncertainty.",
    )
    review_second_share: float = Field(
        default=0.05, ge=0, le=1, description="Share of verdicts that another person reads again, blind."
    )
    review_gold_share: float = Field(
        default=0.02,
        ge=0,
        le=1,
        description="Share of verdicts followed by a blind task with a known answer.",
    )

    # Review: the audit
    audit_budget: int = Field(
        default=100,
        ge=0,
        le=1_000_000,
        description="Decisions a day drawn from all traffic for a person's verdict, to estimate what is"
        " missed; 0 draws blocks alone.",
    )
    audit_block_share: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="Share of each policy's blocks that is drawn at least, whatever the budget is.",
    )
    audit_block_least: float = Field(
        default=3.0,
        ge=0,
        le=1_000,
        description="Blocks a day of each policy that are drawn at least, where it has as many.",
    )
    rights_share: float = Field(
        default=0.25,
        gt=0,
        le=1,
        description="Share drawn of what a policy that earns its right to act alone would block.",
    )
    rights_patience_days: float = Field(
        default=7.0,
        gt=0,
        le=90,
        description="How long a would-be block may wait for its verdict; then it counts as a wrong call.",
    )

    # Watch
    watch_seconds: float = Field(
        default=60.0, ge=1, le=86_400, description="How often `stallwart watch` runs its steps."
    )
    watch_lease_seconds: float = Field(
        default=120.0,
        ge=5,
        le=3_600,
        description="Time after which another watcher takes over from one that died.",
    )
    watch_listings_per_hour: float = Field(
        default=120.0,
        gt=0,
        le=100_000,
        description="Listings an hour, on average of a day, that are sketched for drift and novelty.",
    )
    watch_sketch_days: int = Field(
        default=120, ge=30, le=3_650, description="Days after which sketches of listings are deleted."
    )
    drift_false_alarms: float = Field(
        default=1.0,
        gt=0,
        le=52,
        description="False alarms of drift a year that are put up with, over all detectors and looks.",
    )
    drift_reference_rows: int = Field(
        default=1_000,
        ge=300,
        le=10_000,
        description="Sketched listings after a promotion that later ones are compared with.",
    )
    drift_reference_days: float = Field(
        default=14.0,
        ge=0,
        le=365,
        description="Days that those listings span at least: less knows no weekly rhythm.",
    )

    # Statements of reasons
    statement_templates: Path | None = Field(
        default=None,
        description="Folder of LANGUAGE/POLICY.txt and LANGUAGE/general.txt for statements of reasons; those"
        " that are shipped if unset.",
    )
    statement_market: str = Field(
        default="", max_length=200, description="Name of the market in statements of reasons."
    )
    statement_appeal: str = Field(
        default="",
        max_length=500,
        description="Where sellers appeal, as a URL or an address; answering the message if empty.",
    )
    statement_territory: str = Field(
        default="",
        max_length=200,
        description="Where a block holds, as DE,FR; everywhere if empty.",
    )
    statement_categories: str = Field(
        default="",
        description="Categories of the EU's transparency database by policy, as"
        " weapons=UNSAFE_AND_PROHIBITED_PRODUCTS; OTHER_VIOLATION_TC for the others.",
    )
    webhook_statement: bool = Field(
        default=False, description="Whether webhooks get the statement of reasons of a block beside it."
    )

    # Relearning
    retrain_later_days: int = Field(
        default=7,
        ge=1,
        le=365,
        description="Days before `--until` whose listings only compare challenger and champion.",
    )
    retrain_validate_days: int = Field(
        default=7, ge=1, le=365, description="Days before these whose listings choose and calibrate."
    )
    retrain_held_back: int = Field(
        default=10,
        ge=2,
        le=1_000,
        description="One listing in so many is never learned from: on these it shows whether old knowledge"
        " stays.",
    )
    retrain_margin_later: float = Field(
        default=0.02,
        ge=0,
        lt=1,
        description="Fall of the mean average precision on later listings that cannot be excluded and is put"
        " up with.",
    )
    retrain_margin_older: float = Field(
        default=0.05,
        ge=0,
        lt=1,
        description="Fall of one policy's average precision on older listings that is put up with.",
    )
    retrain_lease_seconds: float = Field(
        default=300.0,
        ge=10,
        le=86_400,
        description="How long after its last sign of life a retraining is taken for dead.",
    )

    # Review: search, and acts on many listings
    bulk_limit_reviewers: int = Field(
        default=25, ge=1, le=10_000, description="Listings that a reviewer may act on at once."
    )
    bulk_limit_leads: int = Field(
        default=2_000, ge=1, le=100_000, description="Listings that a lead or an admin may act on at once."
    )
    review_meaning: bool = Field(
        default=True,
        description="Whether `stallwart review` loads the champion's encoders, to find what is alike in"
        " meaning.",
    )

    # Known-bad things
    known_seconds: float = Field(
        default=2.0,
        gt=0,
        le=30,
        description="How often a service reads what was added to, or removed from, what is known to be bad.",
    )
    known_from_verdicts: bool = Field(
        default=True,
        description="Whether a person's verdict that a listing breaks a policy makes it known to be bad.",
    )
    known_certified: Path | None = Field(
        default=None,
        description="File of `stallwart known certify`: up to its distances a match blocks before verdicts on"
        " matches prove it, and until they refute it.",
    )
