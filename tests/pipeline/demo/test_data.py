"""The demo's data set: reproducible pictures, tight boxes, and no half-written folders."""

import json
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from pipeline.demo import data as demo_data
from pipeline.demo.data import draw_picture, write_demo_data
from pipeline.demo.drawing import CLASSES
from pipeline.errors import UserError


def _contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_same_seed_draws_the_same_picture_and_another_seed_another_one():
    (first, heads), (again, same_heads), (other, _) = (draw_picture(n, 5) for n in (3, 3, 4))
    assert first.tobytes() == again.tobytes()
    assert heads == same_heads
    assert first.tobytes() != other.tobytes()


def test_the_files_are_always_the_same(tmp_path):
    first = write_demo_data(tmp_path / "a", num_images=5)
    assert _contents(write_demo_data(tmp_path / "b", num_images=5)) == _contents(first)


def test_the_set_is_varied_and_its_boxes_fit():
    pictures = [draw_picture(1, index) for index in range(60)]
    names = [drawn.name for _, objects in pictures for drawn in objects]
    assert set(names) == set(CLASSES)
    counts = [len(objects) for _, objects in pictures]
    assert 0 in counts
    assert max(counts) >= 3
    assert len({picture.size for picture, _ in pictures}) >= 3
    for picture, objects in pictures:
        for drawn in objects:
            xmin, ymin, xmax, ymax = drawn.box
            assert 0 <= xmin < xmax <= picture.width
            assert 0 <= ymin < ymax <= picture.height
            assert min(xmax - xmin, ymax - ymin) >= 0.08 * min(picture.size)


def test_a_box_is_tight_around_its_head(monkeypatch):
    white = lambda size, rng: Image.new("RGB", size, (255, 0, 255))  # noqa: E731
    monkeypatch.setattr(demo_data, "draw_background", white)
    monkeypatch.setattr(demo_data, "_HIDDEN_SHARE", 0.0)
    tested = 0
    for index in range(30):
        picture, objects = draw_picture(1, index)
        if len(objects) != 1:
            continue
        foreground = np.abs(np.asarray(picture, int) - [255, 0, 255]).sum(axis=2) > 90
        rows, columns = np.nonzero(foreground.any(axis=1))[0], np.nonzero(foreground.any(axis=0))[0]
        seen = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
        assert np.abs(np.subtract(seen, objects[0].box)).max() <= 2, index
        tested += 1
    assert tested >= 5


def test_the_annotations_are_pascal_voc(tmp_path):
    folder = write_demo_data(tmp_path / "demo", num_images=4)
    for xml in sorted((folder / "annotations" / "xmls").glob("*.xml")):
        root = ElementTree.parse(xml).getroot()
        with Image.open(folder / "images" / root.findtext("filename")) as picture:
            assert picture.format == "JPEG"
            size = (int(root.findtext("size/width")), int(root.findtext("size/height")))
            assert picture.size == size
        assert all(node.findtext("name") in CLASSES for node in root.iter("object"))


def test_an_up_to_date_folder_is_kept_and_an_outdated_one_is_replaced(tmp_path):
    folder = write_demo_data(tmp_path / "demo", num_images=3)
    marker = folder / "images" / "demo_00000.jpg"
    marker.write_bytes(b"touched")
    write_demo_data(folder, num_images=3)
    assert marker.read_bytes() == b"touched"
    write_demo_data(folder, num_images=2)
    assert marker.read_bytes() != b"touched"
    assert len(list((folder / "images").iterdir())) == 2
    assert [p.name for p in tmp_path.iterdir()] == ["demo"]


def test_a_crash_leaves_no_half_written_folder(tmp_path, monkeypatch):
    def crash(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(demo_data, "_annotation", crash)
    with pytest.raises(KeyboardInterrupt):
        write_demo_data(tmp_path / "demo", num_images=2)
    assert not (tmp_path / "demo").exists()


@pytest.mark.parametrize("settings", [None, "[broken"])
def test_a_folder_with_other_files_is_rejected(tmp_path, settings):
    (tmp_path / "thesis.txt").write_text("years of work")
    if settings is not None:
        (tmp_path / demo_data.SETTINGS_FILE).write_text(settings)
    with pytest.raises(UserError, match="other files"):
        write_demo_data(tmp_path, num_images=2)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_the_settings_are_recorded(tmp_path):
    folder = write_demo_data(tmp_path / "demo", num_images=1)
    recorded = json.loads((folder / demo_data.SETTINGS_FILE).read_text())
    assert recorded == {"version": demo_data.GENERATOR_VERSION, "num_images": 1, "seed": 1}
