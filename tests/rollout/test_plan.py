import pytest

from stallwart.core.errors import ConfigError
from stallwart.core.rollout import Arm, Stage
from stallwart.rollout.plan import Plan, plan_of, read_plan
from stallwart.rollout.routing import arm, position

AB = {"stage": "ab", "share": 0.5}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"unit": "shop"}, "unit"),
        ({"false_rollback": 0.7}, "false_rollback"),
        ({"steps": []}, "steps"),
        ({"steps": [{"stage": "canary", "share": 0.01}]}, "the last step is ab"),
        ({"steps": [{"stage": "ramp", "share": 0.6}, AB]}, "shares never fall"),
        ({"steps": [AB, {"stage": "canary", "share": 0.6}]}, "shares never fall"),
        ({"steps": [{"stage": "shadow", "share": 0.1}, AB]}, "shadow decides nothing"),
        ({"steps": [{"stage": "shadow"}, AB]}, "shadow_share above 0"),
        ({"steps": [{"stage": "ab"}]}, "needs a share above 0"),
        ({"steps": [{"stage": "ab", "share": 1.0}]}, "nothing to compare with"),
        ({"steps": [{"stage": "promoted", "share": 0.5}]}, "steps.0.stage"),
        ({"guards": {"errors": 0.5}}, "guards.errors"),
        ({"guards": {"eroors": 2.0}}, "guards.eroors"),
        ({"audit": {"allow": 0.0}}, "audit.allow"),
        ({"question": {"show": "better"}}, "question.show"),
        ({"question": {"min_verdicts": 5}}, "question.min_verdicts"),
    ],
)
def test_a_plan_that_cannot_be_meant_says_what_is_wrong_and_where(values, message):
    with pytest.raises(ConfigError, match=r"plan\.toml: ") as caught:
        plan_of(values, "plan.toml")
    assert message in str(caught.value)


def test_a_plan_is_read_from_a_file(tmp_path):
    path = tmp_path / "plan.toml"
    path.write_text('unit = "seller"\n[[steps]]\nstage = "ab"\nshare = 0.5\n')
    plan = read_plan(path)
    assert (plan.unit, plan.steps[0].stage) == ("seller", Stage.AB)


@pytest.mark.parametrize("content", [b"unit = ", b"\xff\xfe"])
def test_a_file_that_is_no_plan_is_an_error(tmp_path, content):
    path = tmp_path / "plan.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="plan"):
        read_plan(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_plan(tmp_path / "none.toml")


def test_without_a_file_there_are_defaults_that_survive_the_database():
    plan = read_plan(None)
    assert plan == Plan()
    assert plan_of(plan.model_dump(mode="json"), "the database") == plan


def test_a_unit_of_the_challenger_stays_its_unit_as_the_share_grows():
    places = [position("ab" * 16, f"unit {n}") for n in range(2_000)]
    for smaller, greater in ((0.01, 0.05), (0.05, 0.25), (0.25, 0.5)):
        kept = [place for place in places if arm(place, smaller) is Arm.CHALLENGER]
        assert all(arm(place, greater) is Arm.CHALLENGER for place in kept)
        assert abs(sum(arm(place, greater) is Arm.CHALLENGER for place in places) / 2_000 - greater) < 0.04
