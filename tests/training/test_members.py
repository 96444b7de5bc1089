from itertools import pairwise

import numpy as np
import pytest
import torch

from stallwart.encoders.export import export_graph
from stallwart.encoders.graphs import open_session
from stallwart.training.fit import ensemble_log_odds, member_log_odds
from stallwart.training.members import (
    HEADS,
    Ensemble,
    member_arrays,
    new_member,
    softmax_log_odds,
    with_arrays,
)
from stallwart.training.recipe import MemberRecipe

D_TEXT, D_PHOTO, K = 8, 6, 2
WIDTH = 2**18
INPUTS = ("text", "has_text", "photos", "has_photo", "buckets")


def random_member(seed=0, **recipe):
    torch.manual_seed(seed)
    made = new_member(MemberRecipe(**{"width": 8, **recipe}), D_TEXT, D_PHOTO, WIDTH, K)
    with torch.no_grad():
        for weights in made.parameters():
            weights.normal_()
        for name, statistic in made.named_buffers():
            statistic.uniform_(0.5, 1.5) if not name.endswith("mean") else statistic.normal_()
    return made.eval()


@pytest.fixture(
    params=[(kind, output) for kind in HEADS for output in ("softmax", "per_policy")], ids="-".join
)
def member(request):
    kind, output = request.param
    return random_member(kind=kind, output=output)


def with_photos(features, *photos):
    """One listing, the first of the features, with these photos."""
    stacked = np.array(photos, dtype=np.float32).reshape(-1, D_PHOTO)
    first = features[np.array([0])]
    return type(first)(first.text, first.has_text, stacked, np.array([0, len(stacked)]), first.words)


@pytest.fixture
def listing(make_features):
    return make_features([1], parts=3)


@pytest.fixture
def photos():
    return np.random.default_rng(4).normal(size=(4, D_PHOTO)).astype(np.float32)


def test_the_order_of_photos_does_not_matter(member, listing, photos):
    a, b, c, _ = photos
    one, other = (member_log_odds(member, with_photos(listing, *some)) for some in ((a, b, c), (c, a, b)))
    np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def test_a_photo_shown_twice_says_nothing_new(member, listing, photos):
    a, b, *_ = photos
    one, other = (member_log_odds(member, with_photos(listing, *some)) for some in ((a, b), (a, b, b, a)))
    np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def test_padding_to_a_longer_listing_changes_nothing(member, make_features):
    features = make_features([0, 1, 2, 0, 1, 2, 1], seed=5, most_photos=6)
    together = member_log_odds(member, features)
    alone = np.concatenate([member_log_odds(member, features[np.array([i])]) for i in range(len(features))])
    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-5)


def test_one_photo_more_never_lowers_a_yes_or_no_head(listing, photos):
    member = random_member(kind="concat", output="per_policy")
    said = [member_log_odds(member, with_photos(listing, *photos[:count])) for count in (1, 2, 3, 4)]
    assert all((more >= less - 1e-6).all() for less, more in pairwise(said))


def test_the_third_photo_alone_can_decide():
    member = random_member(kind="linear")
    with torch.no_grad():
        member.head.out.weight.zero_()
        member.head.out.bias.copy_(torch.tensor([2.0, -2.0, -2.0]))
        member.head.out.weight[1, D_TEXT] = 9.0  # the first number of a photo speaks for the first policy
        member.photo_mean.zero_()
        member.photo_scale.fill_(1.0)
    harmless = np.eye(D_PHOTO)[3]
    text = np.zeros((1, D_TEXT), np.float32)
    z = [
        member.log_odds(
            member.logits(
                torch.tensor(text),
                torch.zeros(1, 1),
                member.prepared(torch.tensor(text), torch.tensor(np.array([some]), dtype=torch.float32))[1],
                torch.ones(1, 1),
            )
        )[0]
        for some in ([harmless, harmless], [harmless, harmless, np.eye(D_PHOTO)[0]])
    ]
    assert z[0][0] < -2
    assert z[1][0] > 2
    assert z[1][1] <= z[0][1] + 1e-6  # and for the other policy nothing speaks


