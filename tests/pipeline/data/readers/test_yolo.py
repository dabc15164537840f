"""YOLO: lines, boxes on pixels, descriptions of data sets, and what is wrong with some."""

import json
import shutil

import numpy as np
import pytest

from pipeline.data.labelled_image import Unusable
from pipeline.data.readers.detection import Source, find_inputs
from pipeline.data.readers.tree import walk
from pipeline.data.readers.yolo import recognise
from pipeline.data.readers.yolo_labels import parse_labels
from pipeline.errors import UserError
from tests.pipeline.data_samples import (
    CAT,
    CLASSES,
    Sample,
    picture,
    samples,
    write_voc,
    write_yolo,
)

SPLIT = samples(9, ["train", "val", "test"])


def find(root, file="", **options):
    return find_inputs(str(root), [Source("", file)], "yolo", max_megapixels=100.0, **options)


def read(root, file=""):
    inputs = find(root, file)
    return [pair for item in inputs.items for pair in inputs.read(item)]


def reasons(root):
    return {line.file: (line.kind, line.reason) for line, _ in read(root) if line.kind}


@pytest.mark.parametrize("digits", [4, 6, 16])
@pytest.mark.parametrize("size", [(640, 380), (1280, 720), (333, 517)])
def test_a_box_ends_on_the_pixels_it_was_drawn_on(tmp_path, digits, size):
    rng = np.random.default_rng(1)
    width, height = size
    objects = []
    for _ in range(300):
        xmin, ymin = int(rng.integers(0, width - 1)), int(rng.integers(0, height - 1))
        xmax, ymax = int(rng.integers(xmin + 1, width)), int(rng.integers(ymin + 1, height))
        objects.append(("cat", xmin, ymin, xmax + 1, ymax + 1))
    image = Sample("a", picture(1, size=size), objects, size=size)
    [(_, labelled)] = read(write_yolo(tmp_path, [image], digits=digits))
    expected = [
        (ymin / height, xmin / width, ymax / height, xmax / width)
        for _, xmin, ymin, xmax, ymax in objects
    ]
    np.testing.assert_array_equal(
        np.array(labelled.boxes, np.float32), np.array(expected, np.float32)
    )


def test_a_box_between_pixels_stays_where_it_is(tmp_path):
    image = Sample("a", picture(1), [("cat", 4.25, 3.5, 20.25, 15)])
    write_yolo(tmp_path, [image], digits=16)
    [(_, image)] = read(tmp_path)
    assert image.boxes[0][1] == np.float32(4.25 / 32)
    assert image.boxes[0][0] == np.float32(3.5 / 24)


def test_a_polygon_becomes_its_box():
    [line] = parse_labels(b"2 0.1 0.9 0.5 0.2 0.3 0.4 0.2 0.8")
    assert (line.class_id, line.box) == (2, (0.1, 0.2, 0.5, 0.9))


def test_keypoints_are_left_out(tmp_path):
    write_yolo(tmp_path, [Sample("a", picture(1), [CAT])], names="")
    (tmp_path / "data.yaml").write_text("train: images\nnames: [bird, cat]\nkpt_shape: [2, 2]\n")
    path = tmp_path / "labels" / "a.txt"
    path.write_text(path.read_text().strip() + " 0.1 0.1 0.2 0.2\n")
    [(_, image)] = read(tmp_path)
    assert image.boxes[0] == (3 / 24, 4 / 32, 15 / 24, 20 / 32)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("0 0.5 0.5 0.5", "line 2: expected a class and 4 numbers"),
        ("0 0.5 0.5 0.5 0.5 0.9", "line 2: expected a class and 4 numbers"),
        ("cat 0.5 0.5 0.5 0.5", "line 2: expected numbers, received 'cat 0.5"),
        ("0.5 0.5 0.5 0.5 0.5", "line 2: expected numbers"),
    ],
)
def test_a_line_of_another_kind_is_named(line, reason):
    with pytest.raises(Unusable, match=reason):
        parse_labels(f"0 0.5 0.5 0.1 0.1\n{line}\n".encode())


