"""A process that commits decisions until it is killed, and says each on stdout once it is answered.

Run as `python -m tests.serving.lanes URL NAME LANES [FILE_BYTES]`. Each lane commits one after the
other; with a limit on the size of files until the disk is full for all, and once more when it is lifted.
"""

import asyncio
import itertools
import json
import os
import resource
import signal
import sys

from stallwart.core.decision import Action
from stallwart.core.errors import StoreError
from stallwart.core.settings import Settings
from stallwart.serving.commit import Committer
from stallwart.store.database import open_database
from stallwart.store.webhooks import list_webhooks
from tests.store.listings import draft


def say(**facts):
    os.write(1, (json.dumps(facts) + "\n").encode())


async def commit(committer, listing_id, number):
    key = f"{listing_id} {number}"
    answer = await committer.commit(
        draft(listing_id, f"{key} " + "word " * 40, key=key, action=Action.BLOCK, decision_id=f"d {key}")
    )
    say(id=answer.decision_id, revision=answer.revision, supersedes=answer.supersedes)


async def lane(committer, listing_id):
    for number in itertools.count():
        try:
            await commit(committer, listing_id, number)
        except StoreError as err:
            return say(failed=str(err))


async def main(url, name, lanes, file_bytes=None):
    engine = open_database(url, Settings())
    hooks = list_webhooks(engine)
    committer = Committer(engine, Settings(), lambda: 1_750_000_000_000, lambda: hooks)
    if file_bytes:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(file_bytes), resource.RLIM_INFINITY))
    await asyncio.gather(*(lane(committer, f"{name}-{number}") for number in range(int(lanes))))
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    await commit(committer, "after", 0)
    committer.close(30)
    engine.dispose()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
