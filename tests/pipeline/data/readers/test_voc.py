"""Pascal VOC: which annotations become examples, with which picture, on which side."""

import gzip
import hashlib
import io
import os

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from models.image import decode_image
from pipeline.data.readers.tree import walk
from pipeline.data.readers.voc import VocItem, find, read_annotation, recognise
from tests.pipeline.data_samples import CAT, DOG, VocFolder, picture, samples, write_voc, xml


@pytest.fixture
def voc(tmp_path):
    return VocFolder(tmp_path / "voc")


def read(voc, stem, class_from="name", side="", **limits):
    namesakes = tuple(sorted(f"images/{path.name}" for path in voc.images.glob(f"{stem}.*")))
    item = VocItem(str(voc.root), f"annotations/xmls/{stem}.xml", ("images",), namesakes, side=side)
    [(checked, image)] = read_annotation(item, class_from, **limits)
    assert (image is None) == bool(checked.kind) == bool(checked.reason)
    return checked, image


def reason(voc, stem, **options):
    checked, _ = read(voc, stem, **options)
    return checked.kind, checked.reason


def test_a_sound_image_is_read(voc):
    encoded = picture(5)
    voc.add("a", (CAT, DOG), encoded)
    checked, image = read(voc, "a")
    assert (image.image_id, image.filename, image.image_format) == ("a", "a.jpg", "jpeg")
    assert (image.width, image.height) == (32, 24)
    assert image.encoded == encoded
    assert image.names == ("cat", "dog")
    np.testing.assert_allclose(image.boxes[0], (3 / 24, 4 / 32, 15 / 24, 20 / 32), rtol=1e-6)
    assert image.boxes[1][2:] == (1.0, 1.0)
    assert checked.classes == {"cat": 1, "dog": 1}
    assert checked.picture == "images/a.jpg"


def test_an_image_without_objects_is_a_valid_negative(voc):
    voc.add("a", ())
    checked, image = read(voc, "a", class_from="filename")
    assert image.boxes == image.names == ()
    assert checked.classes == {}


def test_a_missing_picture_is_named(voc):
    voc.add("a")
    (voc.images / "a.jpg").unlink()
    kind, why = reason(voc, "a")
    assert kind == "missing_image"
    assert "a.jpg" in why


def test_a_filename_that_does_not_exist_is_replaced_by_the_namesake(voc):
    voc.add("a")
    (voc.xmls / "a.xml").write_text(xml("C:\\photos\\IMG_7.jpg", (CAT,)))
    checked, image = read(voc, "a")
    assert image.filename == "a.jpg"
    assert checked.image_id == "a"


def test_an_annotation_called_like_another_picture_than_it_names_is_set_aside(voc):
    voc.add("a")
    voc.add("b")
    (voc.xmls / "b.xml").write_text(xml("a.jpg", [CAT]))
    kind, why = reason(voc, "b")
    assert kind == "ambiguous_image"
    assert "a.jpg" in why
    assert "b.jpg" in why


def test_several_namesakes_are_ambiguous(voc):
    voc.add("a")
    (voc.images / "a.png").write_bytes(picture(1, image_format="PNG"))
    (voc.xmls / "a.xml").write_text(xml(None, (CAT,)))
    kind, why = reason(voc, "a")
    assert kind == "missing_image"
    assert "images/a.jpg, images/a.png" in why


@pytest.mark.parametrize("image_format", ["JPEG", "PNG"])
@pytest.mark.parametrize("lost", [1, 20, 300])
def test_a_truncated_picture_is_unusable(voc, image_format, lost):
    encoded = picture(1, image_format=image_format, size=(64, 48))
    voc.add("a", (CAT,), encoded[:-lost], size=(64, 48))
    kind, why = reason(voc, "a")
    assert kind == "unreadable_image"
    assert image_format in why
    assert "{{" not in why


@pytest.mark.parametrize(
    ("encoded", "kind"),
    [
        (b"", "unreadable_image"),
        (b"\xff\xd8\xff" + b"not a picture" * 9, "unreadable_image"),
        (b"hello", "unknown_format"),
        (gzip.compress(b"hello"), "unknown_format"),
    ],
)
def test_an_unreadable_picture_is_unusable(voc, encoded, kind):
    voc.add("a", (CAT,), encoded)
    assert reason(voc, "a")[0] == kind


