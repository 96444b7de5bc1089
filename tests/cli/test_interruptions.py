"""A run that was killed or stopped, and the same command given again."""

import os
import signal
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

pytestmark = pytest.mark.slow

PATIENCE_S = 120


@pytest.fixture
def cold_cache(warm_cache, tmp_path):
    """A cache without embeddings and fitted members; the exported encoders are those of all tests."""
    folder = tmp_path / "cache"
    folder.mkdir()
    (folder / "encoders").symlink_to(warm_cache.resolve() / "encoders")
    return folder


def embeddings(cache: Path) -> int:
    try:
        with sqlite3.connect(f"file:{cache / 'embeddings.sqlite'}?mode=ro", uri=True) as connection:
            return int(connection.execute("SELECT count(*) FROM embedding").fetchone()[0])
    except sqlite3.Error:
        return 0


def members(cache: Path) -> int:
    return len(list((cache / "runs").glob("*/*.npz")))


def kill_when(process, reached: Callable[[], bool], how=signal.SIGKILL) -> bool:
    """Whether the process still ran when the moment came; it is stopped then."""
    deadline = time.monotonic() + PATIENCE_S
    while process.poll() is None and time.monotonic() < deadline:
        if reached():
            os.kill(process.pid, how)
            return True
        time.sleep(0.02)
    return False


def test_training_killed_three_times_ends_with_the_same_bundle(
    launch, end, generated, trained, cold_cache, tmp_path
):
    out = tmp_path / "bundle"
    moments = {
        "embedding": lambda: embeddings(cold_cache) > 0,
        "the first member": lambda: members(cold_cache) >= 1,
        "a later member": lambda: members(cold_cache) >= 7,
    }
    kept = []
    for moment, reached in moments.items():
        process = launch(generated.train(out), cache_dir=cold_cache)
        assert kill_when(process, reached), f"ended before {moment}: {end(process).err}"
        assert end(process).code == -signal.SIGKILL
        assert not out.exists()
        kept.append((embeddings(cold_cache), members(cold_cache)))
    assert kept == sorted(kept)
    made = end(launch(generated.train(out), cache_dir=cold_cache))
    assert made.code == 0, made.err
    assert made.facts["digest"] == trained[1]["digest"]


def test_scoring_killed_three_times_ends_with_the_same_scores(
    launch, end, generated, trained, scores, cold_cache, tmp_path
):
    out = tmp_path / "scores.parquet"
    command = ["score", trained[0], *generated.listings, "--out", out, "--json"]
    begun = time.monotonic()
    moments = [
        lambda: time.monotonic() > begun + 1.0,
        lambda: (cold_cache / "embeddings.sqlite").exists(),
        lambda: any(tmp_path.glob(".scores.parquet.*.part")),
    ]
    for reached in moments:
        process = launch(command, cache_dir=cold_cache)
        assert kill_when(process, reached), end(process).err
        assert end(process).code == -signal.SIGKILL
        assert not out.exists()
    made = end(launch(command, cache_dir=cold_cache))
    assert made.code == 0, made.err
    assert pq.read_table(out).equals(pq.read_table(scores))


@pytest.mark.parametrize("command", ["train", "score"])
def test_ctrl_c_is_one_line_and_exit_code_130(launch, end, generated, trained, cold_cache, tmp_path, command):
    out = tmp_path / "out.parquet"
    given = {
        "train": generated.train(tmp_path / "bundle"),
        "score": ["score", trained[0], *generated.listings, "--out", out],
    }[command]
    process = launch(given, cache_dir=cold_cache)
    assert kill_when(process, lambda: (cold_cache / "embeddings.sqlite").exists(), signal.SIGINT)
    ran = end(process)
    assert ran.code == 130, ran.err
    assert ran.err.strip().splitlines() == ["stopped; the same command goes on where it stopped"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache"]
