import json

import pytest

from benchmarks.lineage_store import sha256
from pipeline.files import IMAGES_FILE, SKIPPED_FILE
from pipeline.lineage.images import find_image
from pipeline.metadata.records import Artifact

CAT, OTHER_CAT, DOG = sha256("a cat"), sha256("another cat"), sha256("a dog")


@pytest.fixture
def data_sets(tmp_path):
    """The same cat has two names, and another cat has the name of the first one."""
    return [
        examples(tmp_path / "1", line("cat_1", CAT), line("dog", DOG)),
        examples(tmp_path / "2", line("renamed", CAT, split="eval")),
        examples(tmp_path / "3", line("cat_1", OTHER_CAT)),
        examples(tmp_path / "4", skipped={"id": "tiger", "file": "annotations/xmls/tiger.xml"}),
    ]


def examples(folder, *images, skipped=None):
    folder.mkdir()
    for name, lines in ((IMAGES_FILE, images), (SKIPPED_FILE, [skipped] if skipped else [])):
        (folder / name).write_text("".join(json.dumps(image) + "\n" for image in lines))
    return Artifact(int(folder.name), "Examples", str(folder), {})


def line(name, digest, split="train"):
    return {"id": name, "file": f"images/{name}.jpg", "split": split, "sha256": digest}


def found(data_sets, wanted):
    sightings, gone = find_image(data_sets, wanted)
    assert not gone
    return sorted((sighting.examples.id, sighting.image.get("sha256")) for sighting in sightings)


@pytest.mark.parametrize(
    "wanted",
    [CAT, CAT.upper(), CAT[:8], "renamed", "renamed.jpg", "renamed.JPG", "images/renamed.jpg",
     "/a/folder/that/is/gone/images/renamed.jpg"],
)  # fmt: skip
def test_a_picture_is_found_under_all_of_its_names(data_sets, wanted):
    assert found(data_sets, wanted) == [(1, CAT), (2, CAT)]


def test_a_name_of_two_pictures_finds_both_and_their_other_names(data_sets):
    assert found(data_sets, "cat_1") == [(1, CAT), (2, CAT), (3, OTHER_CAT)]


def test_a_skipped_picture_is_found_by_its_own_name(data_sets):
    assert found(data_sets, "tiger.jpg") == [(4, None)]


@pytest.mark.parametrize("wanted", ["at_1", "cat", "cat_1.png", "", CAT[:7], sha256("nothing")])
def test_nothing_else_is_found(data_sets, wanted):
    assert found(data_sets, wanted) == []


def test_lists_that_are_gone_are_named(data_sets, tmp_path):
    (tmp_path / "3" / IMAGES_FILE).unlink()
    sightings, gone = find_image(data_sets, "dog")
    assert [sighting.examples.id for sighting in sightings] == [1]
    assert [artifact.id for artifact in gone] == [3]
