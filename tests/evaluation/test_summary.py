import json

import numpy as np
import pytest

from stallwart.core.errors import DataError
from stallwart.evaluation.evaluate import Besides, Options, evaluate
from stallwart.evaluation.plain import as_json
from stallwart.evaluation.summary import read_summary

DIGEST = "a" * 64


@pytest.fixture(scope="module")
def report(make_scored, certificates, tmp_path_factory):
    besides = Besides(facts={"bundle": DIGEST})
    made = evaluate(make_scored(), certificates, np.full(3, 0.1), besides, Options(replicates=50))
    path = tmp_path_factory.mktemp("report") / "report.json"
    path.write_text(as_json(made))
    return path


def test_a_report_as_evaluate_writes_it_becomes_a_summary_without_listings(report):
    whole, summary = json.loads(report.read_text()), read_summary(report, DIGEST)
    assert summary["macro"] == whole["macro"]
    assert summary["policies"]["fraud"] == {
        "average_precision": whole["policies"]["fraud"]["average_precision"]
    }
    assert summary["macro"]["average_precision"]["live"]["n"] == 600
    assert whole["worst"], "else the next line shows nothing"
    assert not any(error["listing_id"] in json.dumps(summary) for error in whole["worst"])
    assert len(json.dumps(summary)) < len(json.dumps(whole)) / 3


def test_a_report_of_another_bundle_is_refused(report):
    with pytest.raises(DataError, match="is about bundle aaaaaaaaaaaa, not bbbbbbbbbbbb"):
        read_summary(report, "b" * 64)
