"""What one Pascal VOC annotation says."""

from pipeline.data.readers.voc_annotation import parse_annotation
from tests.pipeline.data_samples import CAT, xml


def test_an_annotation_is_parsed():
    text = xml("folder/a.jpg", [CAT, ("dog ", 1.5, 2, 3, 4)])
    parsed = parse_annotation(text.encode())
    assert parsed.filename == "a.jpg"
    assert parsed.size == (32, 24)
    assert [drawn.name for drawn in parsed.objects] == ["cat", "dog"]
    assert parsed.objects[1].normalised(30, 20) == (2 / 20, 1.5 / 30, 4 / 20, 3 / 30)


def test_boxes_of_parts_are_not_objects():
    text = xml("a.jpg", [CAT]).replace(
        "</object>", "<part><name>head</name><bndbox><xmin>1</xmin></bndbox></part></object>"
    )
    assert [drawn.name for drawn in parse_annotation(text.encode()).objects] == ["cat"]


def test_other_encodings_are_read():
    text = "<?xml version='1.0' encoding='iso-8859-1'?>" + xml("é.jpg", [("bébé", 1, 2, 3, 4)])
    parsed = parse_annotation(text.encode("iso-8859-1"))
    assert parsed.filename == "é.jpg"
    assert parsed.objects[0].name == "bébé"
