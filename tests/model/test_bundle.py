import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from stallwart.core.errors import BundleError
from stallwart.model import bundle as parts
from stallwart.model.bundle import read_bundle, seal
from stallwart.model.runtime import Scorer

FILES = (
    "taxonomy.json", "heads.onnx", "calibration.json", "thresholds.json", "known.npz", "card.json",
    "text/graph.onnx", "text/spec.json", "text/tokenizer.json", "photo/graph.onnx", "photo/spec.json",
)  # fmt: skip


@pytest.fixture
def copy(bundle, tmp_path) -> Path:
    return Path(shutil.copytree(bundle.folder, tmp_path / "copy"))


def manifest(folder: Path, **changes) -> None:
    path = folder / parts.MANIFEST
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def rewrite(folder: Path, name: str, change) -> None:
    """Change a JSON file of a bundle and seal it again, as another version of the program would."""
    content = json.loads((folder / name).read_text())
    change(content)
    (folder / name).write_text(json.dumps(content))
    seal(folder)


def test_the_list_of_files_is_the_whole_bundle(bundle):
    assert set(json.loads((bundle.folder / parts.MANIFEST).read_text())["files"]) == {*FILES, "seen.npz"}


@pytest.mark.parametrize("name", [*FILES, parts.MANIFEST])
@pytest.mark.parametrize("where", [0.0, 0.5, 1.0])
def test_a_flipped_byte_anywhere_is_refused(copy, name, where):
    content = bytearray((copy / name).read_bytes())
    content[int(where * (len(content) - 2))] ^= 0x01
    (copy / name).write_bytes(content)
    with pytest.raises(BundleError, match=r"train it again|copy the bundle again"):
        read_bundle(copy)


@pytest.mark.parametrize("name", [*FILES, parts.MANIFEST])
def test_a_truncated_file_is_refused_by_name(copy, name):
    content = (copy / name).read_bytes()
    (copy / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(BundleError, match=Path(name).name):
        read_bundle(copy)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_refused_by_name(copy, name):
    (copy / name).unlink()
    with pytest.raises(BundleError, match=f"{name} is missing"):
        read_bundle(copy)
    seal(copy)  # also where the manifest agrees that it is not there
    with pytest.raises(BundleError, match=f"lacks {name}"):
        read_bundle(copy)


@pytest.mark.parametrize(
    "name",
    ["../outside", "/etc/hostname", "text/../../outside", "text//x", "./card.json", ".hidden", "a\\b", "a\n"],
)
def test_a_name_that_leaves_the_folder_is_refused_before_it_is_read(copy, name):
    (copy.parent / "outside").write_text("not yours")
    files = json.loads((copy / parts.MANIFEST).read_text())["files"]
    manifest(copy, files={name: "0" * 64, **files})
    with pytest.raises(BundleError, match="is missing"):
        read_bundle(copy)


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b"null", b"3", b'"x"', b"{", b"\xff\xfe", b"[" * 5000]
)
def test_a_foreign_manifest_is_refused(copy, content):
    (copy / parts.MANIFEST).write_bytes(content)
    with pytest.raises(BundleError, match=parts.MANIFEST):
        read_bundle(copy)


@pytest.mark.parametrize("version", [0, 2, 99, "1", None])
def test_another_format_is_refused_and_named(copy, version):
    manifest(copy, format=version)
    with pytest.raises(BundleError, match=f"has format {version!r}, this version reads 1"):
        read_bundle(copy)


def test_a_folder_that_is_no_bundle_says_how_to_make_one(tmp_path):
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(BundleError, match="make one with: stallwart train"):
            read_bundle(folder)


@pytest.mark.parametrize("name", ["taxonomy.json", "calibration.json", "thresholds.json", "card.json"])
@pytest.mark.parametrize("content", ["[]", "{", "3", '{"a": 1}'])
def test_sealed_json_of_another_kind_is_refused(copy, name, content):
    if name == "card.json" and content != "{":
        pytest.skip("a card is free in form")
    (copy / name).write_text(content)
    seal(copy)
    with pytest.raises(BundleError, match="train it again"):
        read_bundle(copy)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("calibration.json", lambda c: c["slopes"].pop()),
        ("calibration.json", lambda c: c["intercepts"].pop()),
        ("thresholds.json", lambda t: t["review"].pop("alcohol")),
        ("thresholds.json", lambda t: t["review"].update(alcohol=float("nan"))),
        ("thresholds.json", lambda t: t["review"].update(wine=0.5)),
        ("thresholds.json", lambda t: t["certificates"].pop()),
        ("thresholds.json", lambda t: t["certificates"].reverse()),
        ("taxonomy.json", lambda t: t["policies"].pop()),
    ],
)
def test_parts_that_do_not_fit_each_other_are_refused(copy, name, change):
    rewrite(copy, name, change)
    with pytest.raises(BundleError, match="does not fit"):
        read_bundle(copy)


class Boom:
    def __reduce__(self):
        return (Path.touch, (Path("boom"),))


def test_nothing_in_known_violations_is_ever_unpickled(copy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez(copy / "known.npz", listing_ids=np.array([Boom()], dtype=object))
    seal(copy)
    with pytest.raises(BundleError, match="holds no known violations"):
        _ = read_bundle(copy).known
    assert not (tmp_path / "boom").exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no", b"\x80\x04cos\nsystem\n"])
def test_known_violations_of_another_kind_are_refused(copy, content):
    (copy / "known.npz").write_bytes(content)
    seal(copy)
    with pytest.raises(BundleError, match="holds no known violations"):
        _ = read_bundle(copy).known


@pytest.mark.parametrize("name", ["heads.onnx", "text/graph.onnx", "photo/graph.onnx", "text/tokenizer.json"])
def test_a_graph_of_another_kind_is_refused_when_loaded(copy, settings, name):
    (copy / name).write_bytes(b"no graph at all")
    seal(copy)
    with pytest.raises(BundleError, match=Path(name).name):
        Scorer(read_bundle(copy), settings)


def test_a_copy_is_the_same_bundle_and_scores_identically(bundle, copy, settings, listings):
    other = read_bundle(copy)
    assert other.digest == bundle.digest
    one, two = (list(Scorer(b, settings).score(listings)) for b in (bundle, other))
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a.scores, b.scores)
        assert a.ruling == b.ruling


def test_the_known_violations_are_those_of_the_training_part(bundle):
    known = bundle.known
    assert len(known.listing_ids) == sum(
        count for name, count in bundle.card["data"]["labels"]["train"].items() if name != "neutral"
    )
    assert set(known.policies.tolist()) <= set(bundle.taxonomy.ids)
    lengths = np.linalg.norm(known.text.astype(np.float32), axis=1)
    assert (np.isclose(lengths, 1, atol=1e-2) | (lengths == 0)).all()
