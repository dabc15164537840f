"""Layouts of VOC folders, and what an annotation says."""

import pytest

from pipeline.data.labelled_image import Unusable
from pipeline.data.voc import Layout, class_of_filename, find_layout, parse_annotation
from pipeline.errors import UserError
from tests.pipeline.data_samples import CAT, xml


@pytest.mark.parametrize("images", ["images", "JPEGImages"])
@pytest.mark.parametrize("annotations", ["annotations/xmls", "Annotations"])
def test_both_layouts_are_found(tmp_path, images, annotations):
    (tmp_path / images).mkdir()
    (tmp_path / annotations).mkdir(parents=True)
    assert find_layout(str(tmp_path)) == Layout(images, annotations)


def test_a_folder_that_does_not_exist(tmp_path):
    with pytest.raises(UserError, match="is no folder"):
        find_layout(str(tmp_path / "nowhere"))


def test_a_folder_without_layout(tmp_path):
    with pytest.raises(UserError, match="Expected pictures in images/ or JPEGImages/"):
        find_layout(str(tmp_path))
    (tmp_path / "images").mkdir()
    with pytest.raises(UserError, match="Expected annotations in annotations/xmls/"):
        find_layout(str(tmp_path))


def test_an_annotation_is_parsed():
    text = xml("folder/a.jpg", [CAT, ("dog ", 1.5, 2, 3, 4)])
    parsed = parse_annotation(text.encode())
    assert parsed.filename == "a.jpg"
    assert parsed.size == (32, 24)
    assert [drawn.name for drawn in parsed.objects] == ["cat", "dog"]
    assert parsed.objects[1].normalised(30, 20) == (2 / 20, 1.5 / 30, 4 / 20, 3 / 30)


def test_boxes_of_parts_are_no_objects():
    text = xml("a.jpg", [CAT]).replace(
        "</object>", "<part><name>head</name><bndbox><xmin>1</xmin></bndbox></part></object>"
    )
    assert [drawn.name for drawn in parse_annotation(text.encode()).objects] == ["cat"]


def test_an_annotation_in_another_encoding():
    text = "<?xml version='1.0' encoding='iso-8859-1'?>" + xml("é.jpg", [("bébé", 1, 2, 3, 4)])
    parsed = parse_annotation(text.encode("iso-8859-1"))
    assert parsed.filename == "é.jpg"
    assert parsed.objects[0].name == "bébé"


@pytest.mark.parametrize(
    ("image_id", "name"), [("pug_1", "pug"), ("great_pyrenees_12", "great_pyrenees")]
)
def test_class_of_filename(image_id, name):
    assert class_of_filename(image_id) == name


@pytest.mark.parametrize("image_id", ["pug", "_1", ""])
def test_a_file_name_without_class(image_id):
    with pytest.raises(Unusable) as caught:
        class_of_filename(image_id)
    assert caught.value.kind == "no_class"
