import pytest
import torch

from stallwart.training.members import HEADS

D_TEXT, D_PHOTO, OUTPUTS, N = 5, 7, 4, 6


@pytest.fixture(params=HEADS)
def head(request):
    torch.manual_seed(3)
    made = HEADS[request.param](D_TEXT, D_PHOTO, OUTPUTS, 8, 0.2)
    with torch.no_grad():
        for weights in made.parameters():
            weights.normal_()  # also those that begin as zeros: nothing may hold by being zero
    return made.eval()


@pytest.fixture
def rows():
    random = torch.Generator().manual_seed(1)
    text, photo = torch.randn(N, D_TEXT, generator=random), torch.randn(N, D_PHOTO, generator=random)
    has_text = torch.tensor([1.0, 0, 1, 0, 1, 1])[:, None]
    has_photo = torch.tensor([1.0, 1, 0, 0, 1, 0])[:, None]
    return text, has_text, photo, has_photo


def test_every_listing_gets_a_finite_logit_for_each_output(head, rows):
    logits = head(*rows)
    assert logits.shape == (N, OUTPUTS)
    assert torch.isfinite(logits).all()  # the fourth row has no part at all


def test_what_stands_in_a_missing_part_changes_nothing(head, rows):
    text, has_text, photo, has_photo = rows
    other_text = torch.where(has_text > 0, text, torch.full_like(text, 1e3))
    other_photo = torch.where(has_photo > 0, photo, torch.full_like(photo, -1e3))
    torch.testing.assert_close(head(other_text, has_text, other_photo, has_photo), head(*rows))


def test_what_stands_in_a_part_that_is_there_does_change_it(head, rows):
    text, has_text, photo, has_photo = rows
    moved = head(text + 1, has_text, photo, has_photo)
    assert (moved != head(*rows)).any(dim=1).tolist() == (has_text[:, 0] > 0).tolist()


def test_a_row_does_not_depend_on_its_batch(head, rows):
    whole = head(*rows)
    for i in range(N):
        alone = head(*(part[i : i + 1] for part in rows))
        torch.testing.assert_close(alone[0], whole[i], rtol=1e-5, atol=1e-5)


def test_a_second_look_gives_the_same_score(head, rows):
    assert torch.equal(head(*rows), head(*rows))


def test_text_alone_photo_alone_and_both_are_told_apart(head, rows):
    text, _, photo, _ = (part[:1] for part in rows)
    one, none = torch.ones(1, 1), torch.zeros(1, 1)
    said = [head(text, t, photo, p) for t, p in ((one, one), (one, none), (none, one), (none, none))]
    for i in range(4):
        for j in range(i):
            assert not torch.equal(said[i], said[j])


def test_it_can_be_trained_through_every_mask(head, rows):
    head.train()
    head(*rows).square().sum().backward()
    gradients = [weights.grad for weights in head.parameters()]
    assert all(gradient is not None and torch.isfinite(gradient).all() for gradient in gradients)
    assert any((gradient != 0).any() for gradient in gradients)
