from stallwart.core.decision import Action
from stallwart.core.rollout import Arm
from stallwart.store.counterparts import add_counterparts, follow_pairs, missing, read_pairs
from stallwart.store.database import reading, writing
from stallwart.store.draws import add_draws
from stallwart.store.exposures import add_exposures
from stallwart.store.retention import purge
from tests.store.outgoing import decide
from tests.store.rolling import NEW, NOW, counterpart, drawn, exposure

A, B, C, D = (f"d-{name}-0001" for name in "abcd")


def stored(database, *, counterparts=(), exposures=(), draws=()):
    with writing(database) as connection:
        add_counterparts(connection, counterparts)
        add_exposures(connection, exposures)
        add_draws(connection, draws)


def wanting(database, **facts):
    with reading(database) as connection:
        return missing(connection, "r", **{"limit": 10, **facts})


def test_a_pair_has_what_both_models_say_of_one_listing(database):
    decide(database, [], ("a", 1), ("b", 1))
    stored(
        database,
        exposures=[exposure("a", A, arm=Arm.CHALLENGER, failed=True, cpu_us=9)],
        counterparts=[counterpart(A, cpu_us=5), counterpart(B, scores=None, failed=True)],
    )
    with reading(database) as connection:
        one, other = read_pairs(connection, "r", 0, 10)
        assert read_pairs(connection, "r", one.seq, 10) == [other]
        assert list(follow_pairs("r", lambda: 0).poll(connection)) == [one, other]
        assert read_pairs(connection, "another", 0, 10) == []
    assert (one.decided_bundle, one.decided_action, one.decided_policies) == (
        "b" * 64,
        Action.BLOCK,
        ("tobacco",),
    )
    assert (one.bundle, one.action, one.policies, one.failed, one.cpu_us) == (
        NEW, Action.REVIEW, ("weapons",), False, 5,
    )  # fmt: skip
    assert (one.arm, one.decided_failed, one.decided_cpu_us) == (Arm.CHALLENGER, True, 9)
    assert (other.arm, other.decided_failed, other.failed) == (None, False, True)


def test_of_a_decision_and_a_bundle_the_first_counterpart_stays(database):
    decide(database, [], ("a", 1))
    stored(database, counterparts=[counterpart(A, cpu_us=1), counterpart(A, cpu_us=2)])
    stored(database, counterparts=[counterpart(A, cpu_us=3)])
    with reading(database) as connection:
        assert [one.cpu_us for one in read_pairs(connection, "r", 0, 10)] == [1]


def test_audited_exposures_without_a_counterpart_are_missing_until_there_is_one(database):
    (a, b, *_) = decide(database, [], ("a", 1), ("b", 1), ("c", 1), ("d", 1))
    stored(
        database,
        exposures=[exposure("a", A), exposure("b", B, arm=Arm.CHALLENGER, step=2), exposure("c", C)],
        draws=[drawn(A), drawn(B), drawn(D), drawn(C, rollout_id="another")],
    )
    first, second = wanting(database)
    assert (first.decision_id, first.revision, first.bundle, first.arm) == (
        A,
        a.revision,
        a.bundle,
        Arm.CHAMPION,
    )
    assert (second.decision_id, second.revision, second.step, second.arm) == (
        B,
        b.revision,
        2,
        Arm.CHALLENGER,
    )
    assert wanting(database, limit=1) == [first]
    assert wanting(database, after=first.seq) == [second]
    stored(database, counterparts=[counterpart(A, failed=True)])
    assert wanting(database) == [second]
    purge(database, lambda *_: None, NOW + 1, NOW + 1)
    assert wanting(database) == [], "its content is gone"


def test_a_decision_is_drawn_once(database):
    decide(database, [], ("a", 1))
    stored(database, exposures=[exposure("a", A)], draws=[drawn(A), drawn(A, probability=0.5)])
    stored(database, draws=[drawn(A)])
    assert len(wanting(database)) == 1
