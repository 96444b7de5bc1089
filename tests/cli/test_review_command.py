"""`stallwart review`: it refuses passwords in the clear, says how to begin, answers, and ends cleanly."""

import os
import re
import signal
import subprocess
import sys
import threading
import time

import httpx
import pytest

from stallwart.cli.review import _check_transport
from stallwart.core.errors import ConfigError


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "review.example"])
def test_passwords_cross_no_network_in_the_clear(host, tmp_path):
    with pytest.raises(ConfigError, match="in the clear"):
        _check_transport(host, None, None, None)
    assert _check_transport(host, None, None, "10.0.0.5")
    certificate = tmp_path / "review.pem"
    certificate.write_text("x")
    assert _check_transport(host, certificate, certificate, None)
    with pytest.raises(ConfigError, match="belong together"):
        _check_transport(host, certificate, None, None)
    with pytest.raises(ConfigError, match="no such file"):
        _check_transport(host, certificate, tmp_path / "absent.key", None)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_a_loopback_address_needs_no_tls(host):
    assert not _check_transport(host, None, None, None)


@pytest.mark.slow
def test_it_serves_until_it_is_told_to_end(tmp_path):
    command = [sys.executable, "-c", "from stallwart.cli.main import main; main()", "review", "--port", "0"]
    given = {**os.environ, "STALLWART_DATA_DIR": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(command, env=given, stderr=subprocess.PIPE, text=True)
    try:
        lines, url = [], None
        for line in process.stderr:
            lines.append(line)
            if found := re.search(r"review is at (http://\S+)", line):
                url = found.group(1)
                break
        assert url, lines
        assert any("stallwart users add" in line for line in lines)
        # The rest is read, or a full pipe would hold the program up
        reader = threading.Thread(target=process.stderr.read)
        reader.start()
        answer = _answered(f"{url}sign-in")
        assert "There is no account yet" in answer.text
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) in (0, -signal.SIGTERM)
        reader.join()
    finally:
        process.kill()
        process.stderr.close()
        process.wait()


def _answered(url):
    until = time.monotonic() + 120
    while True:
        try:
            return httpx.get(url, timeout=60)
        except httpx.TransportError:
            assert time.monotonic() < until, "the pages did not answer"
            time.sleep(0.1)
