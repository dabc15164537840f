"""Every layout of every format is found, and ends as the same labelled images."""

import os
from collections import Counter

import pytest

from pipeline.data.census import SplitRule, take_census
from pipeline.data.readers.detection import Source, detect, find_inputs, in_one_line
from pipeline.errors import UserError
from tests.pipeline.data_samples import (
    Sample,
    picture,
    samples,
    write_coco,
    write_voc,
    write_yolo,
)


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


def test_the_same_set_has_one_fingerprint_in_every_format(tmp_path):
    prints = set()
    for write in (write_voc, write_yolo, write_coco):
        for name, pictures in (("whole", WHOLE), ("split", SPLIT)):
            _, read = found(write(tmp_path / write.__name__ / name, pictures))
            census = take_census([line for line, _ in read], SplitRule(20))
            prints.add((name, census.properties()["data_fingerprint"]))
    assert len(prints) == 2


def test_boxes_a_pixel_outside_are_clipped_alike_in_every_format(tmp_path):
    outside = [Sample("far", picture(9), [("cat", -1, 3, 20, 25), ("dog", 5, 0, 33, 9)])]
    prints = set()
    for write in (write_voc, write_yolo, write_coco):
        _, read = found(write(tmp_path / write.__name__, [*samples(4), *outside]))
        properties = take_census([line for line, _ in read], SplitRule(20)).properties()
        assert (properties["num_clipped"], properties["num_set_aside"]) == (1, 0)
        prints.add(properties["data_fingerprint"])
    assert len(prints) == 1


def test_an_empty_folder_is_not_a_data_set(tmp_path):
    with pytest.raises(UserError, match=r"Received: no files\. Check the path"):
        found(tmp_path)


def test_of_an_unknown_folder_the_endings_are_counted(tmp_path):
    for name in ("a.jpg", "b.JPG", "a.csv", "README", "c.json"):
        (tmp_path / name).write_text("{}")
    expected = (
        r"Looked for Pascal VOC .* Received: 2 \.jpg, 1 no ending, 1 \.csv.* Export the labels"
    )
    with pytest.raises(UserError, match=expected):
        found(tmp_path)
    with pytest.raises(UserError, match=r"Looked for YOLO .* Export the labels"):
        found(tmp_path, format_="yolo")


@pytest.mark.parametrize(
    ("name", "text", "tool"),
    [
        ("a.json", '{"version": "5.4", "flags": {}, "shapes": [{"label": "cat"}]}', "labelme"),
        ("annotations.xml", '<?xml version="1.0"?>\n<annotations><image id="0"/>', "CVAT"),
        ("ann/a.jpg.json", '{"objects": [{"id": 1, "classTitle": "cat"}]}', "Supervisely"),
        ("p.json", '[{"value": {"x": 1, "rectanglelabels": ["cat"]}}]', "Label Studio"),
        ("via.json", '{"_via_settings": {}, "_via_img_metadata": {}}', "VGG Image Annotator"),
        ("_annotations.csv", "filename,width,height,class,xmin,ymin,xmax,ymax\n", "table"),
    ],
)
def test_other_formats_of_labelling_tools_are_named(tmp_path, name, text, tool):
    (tmp_path / "ann").mkdir()
    (tmp_path / "a.jpg").write_bytes(picture(1))
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=rf"{name} is a .*{tool}.*\. Export the labels"):
        found(tmp_path)


def test_the_name_of_a_file_need_not_be_utf8_for_its_format_to_be_known(tmp_path):
    write_voc(tmp_path, WHOLE[:1], "images", "annotations")
    os.rename(tmp_path / "annotations/image_0.xml", tmp_path / os.fsdecode(b"caf\xe9.xml"))
    assert detect(str(tmp_path), Source("")).reader.TITLE == "Pascal VOC"


def test_a_hidden_picture_is_told_in_any_folder(tmp_path):
    write_yolo(tmp_path, WHOLE)
    (tmp_path / "more").mkdir()
    (tmp_path / "more/.hidden.jpg").write_bytes(picture())
    inputs, _ = found(tmp_path)
    assert "more/.hidden.jpg" in {item.file for item in inputs.ignored}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("package.json", '{"images": {"a": "b"}, "annotations": {}}'),
        ("gallery.json", '{"images": ["a.jpg"], "title": "mine"}'),
        ("a.json", '{"annotations": [], "image": "a.jpg"}'),
        ("cvat.xml", "<annotations><image/></annotations>"),
        ("labelme.json", '{"version": "5.0", "shapes": [], "imagePath": "a.jpg"}'),
        ("kitti.txt", "Car 0.00 0 -1.58 587.0 173.3 614.1 200.1 1.6 1.6 3.6 0 0 0 0"),
        ("manifest.json", '{"files": {}}'),
    ],
)
def test_other_formats_are_not_mistaken_for_those_that_are_read(tmp_path, name, text):
    (tmp_path / "a.jpg").write_bytes(picture(1))
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match="Expected labelled images"):
        found(tmp_path)


def test_what_was_found_is_said_in_one_line(tmp_path):
    inputs, _ = found(write_yolo(tmp_path, SPLIT))
    assert in_one_line(inputs, 3) == "YOLO, 3 classes, 6 + 6 images, split as given"


