import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from PIL import Image

from models import drawing
from models.drawing import class_color, draw_detections

GRAY = np.full((200, 300, 3), 128, np.uint8)
BOX = np.array([[0.25, 0.2, 0.75, 0.6]])


def test_a_box_is_drawn_in_place_in_its_class_colour():
    drawn = np.asarray(draw_detections(GRAY, BOX, ["cat"], [0.9], [4]))
    assert drawn.shape == GRAY.shape
    color = class_color(4)
    inked = np.argwhere((drawn == color).all(axis=-1))
    assert tuple(drawn[100, 60]) == color  # left edge: 0.2 * 299
    assert tuple(drawn[149, 120]) == color  # lower edge: 0.75 * 199
    assert inked[:, 0].max() <= 0.75 * 199 + 1
    assert inked[:, 1].max() <= 0.6 * 299 + 1
    assert tuple(drawn[100, 120]) == (128, 128, 128)  # the inside stays free
    assert (GRAY == 128).all()  # drawn on a copy


def test_without_boxes_the_picture_is_unchanged():
    assert (np.asarray(draw_detections(GRAY, np.zeros((0, 4)), [], [])) == GRAY).all()


@pytest.mark.parametrize(
    "box", [[0, 0, 1, 1], [-0.5, -0.5, 2, 2], [0.99, 0.99, 1, 1], [0.5, 0.5, 0.5, 0.5]]
)
def test_boxes_at_and_over_the_edge_stay_inside_with_their_names(box):
    drawn = draw_detections(GRAY, np.array([box]), ["a rather long class name"], [0.5], [0])
    assert drawn.size == (300, 200)
    tag = np.argwhere((np.asarray(drawn) == class_color(0)).all(axis=-1))
    assert len(tag) > 500  # the name's background is in the picture, wherever the box is


def test_other_modes_and_ground_truth_without_scores():
    image = Image.fromarray(GRAY).convert("L")
    drawn = draw_detections(image, BOX, ["cat"])
    assert drawn.mode == "RGB"
    assert drawn.size == image.size


def test_the_most_certain_box_is_on_top():
    boxes = np.repeat(BOX, 2, axis=0)
    drawn = np.asarray(draw_detections(GRAY, boxes, ["cat", "dog"], [0.9, 0.2], [0, 1]))
    assert tuple(drawn[100, 60]) == class_color(0)


def test_colours_of_many_classes_differ():
    colors = np.array([class_color(index) for index in range(37)], int)
    distance = np.abs(colors[:, None] - colors[None]).sum(axis=-1) + 999 * np.eye(37, dtype=int)
    assert distance.min() > 15
    assert distance[:4, :4].min() > 150


def write_font(path, characters):
    """A font in which all these characters are the same large square."""
    glyph = TTGlyphPen(None)
    glyph.moveTo((0, 0))
    for point in ((0, 900), (900, 900), (900, 0)):
        glyph.lineTo(point)
    glyph.closePath()
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", "square"])
    builder.setupCharacterMap(dict.fromkeys(map(ord, characters), "square"))
    builder.setupGlyf({".notdef": TTGlyphPen(None).glyph(), "square": glyph.glyph()})
    builder.setupHorizontalMetrics(dict.fromkeys((".notdef", "square"), (1000, 0)))
    builder.setupHorizontalHeader(ascent=900, descent=-100)
    builder.setupNameTable({"familyName": "Squares", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(path)


def test_a_name_is_drawn_in_an_installed_font_that_has_its_characters(tmp_path, monkeypatch):
    broken, no_digits, fitting = (tmp_path / name for name in ("a.ttf", "b.ttf", "c.ttf"))
    broken.write_bytes(b"no font")
    write_font(no_digits, "\u732b")
    write_font(fitting, "\u732b 0123456789%\u2026")

    def drawn(name, fonts):
        monkeypatch.setattr(drawing, "findSystemFonts", lambda: [str(path) for path in fonts])
        drawing._font_with.cache_clear()
        return np.asarray(draw_detections(GRAY, BOX, [name]))

    def ink(picture):
        return (picture == 255).all(axis=-1).sum()

    without = drawn("\u732b", [broken])
    assert ink(drawn("\u732b", [broken, no_digits, fitting])) > ink(without) + 30
    assert (drawn("\u732b", [no_digits]) == without).all()  # the score must be readable, too
    assert (drawn("cat", [fitting]) == drawn("cat", [])).all()


def test_a_long_name_is_cut_and_its_score_is_not():
    def tag(name, score):
        return np.asarray(draw_detections(GRAY, BOX, [name], [score], [0]))

    long = "a class name that a labelling tool made of a whole sentence, and then some"
    assert (tag(long, 0.9) != tag(long, 0.8)).any()
    assert (tag(long, 0.9) == tag(long + " more", 0.9)).all()


@pytest.mark.parametrize("names", [("é", "è"), ("ж", "ш"), ("ω", "λ"), ("ł", "ż")])
def test_names_are_not_only_english(names):
    first, second = (np.asarray(draw_detections(GRAY, BOX, [name])) for name in names)
    assert (first != second).any()  # one box for every unknown letter would be the same