def test_a_folder_in_place_of_a_picture_is_unusable(voc):
    voc.add("a")
    (voc.images / "a.jpg").unlink()
    (voc.images / "a.jpg").mkdir()
    assert reason(voc, "a")[0] == "missing_image"


@pytest.mark.parametrize("place", ["images/a.jpg", "annotations/xmls/a.xml"])
def test_a_pipe_is_not_waited_for(voc, place):
    voc.add("a")
    (voc.root / place).unlink()
    os.mkfifo(voc.root / place)
    kind, why = reason(voc, "a")
    assert kind == "unreadable_file"
    assert "is a pipe or a device" in why


def test_a_device_is_not_read(voc):
    voc.add("a")
    (voc.images / "a.jpg").unlink()
    (voc.images / "a.jpg").symlink_to("/dev/zero")
    assert reason(voc, "a")[0] == "unreadable_file"


def test_a_picture_over_the_limit_is_unusable(voc):
    voc.add("a")
    assert reason(voc, "a", max_megapixels=0.0007)[0] == "too_large"


def test_a_gif_named_jpg_is_usable(voc):
    voc.add("a", (CAT,), picture(1, image_format="GIF"))
    checked, image = read(voc, "a")
    assert (image.image_format, checked.converted) == ("png", True)


@pytest.mark.parametrize("image_format", ["BMP", "GIF", "TIFF", "WEBP"])
def test_other_formats_become_pngs(voc, image_format):
    encoded = picture(1, image_format=image_format)
    voc.add("a", (CAT,), encoded, suffix=f".{image_format.lower()}")
    checked, image = read(voc, "a")
    assert (image.image_format, checked.converted, checked.turned) == ("png", True, False)
    assert checked.sha256 == hashlib.sha256(encoded).hexdigest()
    expected = Image.open(io.BytesIO(encoded)).convert("RGB")
    np.testing.assert_array_equal(decode_image(image.encoded), expected)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_png_by_any_name_is_usable(voc, suffix):
    voc.add("a", (CAT,), picture(1, image_format="PNG"), suffix=suffix)
    assert read(voc, "a")[1].image_format == "png"


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_grayscale_and_cmyk_jpegs_are_usable_and_decode_as_pillow_decodes_them(voc, mode):
    encoded = picture(3, mode)
    voc.add("a", (CAT,), encoded)
    _, image = read(voc, "a")
    assert image.image_format == "jpeg"
    decoded = decode_image(tf.constant(image.encoded)).numpy().astype(int)
    expected = np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB"), int)
    assert decoded.std() > 10
    assert np.abs(decoded - expected).max() <= 4


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no xml",
        "<annotation><object>",
        "<svg/>",
        "<!DOCTYPE a [<!ENTITY b 'c'>]><annotation>&b;</annotation>",
        "<?xml version='1.0' encoding='klingon'?><annotation/>",
        "<annotation><object><name>cat</name></object></annotation>",
        xml("a.jpg", [("cat", "left", 1, 2, 3)]),
        xml("a.jpg", (), size=("wide", 24)),
        xml("a.jpg", (), size=(32.5, 24)),
        "<annotation><object><name>cat</name><bndbox><xmin>1</xmin></bndbox></object></annotation>",
    ],
)
def test_malformed_xml_is_unusable(voc, text):
    voc.add("a")
    (voc.xmls / "a.xml").write_text(text)
    checked, _ = read(voc, "a")
    assert checked.kind == "malformed_xml"
    assert checked.picture == "images/a.jpg"


def test_a_size_that_disagrees_with_the_picture_is_unusable(voc):
    voc.add("a", size=(320, 24))
    kind, why = reason(voc, "a")
    assert kind == "size_mismatch"
    assert "320x24" in why
    assert "32x24" in why
    voc.add("b", size=(24, 32))
    assert "swapped" in reason(voc, "b")[1]


