"""Every layout of every format is found, and ends as the same labelled images."""

import pytest

from pipeline.data.readers.detection import Source, find_inputs, in_one_line
from pipeline.errors import UserError
from tests.pipeline.data_samples import samples, write_coco, write_voc, write_yolo


def found(root, file="", **options):
    inputs = find_inputs(str(root), [Source("", file)], max_megapixels=1.0, **options)
    read = [pair for item in inputs.items for pair in inputs.read(item)]
    return inputs, read


def images(root, file="", **options):
    """The usable images by id, and the sides; there must be no other."""
    _, read = found(root, file, **options)
    assert [(line.file, line.reason) for line, _ in read if line.kind] == []
    return {(line.side, image.image_id): image for line, image in read}


SPLIT = samples(12, ["train", "val"])
WHOLE = samples(8)

LAYOUTS = {
    "images and annotations": (write_voc, {"pictures": "images", "labels": "annotations"}),
    "VOC's own": (write_voc, {"pictures": "JPEGImages", "labels": "Annotations"}),
    "VOC below two folders": (
        write_voc,
        {"pictures": "VOCdevkit/VOC2012/JPEGImages", "labels": "VOCdevkit/VOC2012/Annotations"},
    ),
    "xmls": (write_voc, {"pictures": "images", "labels": "annotations/xmls"}),
    "labels": (write_voc, {"pictures": "images", "labels": "labels"}),
    "annots": (write_voc, {"pictures": "images", "labels": "annots"}),
    "img": (write_voc, {"pictures": "img", "labels": "xml"}),
    "LabelImg's": (write_voc, {"pictures": "", "labels": ""}),
    "beside, in a folder": (write_voc, {"pictures": "all", "labels": "all"}),
    "any names": (write_voc, {"pictures": "fotos", "labels": "markup"}),
    "YOLO": (write_yolo, {"pictures": "images", "labels": "labels"}),
    "YOLO by content": (write_yolo, {"pictures": "images", "labels": "yolo_labels"}),
    "YOLO beside": (write_yolo, {"pictures": "", "labels": ""}),
    "Darknet": (write_yolo, {"pictures": "obj", "labels": "obj", "names": "obj.names"}),
    "COCO": (write_coco, {"pictures": "images", "labels": "annotations.json"}),
    "COCO beside": (write_coco, {"pictures": "", "labels": "labels_my-set.json"}),
    "COCO in a folder": (write_coco, {"pictures": "images", "labels": "annotations/all.json"}),
}
SPLIT_LAYOUTS = {
    "Roboflow's VOC": (write_voc, {"pictures": "{side}", "labels": "{side}"}),
    "VOC, sides outside": (write_voc, {}),
    "VOC, sides inside": (
        write_voc,
        {"pictures": "images/{side}", "labels": "annotations/{side}"},
    ),
    "Kaggle": (write_voc, {"pictures": "{side}_images", "labels": "{side}_annotations/xmls"}),
    "YOLO, sides outside": (write_yolo, {}),
    "YOLO, sides inside": (write_yolo, {"pictures": "images/{side}", "labels": "labels/{side}"}),
    "CVAT": (
        write_yolo,
        {"pictures": "obj_{side}_data", "labels": "obj_{side}_data", "names": "obj.names"},
    ),
    "COCO's own": (
        write_coco,
        {"pictures": "{side}2017", "labels": "annotations/instances_{side}2017.json"},
    ),
    "Roboflow's COCO": (
        write_coco,
        {"pictures": "{side}", "labels": "{side}/_annotations.coco.json"},
    ),
    "COCO in folders": (write_coco, {}),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return images(write_voc(tmp_path_factory.mktemp("whole"), WHOLE))


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    return images(write_voc(tmp_path_factory.mktemp("split"), SPLIT))


@pytest.mark.parametrize(("write", "folders"), LAYOUTS.values(), ids=LAYOUTS)
def test_a_data_set_in_one_folder_gives_the_same_images_in_every_layout(
    tmp_path, whole, write, folders
):
    assert len(whole) == 8
    assert images(write(tmp_path, WHOLE, **folders)) == whole


@pytest.mark.parametrize(("write", "folders"), SPLIT_LAYOUTS.values(), ids=SPLIT_LAYOUTS)
def test_a_split_data_set_gives_the_same_images_in_every_layout(tmp_path, split, write, folders):
    assert len(split) == 12
    assert {side for side, _ in split} == {"train", "eval"}
    assert images(write(tmp_path, SPLIT, **folders)) == split


def test_an_empty_folder_is_not_a_data_set(tmp_path):
    with pytest.raises(UserError, match=r"Received: no files\. Check the path"):
        found(tmp_path)


def test_what_was_found_is_said_in_one_line(tmp_path):
    inputs, _ = found(write_yolo(tmp_path, SPLIT))
    assert in_one_line(inputs, 3) == "YOLO, 3 classes, 6 + 6 images, split as given"
