import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_intervals_hold_in_simulated_weeks():
    told = subprocess.run(
        [sys.executable, "bench/audit.py", "--quick"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    covered = re.findall(r"^  (\w+) +0\.\d+|^  (\w+) +1\.000", told, re.MULTILINE)
    assert len(covered) >= 15
    for low, high in re.findall(r"\[(\d\.\d+), (\d\.\d+)\]", told):
        assert float(low) <= float(high)
        assert float(high) >= 0.93, told
    assert "recall read as 1 in 0" in told
    assert not re.search(r"recall read as 1 in [1-9]", told)
