"""Scored listings -> one Parquet file, streamed and written whole."""

from collections import Counter
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stallwart.model.bundle import Bundle
from stallwart.model.runtime import ScoredListing
from stallwart.store.files import whole_file

ROWS = 1024  # in memory at a time


def write_scores(scored: Iterable[ScoredListing], bundle: Bundle, out: Path) -> dict[str, int]:
    """Counts of each action, after all rows were written to `out`.

    Columns: listing_id, action, policies (list), reason, then one float64 for each policy (null where nothing
    could be scored). The file's metadata name the bundle.

    Args:
        scored: listings with scores; consumed once.
        bundle: that scored them.
        out: file; replaced when the new one is whole.
    """
    schema = pa.schema(
        [
            ("listing_id", pa.string()),
            ("action", pa.string()),
            ("policies", pa.list_(pa.string())),
            ("reason", pa.string()),
            *((policy, pa.float64()) for policy in bundle.taxonomy.ids),
        ],
        metadata={"stallwart.bundle": bundle.digest, "stallwart.taxonomy": bundle.taxonomy.digest},
    )
    counts: Counter[str] = Counter()
    with whole_file(out) as temporary, pq.ParquetWriter(temporary, schema) as writer:
        stream = iter(scored)
        while rows := list(islice(stream, ROWS)):
            counts.update(row.ruling.action.value for row in rows)
            nothing = np.full(len(bundle.taxonomy.ids), np.nan)
            scores = np.stack([nothing if row.scores is None else row.scores for row in rows])
            columns = [pa.array(scores[:, c], mask=np.isnan(scores[:, c])) for c in range(scores.shape[1])]
            writer.write_batch(
                pa.record_batch(
                    [
                        pa.array([row.embedded.listing.listing_id for row in rows], pa.string()),
                        pa.array([row.ruling.action.value for row in rows], pa.string()),
                        pa.array([list(row.ruling.policies) for row in rows], pa.list_(pa.string())),
                        pa.array([row.ruling.reason for row in rows], pa.string()),
                        *columns,
                    ],
                    schema=schema,
                )
            )
    return {action: counts[action] for action in ("allow", "review", "block")}