@pytest.mark.parametrize(
    ("text", "kind", "reason"),
    [
        (
            "7 0.5 0.5 0.1 0.1",
            "no_class",
            "line 1: class 7 has no name; there are names for 0 to 2",
        ),
        ("-1 0.5 0.5 0.1 0.1", "no_class", "class -1"),
        ("0 320 240 64 48", "box_outside", "expected fractions of the picture, 0 to 1"),
        ("0 0.9 0.5 0.4 0.1", "box_outside", "box 1"),
        ("0 nan 0.5 0.1 0.1", "box_not_finite", "box 1"),
        ("0 1e999 0.5 0.1 0.1", "box_outside", "expected fractions"),
        ("0 0.5 0.5 0 0.1", "box_empty", "box 1"),
        ("0 0.5 0.5 1e-400000 0.1", "box_empty", "box 1"),
        (f"{'9' * 5000} 0.5 0.5 0.1 0.1", "malformed_label", "line 1"),
    ],
)
def test_bad_values_are_reasons(tmp_path, text, kind, reason):
    write_yolo(tmp_path, samples(4))
    (tmp_path / "labels" / "image_0.txt").write_text(text)
    found = reasons(tmp_path)
    assert list(found) == ["labels/image_0.txt"]
    assert found["labels/image_0.txt"][0] == kind
    assert reason in found["labels/image_0.txt"][1]


def test_labels_in_another_encoding_are_a_reason(tmp_path):
    write_yolo(tmp_path, samples(4))
    (tmp_path / "labels" / "image_0.txt").write_bytes("0 0.5 0.5 0.1 0.1".encode("utf-16"))
    assert reasons(tmp_path)["labels/image_0.txt"][0] == "not_utf8"


def test_labels_that_windows_wrote_are_read(tmp_path):
    write_yolo(tmp_path, samples(4))
    expected = [image for _, image in read(tmp_path)]
    for file in (tmp_path / "labels").iterdir():
        file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"\r\n"))
    assert recognise(walk(str(tmp_path), ""))
    assert [image for _, image in read(tmp_path)] == expected


def test_lists_without_a_description_are_the_split(tmp_path):
    write_yolo(tmp_path, samples(4))
    for side, numbers in (("train", (0, 1)), ("val", (2, 3))):
        lines = "".join(f"images/image_{number}.jpg\n" for number in numbers)
        (tmp_path / f"{side}.txt").write_text(lines)
    assert {line.image_id: line.side for line, _ in read(tmp_path)} == {
        f"{side}/image_{number}": side
        for side, numbers in (("train", (0, 1)), ("eval", (2, 3)))
        for number in numbers
    }


def test_what_a_list_names_in_vain_is_told(tmp_path):
    write_yolo(tmp_path, samples(4))
    (tmp_path / "train.txt").write_text("images/image_0.jpg\nimages/lost.jpg\n")
    notes = find(tmp_path).notes
    assert any("train.txt lists 1 pictures that are not there" in note for note in notes)
    (tmp_path / "data.yaml").write_text("train: lost.txt\nnames: [bird, cat, dog]\n")
    (tmp_path / "lost.txt").write_text("images/lost.jpg\n")
    with pytest.raises(UserError, match="lists nothing that is"):
        find(tmp_path)


def test_empty_and_missing_label_files_are_pictures_without_objects(tmp_path):
    write_yolo(tmp_path, [*samples(4), Sample("empty", picture(7), ())])
    (tmp_path / "labels" / "empty.txt").write_text("\n")
    assert {image.image_id for _, image in read(tmp_path) if not image.boxes} == {
        "empty", "image_2",
    }  # fmt: skip


