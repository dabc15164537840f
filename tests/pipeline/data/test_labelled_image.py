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
