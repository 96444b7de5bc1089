"""The service in a thread of this process, under real HTTP, and listings to send it."""

import base64
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import uvicorn

from stallwart.core.settings import Settings
from stallwart.dataset.columns import Columns
from stallwart.dataset.read import read_listings
from stallwart.dataset.rejects import Rejects
from stallwart.serving.server import create_service_of


class Served:
    """A service that asks for no key."""

    def __init__(self, runtime, settings):
        app = create_service_of(runtime, settings, insecure_local=True)
        config = uvicorn.Config(app, port=0, log_config=None, lifespan="on", timeout_graceful_shutdown=5)
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        until = time.monotonic() + 20
        while not self.server.started and time.monotonic() < until:
            time.sleep(0.01)
        url = f"http://127.0.0.1:{self.server.servers[0].sockets[0].getsockname()[1]}"
        self.client = httpx.Client(base_url=url, timeout=30)

    def ask(self, listing, deadline_ms=None, **options):
        """The decision; `listing` as it goes over the wire."""
        headers = {"Stallwart-Deadline-Ms": str(deadline_ms)} if deadline_ms else {}
        answer = self.client.post("/v1/decisions", json={"listing": listing, **options}, headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def read(self, decision_id, words):
        """The decision that stands once words were read in the photos."""
        answer = self.client.post(f"/v1/decisions/{decision_id}/photo-words", json={"words": words})
        assert answer.status_code == 200, answer.text
        return answer.json()

    def ask_all(self, listings):
        with ThreadPoolExecutor(8) as pool:
            return list(pool.map(self.ask, listings))

    def stop(self):
        self.client.close()
        self.server.should_exit = True
        self.thread.join(20)


def photo(content):
    return {"base64": base64.b64encode(content).decode()}


def market_listings(folder, n):
    """Of the generated market, as they go over the wire."""
    read = read_listings(sorted(folder.glob("*.parquet")), Columns(), Settings(), Rejects(100), decode=False)
    return [
        {
            "listing_id": one.listing_id, "title": one.title, "description": one.description,
            "seller_id": one.seller_id, "photos": [photo(each) for each in one.photos],
        }
        for one, _ in zip(read, range(n), strict=False)
    ]  # fmt: skip


def odd_listings(photos):
    """What sellers, broken uploads and other people's programs send.

    Args:
        photos: some that decode.
    """
    good, cut = photo(photos[0]), photo(photos[1][: len(photos[1]) // 2])
    words = {
        "nul": "whisky\0 vodka",
        "replaced": "\ufffd wine",
        "emoji": "🍷 wine 🗡️",
        "right to left": "ويسكي שלום",
        "combined": "wi\u0301ne" + "\u0301" * 50,
        "invisible": "can\u200bna\u200bbis",
        "spaces": " \t\n ",
        "long": "dagger " * 20_000,
        "one": "x",
        "line ends": "vodka\r\nwine\u2028lamp",
        "quotes": '\'; DROP TABLE "decisions" -- \\u0000',
        "full width": "ｗｈｉｓｋｙ",
        "beyond": "𝖜𝖎𝖓𝖊 \U0010ffff \ue000",
        "no number": "NaN null Infinity",
    }
    pictures = {
        "broken": [photo(b"this is no photo")],
        "empty": [photo(b"")],
        "cut": [cut],
        "cut and good": [cut, good],
        "good and cut": [good, cut],
        "twice": [good, good],
        "over the limit": [good] * 5,
        "unknown hash": [{"sha256": "0" * 64}],
        "no host": [{"url": "https://img.example.com/a.jpg"}, good],
        "no source": [{"path": "a/b.jpg"}, good],
        "several": [photo(one) for one in photos[:3]],
    }
    made = [{"listing_id": f"words {name}", "title": text} for name, text in words.items()]
    made += [{"listing_id": f"body {name}", "description": text} for name, text in words.items()]
    made += [
        {"listing_id": f"photo {name}", "title": "red wine", "photos": given}
        for name, given in pictures.items()
    ]
    made += [
        {
            "listing_id": f"only photo {name}",
            "photos": given,
            "seller_id": "s",
            "price": 1.5,
            "language": "de",
        }
        for name, given in pictures.items()
    ]
    nothing = {"listing_id": "nothing"}
    same = {"listing_id": "same twice", "title": "lamp", "description": " lamp "}
    return [*made, nothing, same]