def test_labels_without_a_picture_are_set_aside(tmp_path):
    write_yolo(tmp_path, samples(4))
    (tmp_path / "images" / "image_0.jpg").unlink()
    assert reasons(tmp_path) == {
        "labels/image_0.txt": ("missing_image", "no picture has the name of this label file")
    }


def test_many_pictures_without_labels_are_told(tmp_path):
    write_yolo(tmp_path, [*samples(4), *(Sample(f"x{n}", picture(n), ()) for n in range(9))])
    [note] = find(tmp_path).notes
    assert note.startswith("10 of 13 pictures have no label file")


YAMLS = {
    "Ultralytics": "path: ../datasets/pets\ntrain: {0}train\nval: {0}val\ntest: {0}test\n",
    "Roboflow": "train: ../{0}train\nval: ../{0}val\ntest: ../{0}test\n",
    "another machine's": (
        "train: /content/pets/{0}train\nval: /content/pets/{0}val\ntest: /content/pets/{0}test\n"
    ),
    "lists": "train: [{0}train]\nval: [{0}val]\ntest: ['{0}test']\n",
    "patterns": "train: {0}train/*.jpg\nval: {0}va?/*.jpg\ntest: {0}test/*\n",
}
NAMES = {
    "list": "names: [bird, cat, dog]\nnc: 3\n",
    "lines": "names:\n- bird\n- cat\n- dog\n",
    "dict": "names:\n  0: bird\n  1: cat\n  2: dog\n",
}


@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES)
@pytest.mark.parametrize("text", YAMLS.values(), ids=YAMLS)
def test_a_data_yaml_names_the_sides(tmp_path, text, names):
    write_yolo(tmp_path, SPLIT, "images/{side}", "labels/{side}", names="")
    (tmp_path / "data.yaml").write_text(text.format("images/") + names)
    for file in ("", "data.yaml"):
        inputs = find(tmp_path, file)
        assert tuple(inputs.classes) == CLASSES
        assert inputs.split == "split as given"
        assert [item.side for item in inputs.items] == ["test"] * 3 + ["train"] * 3 + ["eval"] * 3
        images = [image for item in inputs.items for _, image in inputs.read(item)]
        assert all(images)
        assert {name for image in images for name in image.names} == {"cat", "dog"}


def test_lists_of_pictures_are_the_sides(tmp_path):
    write_yolo(tmp_path, samples(4), names="")
    (tmp_path / "data.yaml").write_text("train: train.txt\nval: val.txt\nnames: [a, b, c]\n")
    (tmp_path / "train.txt").write_text("./images/image_0.jpg\n./images/image_1.jpg\n")
    (tmp_path / "val.txt").write_text("/home/me/pets/images/image_2.jpg\n")
    inputs = find(tmp_path)
    assert {item.image_id: item.side for item in inputs.items} == {
        "image_0": "train", "image_1": "train", "image_2": "eval",
    }  # fmt: skip
    assert [(item.file, item.reason) for item in inputs.ignored] == [
        ("images/image_3.jpg", "data.yaml does not name it")
    ]


def test_darknets_files_are_the_split_and_the_names(tmp_path):
    write_yolo(tmp_path, samples(4), "obj_train_data", "obj_train_data", names="obj.names")
    (tmp_path / "obj.data").write_text(
        "classes = 3\ntrain = data/train.txt\nvalid = data/valid.txt\nnames = data/obj.names\n"
    )
    for name, numbers in (("train", "012"), ("valid", "3")):
        lines = [f"data/obj_train_data/image_{number}.jpg\n" for number in numbers]
        (tmp_path / f"{name}.txt").write_text("".join(lines))
    inputs = find(tmp_path)
    assert [item.side for item in inputs.items] == ["train", "train", "train", "eval"]
    assert tuple(inputs.classes) == CLASSES
    assert all(image for item in inputs.items for _, image in inputs.read(item))


