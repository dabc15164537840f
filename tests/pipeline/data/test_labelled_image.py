"""Ids and digests of labelled images."""

import dataclasses

import pytest

from pipeline.data.labelled_image import LabelledImage, image_id_of

IMAGE = LabelledImage("a", "a.jpg", b"file", "jpeg", 24, 32, ((0.0, 0.25, 0.5, 1.0),), ("cat",))


@pytest.mark.parametrize(
    ("filename", "image_id"),
    [("a.jpg", "a"), ("a.JPEG", "a"), ("a", "a"), ("v1.5", "v1.5"), ("s/a.png", "s/a"),
     (".jpg", ".jpg"), ("a.b.jpg", "a.b")],
)  # fmt: skip
def test_the_id_is_the_file_name_without_a_picture_suffix(filename, image_id):
    assert image_id_of(filename) == image_id


def test_the_annotation_digest_is_of_boxes_and_names():
    same = dataclasses.replace(IMAGE, encoded=b"other", filename="b.jpg")
    assert same.annotation_sha256 == IMAGE.annotation_sha256
    assert same.sha256 != IMAGE.sha256
    renamed = dataclasses.replace(IMAGE, names=("dog",))
    moved = dataclasses.replace(IMAGE, boxes=((0.0, 0.25, 0.5, 0.75),))
    digests = {image.annotation_sha256 for image in (IMAGE, renamed, moved)}
    assert len(digests) == 3


def test_without_flags_the_annotation_digest_is_that_of_earlier_versions():
    assert IMAGE.annotation_sha256.startswith("343b067f8312bfb7")
    unset = dataclasses.replace(IMAGE, difficult=(False,), crowd=(False,))
    assert unset == IMAGE
    assert unset.annotation_sha256 == IMAGE.annotation_sha256


def test_flags_are_part_of_the_annotation_digest():
    images = (
        IMAGE,
        dataclasses.replace(IMAGE, difficult=(True,)),
        dataclasses.replace(IMAGE, crowd=(True,)),
        dataclasses.replace(IMAGE, difficult=(True,), crowd=(True,)),
    )
    assert len({image.annotation_sha256 for image in images}) == 4


def test_a_crowd_is_not_an_object():
    boxes = IMAGE.boxes * 3
    image = dataclasses.replace(IMAGE, boxes=boxes, names=("a", "b", "c"))
    assert image.objects == ("a", "b", "c")
    assert dataclasses.replace(image, crowd=(False, True, False)).objects == ("a", "c")


@pytest.mark.parametrize("flag", ["difficult", "crowd"])
def test_flags_that_are_not_one_a_box_are_rejected(flag):
    with pytest.raises(ValueError, match=rf"{flag} to be empty, or one flag.*2 flags \(a\)"):
        dataclasses.replace(IMAGE, **{flag: (True, False)})
