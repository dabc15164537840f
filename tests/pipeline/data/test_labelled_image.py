"""Ids, digests and the geometry of boxes."""

import dataclasses

import pytest

from pipeline.data.labelled_image import (
    LabelledImage,
    Unusable,
    check_boxes,
    check_size,
    image_id_of,
)

IMAGE = LabelledImage("a", "a.jpg", b"file", "jpeg", 24, 32, ((0.0, 0.25, 0.5, 1.0),), ("cat",))


@pytest.mark.parametrize(
    ("filename", "image_id"),
    [("a.jpg", "a"), ("a.JPEG", "a"), ("a", "a"), ("v1.5", "v1.5"), ("s/a.png", "s/a"),
     (".jpg", ".jpg"), ("a.b.jpg", "a.b")],
)  # fmt: skip
def test_image_id_of(filename, image_id):
    assert image_id_of(filename) == image_id


def test_the_annotation_digest_is_of_boxes_and_names():
    same = dataclasses.replace(IMAGE, encoded=b"other", filename="b.jpg")
    assert same.annotation_sha256 == IMAGE.annotation_sha256
    assert same.sha256 != IMAGE.sha256
    renamed = dataclasses.replace(IMAGE, names=("dog",))
    moved = dataclasses.replace(IMAGE, boxes=((0.0, 0.25, 0.5, 0.75),))
    digests = {image.annotation_sha256 for image in (IMAGE, renamed, moved)}
    assert len(digests) == 3


def test_a_box_of_the_whole_image_and_one_pixel():
    boxes = [(0.0, 0.0, 1.0, 1.0), (0.0, 0.0, 1 / 24, 1 / 32)]
    assert len(check_boxes(boxes, 32, 24)) == 2


def test_rounding_just_outside_is_clipped():
    [box] = check_boxes([(-1e-8, -1e-7, 1.0000001, 1.0)], 32, 24)
    assert box == (0.0, 0.0, 1.0, 1.0)


def test_a_pixel_outside_of_a_large_picture_is_no_rounding():
    with pytest.raises(Unusable) as caught:
        check_boxes([(0.0, 0.0, 1.0, 10001 / 10000)], 10000, 10000)
    assert caught.value.kind == "box_outside"


def test_size():
    check_size(None, (32, 24))
    check_size((32, 24), (32, 24))
    with pytest.raises(Unusable):
        check_size((32, 23), (32, 24))