@pytest.mark.parametrize(
    ("sides", "counts", "split"),
    [
        ([""], {"": 6}, "split by a hash of the image ids"),
        (["train"], {"": 6}, "only train is there: split by a hash of the image ids"),
        (["train", "test"], {"train": 3, "eval": 3}, "split as given, test is the evaluation side"),
        (["train", "valid"], {"train": 3, "eval": 3}, "split as given"),
        (["train", "val", "test"], {"train": 2, "eval": 2, "test": 2}, "split as given"),
    ],
)
@pytest.mark.parametrize("write", [write_voc, write_yolo, write_coco])
def test_the_split_that_the_data_brings_is_used(tmp_path, write, sides, counts, split):
    inputs, read = found(write(tmp_path, samples(6, sides)))
    assert Counter(item.side for item in inputs.items) == counts
    assert Counter(line.side for line, _ in read) == counts
    assert inputs.split == split


def test_lists_of_the_user_replace_the_split_of_the_data(tmp_path):
    _, read = found(write_voc(tmp_path, SPLIT[::2]), has_lists=True)
    assert {line.side for line, _ in read} == {""}
    assert {line.image_id for line, _ in read} == {image.stem for image in SPLIT}


def test_of_two_formats_the_one_with_more_pictures_is_taken_and_the_other_named(tmp_path):
    write_yolo(tmp_path, WHOLE)
    write_voc(tmp_path, WHOLE[:1])
    inputs, _ = found(tmp_path)
    assert inputs.title == "YOLO"
    assert inputs.notes == (
        "there are labels in other formats, too: Pascal VOC (1 pictures; --format voc); taken: "
        "YOLO (8 pictures)",
    )
    inputs, read = found(tmp_path, format_="voc")
    assert (inputs.title, len(read)) == ("Pascal VOC", 1)
    assert inputs.notes[0].startswith("7 of 8 pictures have no annotation, and are left out")


def test_named_folders_are_searched_alone_and_completed_by_detection(tmp_path):
    write_voc(tmp_path, WHOLE, "images", "new")
    write_voc(tmp_path, WHOLE[:2], "other", "old")
    for source in (Source("", annotations="new"), Source("", images="images", annotations="new")):
        inputs = find_inputs(str(tmp_path), [source], max_megapixels=1.0)
        assert len(inputs.items) == 8
        assert all(item.annotation.startswith("new/") for item in inputs.items)
        assert all(item.picture.startswith("images/") for item in inputs.items)


def test_links_in_a_circle_end(tmp_path):
    write_voc(tmp_path, WHOLE)
    for name in ("images/again", "annotations/again"):
        (tmp_path / name).symlink_to(tmp_path)
    assert len(images(tmp_path)) == 8


def test_a_link_does_not_take_the_place_of_its_folder(tmp_path):
    write_voc(tmp_path, WHOLE)
    for link, folder in (("a", "images"), ("z", "images"), ("current", "annotations")):
        (tmp_path / link).symlink_to(folder)
    assert len(images(tmp_path)) == 8
    moved = tmp_path / "set"
    moved.mkdir()
    for folder in ("images", "annotations"):
        (moved / folder).symlink_to(tmp_path / folder)
    assert len(images(moved)) == 8


@pytest.mark.parametrize("write", [write_voc, write_yolo])
def test_a_stray_picture_does_not_hide_the_folder_of_pictures(tmp_path, write):
    write(tmp_path, WHOLE, "fotos", "markup")
    for stray in ("logo.png", "docs/how_to.png"):
        (tmp_path / stray).parent.mkdir(exist_ok=True)
        (tmp_path / stray).write_bytes(picture(1, image_format="PNG"))
    _, read = found(tmp_path)
    assert {line.picture.partition("/")[0] for line, image in read if image} == {"fotos"}
    assert len([image for _, image in read if image]) == 8


def test_pipes_and_hidden_files_are_not_read(tmp_path):
    write_yolo(tmp_path, WHOLE)
    for name in ("labels/pipe.txt", "pipe.json", "pipe.xml", "pipe.yaml", "pipe"):
        os.mkfifo(tmp_path / name)
    for name in ("images/._image_0.jpg", "labels/._image_0.txt", "._all.json"):
        (tmp_path / name).write_text("{")
    _, read = found(tmp_path, format_="yolo")
    assert len([image for _, image in read if image]) == 8


def test_both_sides_may_be_in_different_formats(tmp_path):
    write_voc(tmp_path / "a", WHOLE)
    write_coco(tmp_path / "b", WHOLE[:3])
    sources = [Source("a", side="train"), Source("b", side="eval")]
    inputs = find_inputs(str(tmp_path), sources, max_megapixels=1.0)
    read = [pair for item in inputs.items for pair in inputs.read(item)]
    assert Counter(line.side for line, image in read if image) == {"train": 8, "eval": 3}
    assert inputs.title == "Pascal VOC and COCO"
    assert {line.picture for line, _ in read if line.side == "eval"} == {
        f"b/images/image_{number}.jpg" for number in range(3)
    }
