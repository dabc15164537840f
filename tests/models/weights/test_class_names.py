import io
import zipfile

import pytest

from models.weights.class_names import find_class_names, same_name

COCO = "???\nperson\nbicycle\n???\ntraffic light\n"
NAMES = ("person", "bicycle", "", "traffic light")
LABEL_MAP = """
item { name: "/m/01g317" id: 1 display_name: "person" }
item {
  id: 2
  name: 'bicycle'
}
item { id: 4 display_name: "traffic light" }
"""


def weights(tmp_path):
    return str(tmp_path / "detect.tflite")


@pytest.mark.parametrize("text", [COCO, COCO.removeprefix("???\n"), COCO.rstrip()])
def test_a_first_line_for_the_background_is_optional(tmp_path, text):
    (tmp_path / "labelmap.txt").write_text(text)
    found = find_class_names(weights(tmp_path), None, "", 4)
    assert found == (NAMES, str(tmp_path / "labelmap.txt"))


def test_a_label_map_beside_a_checkpoint_is_read(tmp_path):
    (tmp_path / "mscoco_label_map.pbtxt").write_text(LABEL_MAP)
    for path in (tmp_path, tmp_path / "model.ckpt", tmp_path / "zoo.tar.gz"):
        assert find_class_names(str(path), None, "", 4)[0] == NAMES


def test_labels_for_another_number_of_classes_are_not_taken(tmp_path):
    (tmp_path / "labels.txt").write_text("cat\ndog\n")
    assert find_class_names(weights(tmp_path), None, "", 4) == ((), "")


def test_labels_that_were_given_must_fit(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text("cat\ndog\n")
    assert find_class_names("x.tflite", None, str(path), 2)[0] == ("cat", "dog")
    with pytest.raises(ValueError, match=r"Expected labels for 4 classes.* Received: .*mine\.txt"):
        find_class_names("x.tflite", None, str(path), 4)
    with pytest.raises(FileNotFoundError, match=r"nowhere\.txt"):
        find_class_names("x.tflite", None, "nowhere.txt", 4)


def test_labels_packed_into_the_file_come_first(tmp_path):
    (tmp_path / "labels.txt").write_text("a\nb\nc\nd\n")
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("labelmap.txt", COCO)
    content = b"a model" + archive.getvalue()
    assert find_class_names(weights(tmp_path), content, "", 4) == (NAMES, "inside of the file")
    broken = content[:-30]
    assert find_class_names(weights(tmp_path), broken, "", 4)[0] == ("a", "b", "c", "d")


def test_damaged_labels_in_the_file_are_none(tmp_path):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("labelmap.txt", COCO)
    damaged = bytearray(archive.getvalue())
    damaged[30 + len("labelmap.txt")] ^= 0xFF  # the first byte of the compressed text
    assert find_class_names(weights(tmp_path), bytes(damaged), "", 4) == ((), "")


def test_case_and_separators_do_not_tell_classes_apart():
    assert same_name("Traffic_Light", "traffic light")
    assert not same_name("cat", "cats")
    assert not same_name("", " ")