def test_words_that_yaml_takes_for_other_types_are_class_names(tmp_path):
    write_yolo(tmp_path, samples(4), names="")
    (tmp_path / "data.yaml").write_text("train: images\nnames: [no, 1.50, null]\n")
    assert tuple(find(tmp_path).classes) == ("no", "1.50", "null")


def test_a_folder_that_is_not_there_is_told(tmp_path):
    write_yolo(tmp_path, SPLIT[:2], "images/{side}", "labels/{side}", names="")
    text = "train: images/train\nval: images/val\ntest: ../test/images\nnames: [a, b, c]\n"
    (tmp_path / "data.yaml").write_text(text)
    assert find(tmp_path).notes == ("data.yaml names test: ../test/images, which is not there",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train: images\nnames: {cat: 0}\n", r"data\.yaml, names.*cat.*valid integer"),
        ("train: images\nnames: [[a]]\n", r"names.*valid string"),
        ("train: images\nnames: [a\nval: x", r"data\.yaml, while parsing a flow sequence"),
        ("train: images\nnames: &a [*a]\n", "names"),
        ("train: images\nnames: " + "[" * 9000, "nested too deeply"),
        ("train: images\nval: images\nnames: [a, b, c]\n", "on one side .* on two"),
        ("train: gone\nval: images\nnames: [a, b, c]\n", "names for training. Received: gone"),
    ],
)
def test_a_broken_data_yaml_is_one_error(tmp_path, text, message):
    write_yolo(tmp_path, samples(4), names="")
    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(UserError, match=message):
        find(tmp_path)


def test_labels_without_class_names_are_an_error(tmp_path):
    write_yolo(tmp_path, samples(4), names="")
    with pytest.raises(
        UserError, match=r"a classes\.txt or an obj\.names\. Received: none of them"
    ):
        find(tmp_path)


def test_class_names_that_contradict_each_other_are_an_error(tmp_path):
    write_yolo(tmp_path, samples(4))
    (tmp_path / "labels" / "classes.txt").write_text("cat\nbird\ndog\n")
    with pytest.raises(UserError, match=r"other ones in labels/classes\.txt than in classes\.txt"):
        find(tmp_path)


def test_nothing_is_read_from_outside(tmp_path):
    root = tmp_path / "set"
    write_yolo(root, samples(2), names="")
    outside = tmp_path / "other" / "images"
    outside.mkdir(parents=True)
    shutil.copy(root / "images" / "image_0.jpg", outside / "secret.jpg")
    text = f"train: images\nval: {json.dumps(str(outside))}\nnames: [a, b, c]\n"
    (root / "data.yaml").write_text(text)
    inputs = find(root)
    assert {item.picture for item in inputs.items} == {"images/image_0.jpg", "images/image_1.jpg"}
    assert "which is not there" in inputs.notes[0]


def test_lists_of_numbers_are_no_labels(tmp_path):
    write_voc(tmp_path, samples(4), "JPEGImages", "Annotations")
    lists = tmp_path / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("".join(f"{number:06}\n" for number in range(900)))
    (lists / "cat_train.txt").write_text("".join(f"{number:06} -1\n" for number in range(900)))
    assert recognise(walk(str(tmp_path), "")) == []


def test_a_line_that_almost_is_one_is_told_at_once(tmp_path):
    write_yolo(tmp_path, samples(4))
    for path in (tmp_path / "labels").iterdir():
        path.write_text("0 " + "123456789 " * 300 + "x")
    assert recognise(walk(str(tmp_path), "")) == []


def test_a_description_of_billions_of_names_is_refused(tmp_path):
    write_yolo(tmp_path, samples(4), names="")
    levels = "".join(
        f"level{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10) if n else 'x'}]\n" for n in range(12)
    )
    (tmp_path / "data.yaml").write_text(f"{levels}train: images\nnames: *l11\n")
    with pytest.raises(UserError, match=r"Expected a data\.yaml.*names") as error:
        find(tmp_path)
    assert len(str(error.value)) < 1000
