import json
import math
import re
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from stallwart.loop import backtest as module
from stallwart.loop.backtest import backtest
from stallwart.loop.choose import STRATEGIES
from stallwart.loop.learner import Taught
from stallwart.loop.page import as_facts, html, markdown, write_page
from stallwart.loop.plan import parse_plan
from stallwart.loop.summary import gains, lines

DATES = datetime(2025, 5, 1, tzinfo=UTC), datetime(2025, 7, 1, tzinfo=UTC)
TAUGHT = Taught(steps=30)


@pytest.fixture(scope="module")
def plan():
    return parse_plan(*DATES, "none,random,mixed,all", "12/week", "weekly", 2, 36.0, tuple(STRATEGIES))


@pytest.fixture(scope="module")
def tested(world, plan, tmp_path_factory):
    return backtest(world, plan, tmp_path_factory.mktemp("backtest"), TAUGHT)


def test_every_setting_is_figured_in_every_month(tested):
    found = lines(tested)
    assert [month.name for month in tested.months] == ["2025-05", "2025-06", "2025-07"]
    assert len(found) == 4 * 3
    for line in found:
        one = line.average_precision
        assert 0 <= one.low <= one.value <= one.high <= 1
        assert line.hours.value >= 0


def test_what_was_read_and_how_long_it_took_adds_up(tested):
    by_name = {}
    for line in lines(tested):
        by_name.setdefault(line.setting, []).append(line)
    assert sum(line.reviews for line in by_name["none"]) == 0
    assert sum(line.reviews for line in by_name["random, 12/week, weekly"]) == 104
    for line in by_name["random, 12/week, weekly"]:
        assert line.hours.value >= line.reviews * 36 / 3600 - 1e-9


def test_learning_gains_on_what_changed_and_keeps_what_was_known(tested):
    by_name = {setting.name: setting for setting in tested.settings}
    last = {line.setting: line for line in lines(tested) if line.month == "2025-07"}
    assert last["all, weekly"].average_precision.value > last["none"].average_precision.value + 0.05
    assert np.mean(by_name["all, weekly"].held_back) > np.mean(by_name["none"].held_back) - 0.1


def test_a_gain_is_told_as_one_only_where_its_interval_says_so(tested):
    (gain,) = gains(tested)
    assert (gain.strategy, gain.budget, gain.month) == ("mixed", "12/week", "2025-07")
    assert gain.gain.low <= gain.gain.value <= gain.gain.high
    for low, high, said in ((0.1, 0.2, "beats"), (-0.2, -0.1, "loses"), (-0.1, 0.2, "not shown")):
        interval = replace(gain.gain, low=low, high=high)
        assert replace(gain, gain=interval).answer.startswith(said)


def test_an_interrupted_backtest_goes_on_and_ends_the_same(world, plan, tested, tmp_path, monkeypatch):
    real, made = module.play, []

    def stumble(*given):
        if len(made) == 4:
            raise KeyboardInterrupt
        made.append(given[1])
        return real(*given)

    monkeypatch.setattr(module, "play", stumble)
    with pytest.raises(KeyboardInterrupt):
        backtest(world, plan, tmp_path, TAUGHT)
    kept = list(tmp_path.rglob("*.npz"))
    kept[0].write_bytes(b"broken")
    monkeypatch.setattr(module, "play", lambda *given: made.append(given[1]) or real(*given))
    again = backtest(world, plan, tmp_path, TAUGHT)
    runs = list(plan.runs())
    assert len(made) == len(runs) + 1  # the broken one was made twice
    assert json.dumps(as_facts(again)) == json.dumps(as_facts(tested))


def test_another_market_or_learner_takes_nothing_from_what_was_kept(world, plan, tmp_path, monkeypatch):
    backtest(world, plan, tmp_path, TAUGHT)
    made = []
    real = module.play
    monkeypatch.setattr(module, "play", lambda *given: made.append(given[1]) or real(*given))
    backtest(world, plan, tmp_path, TAUGHT)
    assert made == []
    backtest(replace(world, digest="another"), plan, tmp_path, TAUGHT)
    assert len(made) == len(list(plan.runs()))
    backtest(world, plan, tmp_path, replace(TAUGHT, balance=0.0))
    assert len(made) == 2 * len(list(plan.runs()))


def test_the_page_stands_alone_and_shows_every_figure(tested, tmp_path):
    page = write_page(tested, tmp_path)
    text = page.read_text()
    assert text == html(tested)
    assert text.count("<svg") == 4
    assert not re.search(r"<script|https?://(?!www\.w3\.org)", text)
    assert "var(--mixed)" in text
    for line in lines(tested):
        assert f"{line.average_precision.value:.3f} [" in text
    assert "| mixed | 12/week | weekly |" in markdown(tested)
    facts = json.loads((tmp_path / "backtest.json").read_text())
    assert [one["strategy"] for one in facts["settings"]] == ["none", "random", "mixed", "all"]


def test_one_replay_has_no_interval_over_seeds(tested):
    for line in lines(tested):
        several = line.setting.startswith(("random", "mixed"))
        assert math.isnan(line.hours.low) != several
        assert f"{line.hours.value:,.1f}" in markdown(tested)


def test_a_month_without_a_block_has_no_precision_and_no_false_certainty(tested):
    for line in lines(tested):
        if math.isnan(line.precision.value):
            assert line.coverage.value == 0
