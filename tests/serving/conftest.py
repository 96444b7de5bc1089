"""Bundles of tiny encoders, made once for all tests that serve a real bundle."""

import pytest


@pytest.fixture(scope="session")
def tiny_bundles(sample_market, tmp_path_factory):
    """Folders of two bundles that differ in their seed; copy a link to them, never write."""
    import torch
    from tiny.market import RECIPE, tiny_train

    torch.set_num_threads(1)
    folder, cache = tmp_path_factory.mktemp("bundles"), tmp_path_factory.mktemp("training")
    for seed in (0, 1):
        recipe = RECIPE.model_copy(update={"seed": seed})
        tiny_train(sample_market, folder / str(seed), cache, recipe)
    return folder / "0", folder / "1"