def test_a_member_is_silent_where_it_has_nothing_to_read(make_features):
    features = make_features([0, 1, 2, 0, 1, 2, 1, 2], seed=2)
    for reads, there in ((("text",), features.has_text), (("photo",), features.has_photo)):
        silent = np.isnan(member_log_odds(random_member(kind="concat", reads=reads), features)).all(axis=1)
        assert silent.tolist() == (~there).tolist()


def test_softmax_log_odds_are_those_of_the_softmax():
    logits = torch.randn(5, K + 1, generator=torch.Generator().manual_seed(0))
    p = torch.softmax(logits.double(), dim=1)[:, 1:]
    expected = torch.log(p / (1 - p))
    torch.testing.assert_close(softmax_log_odds(logits).double(), expected, rtol=1e-4, atol=1e-5)
    huge = softmax_log_odds(torch.tensor([[0.0, 500.0, -500.0]]))
    assert torch.isfinite(huge).all()
    assert huge[0, 0] > 400


def test_arrays_give_the_same_member_back(member, make_features):
    features = make_features([0, 1, 2, 1], seed=2)
    again = with_arrays(new_member(member.recipe, D_TEXT, D_PHOTO, WIDTH, K), member_arrays(member))
    np.testing.assert_array_equal(member_log_odds(again, features), member_log_odds(member, features))


@pytest.fixture(scope="module")
def ensemble():
    kinds = [{"kind": kind, "weight": 0.5 + i} for i, kind in enumerate(HEADS)]
    others = [
        {"kind": "lexical", "reads": ("text",)},
        {"kind": "late", "output": "per_policy"},
        {"kind": "linear", "reads": ("photo",)},
    ]
    return Ensemble([random_member(seed, **kind) for seed, kind in enumerate([*kinds, *others])])


@pytest.fixture(scope="module")
def graph(ensemble, tmp_path_factory):
    path = tmp_path_factory.mktemp("graph") / "heads.onnx"
    example = (
        torch.zeros(1, D_TEXT), torch.ones(1, 1), torch.zeros(2, D_PHOTO), torch.ones(1, 1), torch.arange(3),
    )  # fmt: skip
    export_graph(ensemble, example, path, INPUTS, {"photos": {0: "p"}, "buckets": {0: "m"}})
    return open_session(path)


def feed_of(features, i):
    photos = features.photos[features.starts[i] : features.starts[i + 1]]
    buckets = features.words[i].indices.astype(np.int64)
    return {
        "text": features.text[i : i + 1],
        "has_text": np.array([[features.has_text[i]]], dtype=np.float32),
        "photos": photos if len(photos) else np.zeros((1, D_PHOTO), np.float32),
        "has_photo": np.array([[len(photos) > 0]], dtype=np.float32),
        "buckets": np.sort(buckets) if len(buckets) else np.zeros(1, dtype=np.int64),
    }


def test_the_exported_graph_computes_what_torch_does(ensemble, graph, make_features):
    seen = set()
    features = make_features(np.arange(24) % 3, seed=6)
    for i in range(len(features)):
        feed = feed_of(features, i)
        seen.add((bool(feed["has_text"][0, 0]), int(features.n_photos[i])))
        with torch.inference_mode():
            expected = ensemble(*(torch.from_numpy(feed[name]) for name in INPUTS)).numpy()
        np.testing.assert_allclose(graph.run(None, feed)[0], expected, rtol=1e-4, atol=1e-4)
    assert {(True, 0), (False, 1), (False, 3), (True, 1), (True, 3)} <= seen


def test_scoring_many_rows_at_once_equals_the_graph_row_by_row(ensemble, graph, make_features):
    features = make_features(np.arange(24) % 3, seed=6)
    together = ensemble_log_odds(ensemble, features)
    assert np.isfinite(together).all()
    for i in range(len(features)):
        np.testing.assert_allclose(
            together[i], graph.run(None, feed_of(features, i))[0][0], rtol=1e-4, atol=1e-4
        )


def test_an_ensemble_that_cannot_speak_says_nothing_and_no_number():
    ensemble = Ensemble([random_member(kind="lexical", reads=("text",))])
    nothing, one = torch.zeros(1, 1), torch.ones(1, 1)
    with torch.inference_mode():
        said = ensemble(torch.zeros(1, D_TEXT), nothing, torch.ones(1, D_PHOTO), one, torch.arange(1))
    assert torch.isnan(said).all()  # a photo alone, and no member that reads photos: not 0, which is a score