def test_the_size_may_be_missing(voc):
    voc.add("a", size=None)
    assert read(voc, "a")[1].width == 32


@pytest.mark.parametrize(
    "box", [(-2, 2, 9, 9), (1, -1.2, 9, 9), (1, 2, 34, 9), (1, 2, 9, 25.5), (40, 2, 50, 9)]
)
def test_a_box_outside_the_picture_is_unusable(voc, box):
    voc.add("a", [CAT, ("cat", *box)])
    kind, why = reason(voc, "a")
    assert kind == "box_outside"
    assert "box 2" in why
    assert f"xmin={box[0]}" in why


@pytest.mark.parametrize("box", [(5, 2, 5, 9), (5, 9, 8, 9), (9, 2, 5, 9), (5, 9, 8, 2)])
def test_a_box_without_area_is_unusable(voc, box):
    voc.add("a", [("cat", *box)])
    assert reason(voc, "a")[0] == "box_empty"


def test_annotations_in_utf16_are_found(voc):
    for stem in "ab":
        voc.add(stem, [CAT])
        file = voc.xmls / f"{stem}.xml"
        text = f'<?xml version="1.0" encoding="utf-16"?>{file.read_text()}'
        file.write_text(text, encoding="utf-16")
        assert read(voc, stem)[1].names == ("cat",)
    assert len(recognise(walk(str(voc.root), ""))) == 2


@pytest.mark.parametrize("edge", ["nan", "inf"])
def test_a_box_that_is_not_finite_is_unusable(voc, edge):
    voc.add("a", [("cat", 1, 2, edge, 9)])
    assert reason(voc, "a")[0] == "box_not_finite"


def test_a_box_without_a_class_is_unusable(voc):
    voc.add("a", [CAT, ("  ", 1, 2, 9, 9)])
    kind, why = reason(voc, "a")
    assert kind == "no_class"
    assert "box 2" in why


def test_a_class_with_a_line_break_is_unusable(voc):
    voc.add("a", [CAT, ("fat\u2028cat", 1, 2, 9, 9)])
    kind, why = reason(voc, "a")
    assert kind == "unfit_class"
    assert "box 2 has the class 'fat\\u2028cat'" in why


def test_the_class_may_come_from_the_file_name(voc):
    voc.add("american_bulldog_105", (CAT, DOG))
    _, image = read(voc, "american_bulldog_105", class_from="filename")
    assert image.names == ("american_bulldog",) * 2
    voc.add("bulldog")
    assert reason(voc, "bulldog", class_from="filename")[0] == "no_class"


def test_a_side_becomes_part_of_the_id(voc):
    voc.add("a")
    checked, image = read(voc, "a", side="eval")
    assert image.image_id == checked.image_id == "eval/a"
    assert image.filename == "a.jpg"


def test_difficult_objects_are_marked(voc):
    voc.add("a", (CAT, DOG))
    path = voc.xmls / "a.xml"
    assert read(voc, "a")[1].difficult == ()
    text = path.read_text().replace("<name>dog</name>", "<name>dog</name><difficult>1</difficult>")
    path.write_text(text)
    _, image = read(voc, "a")
    assert image.difficult == (False, True)
    assert image.crowd == ()


def find_in(root):
    tree = walk(str(root), "")
    return find(tree, recognise(tree))


def test_the_lists_of_image_sets_are_the_split(voc):
    for stem in "abcde":
        voc.add(stem)
    lists = voc.root / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    texts = {
        "train": "a\n",
        "val": "b\n",
        "trainval": "a\nb\n",
        "test": "c\n",
        "cat_train": "d 1\n",
    }
    for name, text in texts.items():
        (lists / f"{name}.txt").write_text(text)
    inputs = find_in(voc.root)
    sides = {item.annotation[-5]: item.side for item in inputs.items}
    assert sides == {"a": "train", "b": "eval", "c": "test"}
    reason = "in none of the lists of ImageSets/Main"
    assert {(item.file[-5], item.reason) for item in inputs.ignored} == {
        ("d", reason),
        ("e", reason),
    }


