"""A real Chromium, driven over its DevTools protocol: opens a page, types, clicks, looks, takes pictures."""

import base64
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import websocket

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--remote-debugging-port=0", "--remote-allow-origins=*",
)  # fmt: skip
_KEYS = {
    "Enter": ("Enter", 13, "\r"),
    "Escape": ("Escape", 27, ""),
    "Tab": ("Tab", 9, ""),
    " ": ("Space", 32, " "),
}
_NAMES = ("chromium", "chromium-browser", "google-chrome")


def chromium():
    """Where it is; None where it is not installed."""
    named = os.environ.get("STALLWART_TEST_CHROMIUM")
    return named or next((found for name in _NAMES if (found := shutil.which(name))), None)


class Browser:
    """One process; `page` opens tabs that share nothing.

    Args:
        folder: for its profile.
    """

    def __init__(self, folder: Path):
        command = [chromium(), *FLAGS, f"--user-data-dir={folder}", "about:blank"]
        quiet = subprocess.DEVNULL
        self.process = subprocess.Popen(command, stdout=quiet, stderr=quiet, start_new_session=True)
        told, until = folder / "DevToolsActivePort", time.monotonic() + 60
        while not (told.exists() and told.read_text().count("\n")):
            assert self.process.poll() is None, "Chromium ended as it started"
            assert time.monotonic() < until, "Chromium did not start"
            time.sleep(0.05)
        port, path = told.read_text().split("\n")[:2]
        self.address = f"127.0.0.1:{port}"
        self._root, self._pages = Link(f"ws://{self.address}{path}"), []

    def page(self, url, width=1180, height=900, dark=False):
        """A tab of its own, as if in a new window."""
        context = self._root.ask("Target.createBrowserContext")["browserContextId"]
        target = self._root.ask("Target.createTarget", url="about:blank", browserContextId=context)[
            "targetId"
        ]
        page = Page(Link(f"ws://{self.address}/devtools/page/{target}"))
        self._pages.append((context, page))
        page.size(width, height)
        page.colours(dark)
        page.open(url)
        return page

    def close_pages(self):
        """Close every tab; none goes on asking a service that is gone."""
        while self._pages:
            context, page = self._pages.pop()
            page.link.close()
            self._root.ask("Target.disposeBrowserContext", browserContextId=context)

    def stop(self):
        """End it, with all of its processes."""
        self.close_pages()
        self._root.close()
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(20)


class Link:
    """Questions and answers over one socket; events are kept."""

    def __init__(self, url):
        self._socket = websocket.create_connection(url, timeout=30, suppress_origin=True)
        self._number, self.events = 0, []

    def ask(self, method, **params):
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": params}))
        while True:
            told = json.loads(self._socket.recv())
            if "id" not in told:
                self.events.append(told)
            elif told["id"] == self._number:
                assert "error" not in told, f"{method}: {told['error']['message']}"
                return told["result"]

    def close(self):
        self._socket.close()


class Page:
    """A tab."""

    def __init__(self, link):
        self.link = link
        for domain in ("Page", "Runtime", "Log", "Network"):
            link.ask(f"{domain}.enable")

    def open(self, url):
        self.link.ask("Page.navigate", url=url)
        self.until("document.readyState === 'complete'")

    def size(self, width, height):
        self.link.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )

    def colours(self, dark):
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.link.ask("Emulation.setEmulatedMedia", features=scheme)

    def offline(self, off):
        self.link.ask(
            "Network.emulateNetworkConditions",
            offline=off,
            latency=0,
            downloadThroughput=-1,
            uploadThroughput=-1,
        )

    def run(self, script):
        """What an expression is in the page, as JSON."""
        told = self.link.ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in told, told["exceptionDetails"]
        return told["result"].get("value")

    def until(self, script, seconds=60):
        """What the expression is once it is true; what is not there yet is not true."""
        asked = f"(() => {{ try {{ const it = {script}; return it instanceof Node || it; }} catch {{ }} }})()"
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if value := self.run(asked):
                return value
            time.sleep(0.05)
        raise AssertionError(f"never true: {script}\n{self.text()[:2_000]}")

    def text(self):
        return self.run("document.body.innerText")

    def press(self, *keys):
        for key in keys:
            letter = (f"Key{key.upper()}", ord(key[0].upper()), key)
            code, number, text = _KEYS.get(key, letter)
            named = {"key": key, "code": code, "windowsVirtualKeyCode": number}
            self.link.ask("Input.dispatchKeyEvent", type="keyDown", text=text, **named)
            self.link.ask("Input.dispatchKeyEvent", type="keyUp", **named)

    def type(self, text):
        self.link.ask("Input.insertText", text=text)

    def click(self, selector):
        x, y = self.run(
            f"(() => {{ const one = document.querySelector({json.dumps(selector)});"
            " one.scrollIntoView({block: 'center'}); const r = one.getBoundingClientRect();"
            " return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.link.ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def faults(self):
        """What the page's console said of errors: exceptions and what the policy of contents refused."""
        self.run("1")
        found = []
        for event in self.link.events:
            if event["method"] == "Runtime.exceptionThrown":
                found.append(json.dumps(event["params"]["exceptionDetails"])[:500])
            if event["method"] == "Log.entryAdded" and event["params"]["entry"]["source"] == "security":
                found.append(event["params"]["entry"]["text"])
        return found

    def picture(self, path, whole=True):
        if whole:
            height = self.run("document.documentElement.scrollHeight")
            size = {"x": 0, "y": 0, "width": self.run("innerWidth"), "height": height, "scale": 1}
            told = self.link.ask(
                "Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=size
            )
        else:
            told = self.link.ask("Page.captureScreenshot", format="png")
        Path(path).write_bytes(base64.b64decode(told["data"]))
