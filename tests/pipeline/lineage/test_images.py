"""Images by name and content: as recorded in the store, and from the lists beside the examples."""

import hashlib
import json

import pytest

from benchmarks.lineage_store import sha256
from pipeline.files import IMAGES_FILE, SKIPPED_FILE
from pipeline.lineage.images import find_image, recorded_images
from pipeline.metadata.image_lists import CHUNKS, LISTS, chunks_of, data_fingerprint
from pipeline.metadata.records import Artifact

CAT, OTHER_CAT, DOG = sha256("a cat"), sha256("another cat"), sha256("a dog")


class DataSets:
    """Examples with their lists, and what a store records of them."""

    def __init__(self, folder, is_recorded):
        self.folder, self.is_recorded = folder, is_recorded
        self.artifacts: list[Artifact] = []
        self.records = {}

    def add(self, *images, skipped=None):
        key = len(self.artifacts) + 1
        folder = self.folder / str(key)
        folder.mkdir()
        for name, lines in ((IMAGES_FILE, images), (SKIPPED_FILE, [skipped] if skipped else [])):
            (folder / name).write_text("".join(json.dumps(image) + "\n" for image in lines))
        facts = {"data_fingerprint": data_fingerprint(images)}
        self.artifacts.append(Artifact(key, "Examples", str(folder), facts))
        if self.is_recorded:
            self.records[LISTS, key], chunks = chunks_of(images)
            self.records |= {(CHUNKS, name): chunk for name, chunk in chunks.items()}

    def record(self, kind, name):
        return json.loads(json.dumps(self.records.get((kind, name))))

    def find(self, wanted):
        return find_image(self.record, self.artifacts, wanted)

    def list_of(self, key):
        return self.folder / str(key) / IMAGES_FILE


def filled(folder, is_recorded):
    """The same cat has two names, and another cat has the name of the first one."""
    made = DataSets(folder, is_recorded)
    made.add(line("cat_1", CAT), line("dog", DOG))
    made.add(line("renamed", CAT, split="eval"))
    made.add(line("cat_1", OTHER_CAT))
    made.add(skipped={"id": "tiger", "file": "annotations/xmls/tiger.xml"})
    return made


@pytest.fixture(params=[True, False], ids=["recorded", "lists"])
def data_sets(tmp_path, request):
    return filled(tmp_path, request.param)


@pytest.fixture
def lists(tmp_path):
    return filled(tmp_path, False)


def line(name, digest, split="train"):
    return {"id": name, "file": f"images/{name}.jpg", "split": split, "sha256": digest,
            "annotation_sha256": sha256(digest)}  # fmt: skip


def found(data_sets, wanted):
    sightings, unknown = data_sets.find(wanted)
    assert not unknown
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


def test_the_case_of_a_name_matters_only_where_it_must(data_sets):
    data_sets.add(line("DSC_Ä", DOG), line("IMG_1", CAT), line("img_1", OTHER_CAT))
    for wanted in ("dsc_ä.jpg", "Images/DSC_Ä.Jpg", "dsc_A\u0308"):
        assert found(data_sets, wanted) == [(1, DOG), (5, DOG)]
    assert found(data_sets, "img_1.jpg") == found(data_sets, OTHER_CAT)
    assert found(data_sets, "IMG_1.jpg") == found(data_sets, CAT)
    assert found(data_sets, "Img_1.jpg") == sorted(
        [*found(data_sets, CAT), (3, OTHER_CAT), (5, OTHER_CAT)]
    )
    assert found(data_sets, "Tiger") == [(4, None)]


def test_a_skipped_picture_is_found_by_its_own_name(data_sets):
    assert found(data_sets, "tiger.jpg") == [(4, None)]


@pytest.mark.parametrize("wanted", ["at_1", "cat", "cat_1.png", "", CAT[:7], sha256("nothing")])
def test_nothing_else_is_found(data_sets, wanted):
    assert found(data_sets, wanted) == []


@pytest.mark.parametrize("name", ["a.b", "x y/z", "\udcff", "Ümläut"])
def test_odd_names_are_found(tmp_path, name):
    made = DataSets(tmp_path, True)
    made.add(line(name, CAT))
    assert found(made, name) == found(made, f"images/{name}.JPG") == [(1, CAT)]


def test_what_is_recorded_outlives_the_list(tmp_path):
    made = filled(tmp_path, True)
    made.list_of(1).write_text("")
    made.list_of(2).unlink()
    assert found(made, "dog") == [(1, DOG)]
    assert found(made, CAT) == [(1, CAT), (2, CAT)]
    assert recorded_images(made.record, made.artifacts[0]).keys() == {"cat_1", "dog"}


def test_data_sets_share_what_they_record():
    """So that many similar ones take little room, and one question reads little."""
    images = [line(f"image_{number}", sha256(str(number))) for number in range(1000)]
    _, before = chunks_of(images[1:])
    _, after = chunks_of(images[:-1])
    assert len(after.keys() - before.keys()) <= 4  # by content and by name, of two images


def test_lists_that_are_gone_are_named(lists):
    lists.list_of(3).unlink()
    sightings, unknown = lists.find("dog")
    assert [sighting.examples.id for sighting in sightings] == [1]
    assert [(doubt.examples.id, doubt.reason) for doubt in unknown] == [(3, "is gone")]


def reasons(data_sets):
    return {doubt.examples.id: doubt.reason for doubt in data_sets.find("dog")[1]}


def test_a_list_from_which_a_line_was_removed_is_named(lists):
    assert reasons(lists) == {}
    text = lists.list_of(1).read_text()
    lists.list_of(1).write_text(text.splitlines()[0] + "\n")
    assert reasons(lists) == {1: "has changed since it was written"}


def test_the_hash_of_the_file_is_enough(lists):
    content = lists.list_of(1).read_bytes()
    lists.artifacts[0].properties["data_fingerprint"] = "of an older version"
    assert reasons(lists) == {1: "has changed since it was written"}
    digest = hashlib.sha256(content).hexdigest()
    lists.records["files", 1] = {IMAGES_FILE: {"sha256": digest}}
    assert reasons(lists) == {}


@pytest.mark.parametrize(
    "content", [b"\xff\xfe\0", b"{", b"[]\n", b"3\n", b'{"id": 3}\n', b"null\n"]
)
def test_a_damaged_list_is_named(lists, content):
    lists.list_of(1).write_bytes(content)
    assert reasons(lists) == {1: "is damaged"}
    assert recorded_images(lists.record, lists.artifacts[0]) is None


def test_a_list_that_cannot_be_read_is_named(lists):
    lists.list_of(1).unlink()
    lists.list_of(1).mkdir()
    assert reasons(lists) == {1: "cannot be read (not a file)"}


def test_a_damaged_list_of_skipped_pictures_changes_nothing(data_sets):
    (data_sets.folder / "4" / SKIPPED_FILE).write_bytes(b"tiger \xff")
    assert found(data_sets, "tiger") == []
    assert found(data_sets, "dog") == [(1, DOG)]
