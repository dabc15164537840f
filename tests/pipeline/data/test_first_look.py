import numpy as np
import pytest

from pipeline import presets
from pipeline.config import override
from pipeline.data import first_look
from pipeline.data.first_look import look_at
from pipeline.data.labelled_image import LabelledImage
from pipeline.data.split import TRAIN, hash_side, percent_of
from pipeline.errors import UserError
from pipeline.pipeline import example_gen_of
from tests.pipeline.data_samples import (
    CAT,
    DOG,
    VocFolder,
    od_record,
    picture,
    serialize,
    write_records,
)

CAT_SIZE = (12 * 16 / (24 * 32)) ** 0.5
DOG_SIZE = (19 * 22 / (24 * 32)) ** 0.5


def look(**data):
    settings = {f"data.{name}": str(value) for name, value in data.items()}
    return look_at(example_gen_of(override(presets.load("small_data_cpu"), settings)))


@pytest.fixture
def folder(tmp_path):
    voc = VocFolder(tmp_path / "voc")
    voc.add("a", [CAT, DOG])
    voc.add("b", [])
    voc.add("c", [DOG])
    (voc.images / "c.jpg").write_bytes(b"no picture")
    return voc


def test_sizes_are_those_of_the_usable_images(folder):
    seen = look(path=folder.root)
    assert seen.num_images == 2
    assert list(seen.box_sizes) == ["cat", "dog"]
    np.testing.assert_allclose(seen.box_sizes["cat"], [CAT_SIZE], atol=1e-6)
    np.testing.assert_allclose(seen.box_sizes["dog"], [DOG_SIZE], atol=1e-6)


def test_both_sides_of_an_own_split_are_seen(folder, tmp_path):
    other = VocFolder(tmp_path / "other")
    other.add("d", [CAT])
    seen = look(train=folder.root, eval=other.root)
    assert (seen.num_images, seen.num_training) == (3, 2)


def test_split_lists_choose_the_images_and_their_sides(folder, tmp_path):
    for side, ids in (("train", "a"), ("eval", "b\nc")):
        (tmp_path / f"{side}.txt").write_text(ids)
    folder.add("d", [CAT])  # in neither list
    lists = {side: tmp_path / f"{side}.txt" for side in ("train", "eval")}
    seen = look(path=folder.root, **lists)
    assert (seen.num_images, seen.num_training) == (2, 1)
    assert len(seen.box_sizes["cat"]) == 1


def test_without_a_split_the_hash_decides_what_to_train_on(tmp_path):
    voc = VocFolder(tmp_path / "voc")
    for number in range(10):
        voc.add(f"image_{number}", [CAT])
    rule = percent_of(0.2)
    expected = sum(hash_side(f"image_{number}", rule) == TRAIN for number in range(10))
    assert look(path=voc.root).num_training == expected


def test_of_many_images_some_are_seen_evenly_spaced(tmp_path, monkeypatch):
    voc = VocFolder(tmp_path / "voc")
    for number in range(10):
        voc.add(f"image_{number}", [CAT] if number % 4 == 0 else [DOG])
    monkeypatch.setattr(first_look, "MOST_IMAGES", 3)
    seen = look(path=voc.root)
    assert seen.num_images == 3
    assert list(seen.box_sizes) == ["cat"]
    np.testing.assert_allclose(seen.box_sizes["cat"], [CAT_SIZE] * 3, atol=1e-6)


def test_of_many_images_those_to_train_on_are_estimated(tmp_path, monkeypatch):
    voc = VocFolder(tmp_path / "voc")
    for number in range(10):
        voc.add(f"image_{number}", [CAT])
    for side, ids in (("train", range(8)), ("eval", range(8, 10))):
        (tmp_path / f"{side}.txt").write_text("\n".join(f"image_{number}" for number in ids))
    lists = {side: tmp_path / f"{side}.txt" for side in ("train", "eval")}
    monkeypatch.setattr(first_look, "MOST_IMAGES", 5)
    assert look(path=voc.root, **lists).num_training == 8  # four of the five that were seen


def test_the_newest_span_is_not_looked_at(tmp_path):
    for day in (1, 2):
        VocFolder(tmp_path / "voc" / f"span-{day}").add("a", [CAT])
    folders = {"images": "span-{SPAN}/images", "annotations": "span-{SPAN}/annotations/xmls"}
    seen = look(path=tmp_path / "voc", **folders)
    assert (seen.num_images, seen.num_training, seen.box_sizes) == (0, 0, {})
    assert "{SPAN}" in seen.found[0]


def test_records_are_seen_as_far_as_needed(tmp_path, monkeypatch):
    box = (0.0, 0.0, 0.5, 0.5)
    images = [
        LabelledImage(name, f"{name}.jpg", picture(), "jpeg", 24, 32, (box,), ("cat",))
        for name in "abcde"
    ]
    write_records(tmp_path / "a.record", [serialize(od_record(image)) for image in images])
    monkeypatch.setattr(first_look, "MOST_IMAGES", 4)
    seen = look(path=tmp_path / "a.record", format="tfrecord")
    assert seen.num_images == 4
    np.testing.assert_allclose(seen.box_sizes["cat"], [0.5] * 4)


def test_no_data_is_an_error(tmp_path):
    with pytest.raises(UserError, match="which does not exist"):
        look(path=tmp_path / "nothing")