def test_lists_of_image_sets_may_have_other_names_of_the_sides(voc):
    for stem in "abcd":
        voc.add(stem)
    lists = voc.root / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "Train.txt").write_text("a\nb\n")
    (lists / "Validation.txt").write_text("c\nd\n")
    inputs = find_in(voc.root)
    sides = {item.annotation[-5]: item.side for item in inputs.items}
    assert sides == {"a": "train", "b": "train", "c": "eval", "d": "eval"}


def test_lists_of_image_sets_may_name_folders_as_cvat_does(tmp_path):
    for town in "ab":
        write_voc(tmp_path, samples(2), f"JPEGImages/{town}", f"Annotations/{town}")
    lists = tmp_path / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("a/image_0\na/image_1\nb/image_0\n")
    (lists / "val.txt").write_text("b/image_1\n")
    sides = {
        item.annotation.removeprefix("Annotations/"): item.side for item in find_in(tmp_path).items
    }
    assert sides == {
        "a/image_0.xml": "train", "a/image_1.xml": "train", "b/image_0.xml": "train",
        "b/image_1.xml": "eval",
    }  # fmt: skip


@pytest.mark.parametrize("line", ["my {}\n", '"my {}"\n', "my {}.jpg\n", "my {} -1\n"])
def test_lists_of_image_sets_may_have_names_with_blanks(voc, line):
    for stem in ("my a", "my b"):
        voc.add(stem)
    lists = voc.root / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text(line.format("a"))
    (lists / "val.txt").write_text(line.format("b"))
    assert [item.side for item in find_in(voc.root).items] == ["train", "eval"]


def test_an_image_in_trainval_and_test_is_not_trained_on(voc):
    voc.add("a")
    lists = voc.root / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    for name in ("trainval", "test"):
        (lists / f"{name}.txt").write_text("a\n")
    [item] = find_in(voc.root).items
    assert item.side == "test"


def test_a_file_name_that_two_sides_have_is_not_taken_from_the_first(tmp_path):
    for side in ("train", "val"):
        (tmp_path / side).mkdir()
        (tmp_path / side / "shot.jpg").write_bytes(picture(1))
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "other.xml").write_text(xml("shot.jpg", (CAT,)))
    inputs = find_in(tmp_path)
    [(checked, image)] = inputs.read(inputs.items[0])
    assert image is None
    assert "several pictures are called 'shot.jpg': train/shot.jpg, val/shot.jpg" in checked.reason


def test_a_folder_without_its_pictures_does_not_take_those_of_another(tmp_path):
    for kind in ("cats", "dogs"):
        (tmp_path / "labels" / kind).mkdir(parents=True)
        (tmp_path / "images" / kind).mkdir(parents=True)
        for number in "12":
            text = xml(f"{number}.jpg", (CAT,))
            (tmp_path / "labels" / kind / f"{number}.xml").write_text(text)
            name = f"{number}.jpg" if kind == "dogs" else f"{number}{number}.jpg"
            (tmp_path / "images" / kind / name).write_bytes(picture(1))
    inputs = find_in(tmp_path)
    read_ = [pair for item in inputs.items for pair in inputs.read(item)]
    assert {line.file for line, image in read_ if image} == {
        "labels/dogs/1.xml",
        "labels/dogs/2.xml",
    }


def test_a_missing_picture_is_not_replaced_by_one_of_another_folder(tmp_path):
    for kind, numbers in (("cats", "12"), ("dogs", "123")):
        for folder in ("images", "labels"):
            (tmp_path / folder / kind).mkdir(parents=True)
        for number in numbers:
            (tmp_path / "images" / kind / f"{number}.jpg").write_bytes(picture(1))
        for number in "123":
            text = xml(f"{number}.jpg", (CAT,))
            (tmp_path / "labels" / kind / f"{number}.xml").write_text(text)
    inputs = find_in(tmp_path)
    read_ = [pair for item in inputs.items for pair in inputs.read(item)]
    assert {image.image_id for _, image in read_ if image} == {
        "cats/1", "cats/2", "dogs/1", "dogs/2", "dogs/3",
    }  # fmt: skip
    assert [line.file for line, image in read_ if not image] == ["labels/cats/3.xml"]
