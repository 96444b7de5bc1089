"""Bulk scoring against the bare limit: python bench/bulk.py BUNDLE LISTINGS.parquet [--rows 600]

The bare loop decodes, tokenises and runs the same graphs on as many threads, and does nothing else: no
checks, no n-grams, no cache, no rulings, no file. Both run in turn, three times, in one process; the ratio
of the medians is what counts, since absolute times on a shared machine lie. Then memory: the peak of a
process that scores the rows once, and of one that scores them eight times over.
"""

import argparse
import io
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from tokenizers import Tokenizer

from stallwart.core.settings import Settings
from stallwart.dataset.columns import Columns
from stallwart.dataset.read import read_listings
from stallwart.dataset.rejects import Rejects
from stallwart.encoders.cache import EmbeddingCache
from stallwart.encoders.graphs import open_session
from stallwart.encoders.spec import read_spec
from stallwart.model.bundle import read_bundle
from stallwart.model.runtime import Scorer
from stallwart.model.table import write_scores


def bare(bundle: Path, listings: Path, threads: int) -> float:
    text, photo = read_spec(bundle / "text"), read_spec(bundle / "photo")
    text_graph, photo_graph, heads = (
        open_session(bundle / name) for name in ("text/graph.onnx", "photo/graph.onnx", "heads.onnx")
    )
    tokenizer = Tokenizer.from_file(str(bundle / "text/tokenizer.json"))
    tokenizer.no_padding()  # its file asks for padding, which would slow the limit down
    tokenizer.enable_truncation(text.max_tokens)
    mean, scale = np.array(photo.mean, np.float32), np.array(photo.scale, np.float32)

    def one(row: dict) -> None:
        words = " ".join(filter(None, (row["title"], row["description"])))
        inputs = {
            "text": np.zeros((1, text.d), np.float32),
            "has_text": np.array([[bool(words)]], np.float32),
            "photos": np.zeros((1, photo.d), np.float32),
            "has_photo": np.array([[bool(row["images"])]], np.float32),
            "buckets": np.zeros(1, np.int64),
        }
        if words:
            ids = np.array([tokenizer.encode(words).ids], np.int64)
            (inputs["text"],) = text_graph.run(None, {"ids": ids})
        if row["images"]:
            image = Image.open(io.BytesIO(row["images"][0])).convert("RGB").resize((photo.size, photo.size))
            pixels = (np.asarray(image, np.float32) - mean) / scale
            (inputs["photos"],) = photo_graph.run(None, {"pixels": pixels.transpose(2, 0, 1)[None]})
        heads.run(None, inputs)

    started = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        for batch in pq.ParquetFile(listings).iter_batches(256):
            list(pool.map(one, batch.to_pylist()))
    return time.perf_counter() - started


def whole(bundle: Path, listings: list[Path], threads: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(cache_dir=Path(folder), threads=threads)
        scorer = Scorer(read_bundle(bundle), settings, EmbeddingCache(settings.cache_dir))
        started = time.perf_counter()
        for listing_file in listings:
            stream = read_listings([listing_file], Columns(), settings, Rejects(10**9), decode=False)
            write_scores(scorer.score(stream), scorer.bundle, Path(folder) / "scores.parquet")
        return time.perf_counter() - started


def peak_mb(arguments: list[str]) -> float:
    run = subprocess.run([sys.executable, __file__, *arguments], check=True, capture_output=True, text=True)
    return float(json.loads(run.stdout)["peak_mb"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("listings", type=Path)
    parser.add_argument("--rows", type=int, default=600)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--memory-of", type=int, default=0, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        part = Path(folder) / "part.parquet"
        table = pq.read_table(chosen.listings).slice(0, chosen.rows)
        if chosen.memory_of:  # one file with the rows so many times over, under other ids
            copies = [
                table.set_column(
                    0, "listing_id", pa.array([f"{i}-{v}" for v in table["listing_id"].to_pylist()])
                )
                for i in range(chosen.memory_of)
            ]
            pq.write_table(pa.concat_tables(copies), part, row_group_size=256)
            del table, copies
            whole(chosen.bundle, [part], chosen.threads)
            print(json.dumps({"peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
            return
        pq.write_table(table, part, row_group_size=256)
        pairs = [
            (whole(chosen.bundle, [part], chosen.threads), bare(chosen.bundle, part, chosen.threads))
            for _ in range(3)
        ]
        mine, limit = (statistics.median(column) for column in zip(*pairs, strict=True))
        rows = table.num_rows
    print(f"score     {rows / mine:8.1f} listings per second ({rows} rows, {chosen.threads} threads)")
    print(f"bare loop {rows / limit:8.1f} listings per second")
    print(f"ratio     {limit / mine:8.2f} (wanted: at least 0.85)")
    common = [str(chosen.bundle), str(chosen.listings), "--rows", str(chosen.rows)]
    once, often = (peak_mb([*common, "--memory-of", str(times)]) for times in (1, 8))
    print(f"memory    {once:8.0f} MB for {rows} rows, {often:.0f} MB for {8 * rows}")


if __name__ == "__main__":
    main()
