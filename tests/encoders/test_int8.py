import numpy as np
import pytest
from samples import draw_photo, write_text

from stallwart.core.errors import BundleError, ConfigError
from stallwart.encoders.graphs import PhotoGraph, TextGraph
from stallwart.encoders.int8 import quantise
from stallwart.encoders.spec import GRAPH, read_spec


def photos(n):
    return [np.asarray(draw_photo(seed, 224)) for seed in range(n)]


def texts(n):
    return [write_text(seed) for seed in range(n)]


@pytest.fixture(scope="module")
def small(photo_folder, text_folder, tmp_path_factory):
    """Folder and measured cosine of both 8-bit encoders."""
    folder = tmp_path_factory.mktemp("int8")
    photo = quantise(photo_folder, folder / "photo", photos(24))
    text = quantise(text_folder, folder / "text", iter(texts(24)))
    return {"photo": (folder / "photo", photo), "text": (folder / "text", text)}


def cosine(a, b):
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


@pytest.mark.slow
def test_the_measured_cosine_is_near_one_and_true_of_other_photos(small, photo_folder):
    folder, stated = small["photo"]
    one, other = PhotoGraph(photo_folder), PhotoGraph(folder)
    found = [cosine(one.encode(photo), other.encode(photo)) for photo in photos(40)[24:]]
    assert 0.9 < stated < 1
    assert abs(np.mean(found) - stated) < 0.08  # a dozen drawn photos calibrate loosely


@pytest.mark.slow
def test_the_measured_cosine_is_near_one_and_true_of_other_texts(small, text_folder):
    folder, stated = small["text"]
    one, other = TextGraph(text_folder), TextGraph(folder)
    found = [cosine(one.encode(text), other.encode(text)) for text in texts(40)[24:]]
    assert 0.98 < stated < 1
    assert abs(np.mean(found) - stated) < 0.01


@pytest.mark.slow
def test_an_8_bit_encoder_is_smaller_and_another_one(small, photo_folder, text_folder):
    for source, (target, _) in ((photo_folder, small["photo"]), (text_folder, small["text"])):
        assert (target / GRAPH).stat().st_size < 0.45 * (source / GRAPH).stat().st_size
        one, other = read_spec(source), read_spec(target)
        assert other.name == f"{one.name}-int8"
        assert (one.d, one.modality, one.size) == (other.d, other.modality, other.size)
        assert one.digest != other.digest


@pytest.mark.slow
def test_the_same_examples_give_the_same_encoder_and_others_another(small, photo_folder, tmp_path):
    quantise(photo_folder, tmp_path / "same", photos(24))
    quantise(photo_folder, tmp_path / "other", photos(20))
    assert read_spec(tmp_path / "same").digest == read_spec(small["photo"][0]).digest
    assert read_spec(tmp_path / "other").digest != read_spec(small["photo"][0]).digest


@pytest.mark.slow
def test_nothing_is_printed(text_folder, tmp_path, capfd):
    quantise(text_folder, tmp_path / "int8", texts(20))
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_quantising_twice_is_refused(small, tmp_path):
    with pytest.raises(ConfigError, match="in 8-bit integers already"):
        quantise(small["text"][0], tmp_path / "twice", texts(24))


def test_too_few_examples_are_refused_and_leave_nothing(text_folder, tmp_path):
    with pytest.raises(ConfigError, match="3 examples to calibrate on; give 20 or more"):
        quantise(text_folder, tmp_path / "int8", texts(3))
    assert not (tmp_path / "int8").exists()


def test_a_folder_that_holds_no_encoder_is_refused(tmp_path):
    with pytest.raises(BundleError, match="is no encoder"):
        quantise(tmp_path, tmp_path / "int8", texts(24))
