"""COCO JSON: what becomes an image, with which picture, and what is wrong with some files."""

import json

import pytest

from pipeline.data.readers import coco as reader
from pipeline.data.readers import coco_document
from pipeline.data.readers.detection import Source, find_inputs
from pipeline.errors import UserError
from tests.pipeline.data_samples import CAT, Sample, coco, picture, samples, write_coco

BOX = (3 / 24, 4 / 32, 15 / 24, 20 / 32)


@pytest.fixture
def data(tmp_path):
    """Writes four pictures with a document that a test changes, and reads them."""
    images = samples(4)
    write_coco(tmp_path, images, labels="labels.json")

    def read(change=lambda document: None, file="", **options):
        document = coco(images)
        change(document)
        (tmp_path / "labels.json").write_text(json.dumps(document))
        inputs = find_inputs(str(tmp_path), [Source("", file)], max_megapixels=1.0, **options)
        return [pair for item in inputs.items for pair in inputs.read(item)]

    read.root = tmp_path
    return read


def good(read):
    return {image.image_id: image for _, image in read if image}


def reasons(read):
    return {line.file.partition("#")[2]: (line.kind, line.reason) for line, _ in read if line.kind}


def test_images_without_annotations_are_negatives(data):
    images = good(data())
    assert len(images) == 4
    assert images["image_2"].boxes == ()
    assert images["image_0"].boxes == (BOX,)


def test_ids_may_be_texts_and_differ_in_kind(data):
    def texts(document):
        for image in document["images"]:
            image["id"] = f"{image['id']}"
        for category in document["categories"]:
            category["id"] = f"{category['id']}"

    assert good(data(texts)) == good(data())


def test_crowds_are_flagged(data):
    def crowd(document):
        document["annotations"][1]["iscrowd"] = 1

    assert good(data(crowd))["image_1"].crowd == (True, False)


def test_a_polygon_without_a_box_is_its_extent(data):
    def polygon(document):
        first = document["annotations"][0]
        del first["bbox"]
        first["segmentation"] = [[4, 3, 20, 5, 9, 15], [6, 4, 8, 4, 7, 6]]

    assert good(data(polygon))["image_0"].boxes == (BOX,)


def test_one_polygon_may_be_a_plain_list(data):
    def flat(document):
        first, second = document["annotations"][:2]
        del first["bbox"]
        first["segmentation"] = [4, 3, 20, 5, 9, 15]
        second["segmentation"] = [1, 2, 3, 4, 5, 6]

    assert good(data(flat)) == good(data())


def test_rounding_to_hundredths_does_not_put_a_box_outside(data):
    def rounded(document):
        document["annotations"][0]["bbox"] = [-0.01, 3, 32.02, 12]

    assert good(data(rounded))["image_0"].boxes == ((3 / 24, 0, 15 / 24, 1),)


def without(key):
    def change(document):
        del document["annotations"][0][key]

    return change


def setting(part, key, value):
    def change(document):
        document[part][0][key] = value

    return change


@pytest.mark.parametrize(
    ("change", "kind", "reason"),
    [
        (setting("annotations", "bbox", [4, 3, 99, 5]), "box_outside", "box 1"),
        (setting("annotations", "bbox", [4, 3, -2, 5]), "box_empty", "box 1"),
        (setting("annotations", "bbox", [4, 3, 5]), "malformed_json", "annotations[0].bbox"),
        (setting("annotations", "bbox", "here"), "malformed_json", "annotations[0].bbox"),
        (setting("annotations", "bbox", [float("nan"), 3, 5, 5]), "box_not_finite", "box 1"),
        (setting("annotations", "bbox", [10**400, 3, 5, 5]), "malformed_json", "annotations[0]"),
        (without("bbox"), "malformed_json", "annotations[0] has no bbox"),
        (without("category_id"), "malformed_json", "annotations[0].category_id: field required"),
        (setting("annotations", "category_id", 7), "no_class", "no category has the id 7"),
        (setting("images", "width", 33), "size_mismatch", "33x24"),
        (
            setting("images", "file_name", "gone.jpg"),
            "missing_image",
            "'gone.jpg' is not in images",
        ),
        (
            setting("images", "file_name", "../x/image_0.jpg"),
            "missing_image",
            "leaves the data set",
        ),
        (setting("images", "file_name", "/etc/passwd"), "missing_image", "leaves the data set"),
        (setting("images", "file_name", "C:\\x\\image_0.jpg"), "missing_image", "leaves the data"),
        (setting("images", "file_name", "a\0b.jpg"), "missing_image", "is not in images"),
    ],
)
def test_one_bad_image_is_set_aside_with_the_place(data, change, kind, reason):
    read = data(change)
    assert len(good(read)) == 3
    [(found, why)] = reasons(read).values()
    assert found == kind
    assert reason in why


def test_names_that_differ_in_case_alone_are_found(data):
    def shouted(document):
        document["images"][0]["file_name"] = "IMAGE_0.JPG"

    assert len(good(data(shouted))) == len(good(data(lambda document: None)))


@pytest.mark.parametrize(
    "folder",
    [
        "/home/me/pets/",
        "C:\\pets\\",
        "../../label-studio/data/media/upload/3/",
        "/data/local-files/?d=pets/",
        "https://example.com/pets/",
    ],
)
def test_paths_of_another_machine_count_from_where_they_part(data, folder):
    def elsewhere(document):
        for image in document["images"]:
            image["file_name"] = folder + image["file_name"]

    assert good(data(elsewhere)) == good(data())


def test_paths_of_another_machine_keep_the_folders_in_which_they_differ(tmp_path):
    for town in "ab":
        write_coco(tmp_path, [Sample("shot", picture(1), [CAT])], f"towns/{town}", "labels.json")
    document = json.loads((tmp_path / "labels.json").read_text())
    [image] = document["images"]
    document["images"] = [
        image | {"id": number, "file_name": f"/mnt/towns/{town}/shot.jpg"}
        for number, town in enumerate("ab")
    ]
    (tmp_path / "labels.json").write_text(json.dumps(document))
    inputs = find_inputs(str(tmp_path), [Source("")], max_megapixels=1.0)
    assert [item.picture for item in inputs.items if item.picture] == [
        "towns/a/shot.jpg", "towns/b/shot.jpg",
    ]  # fmt: skip


def test_two_names_of_one_category_are_an_error(data):
    def doubled(document):
        document["categories"].append(document["categories"][0] | {"name": "whale"})

    with pytest.raises(UserError, match=r"one name for each category .* 'bird' and 'whale'"):
        good(data(doubled))


def test_a_size_of_zeros_says_nothing(data):
    def unsized(document):
        document["images"][0] |= {"width": 0, "height": 0}

    assert "image_0" in good(data(unsized))


def test_two_pictures_with_one_id_are_both_set_aside(data):
    def collide(document):
        document["images"][1]["id"] = document["images"][0]["id"]

    read = data(collide)
    assert set(good(read)) == {"image_2", "image_3"}
    kinds = {kind for kind, _ in reasons(read).values()}
    assert kinds == {"duplicate_id", "missing_image"}  # and annotations of nobody


def test_annotations_of_nobody_are_told(data):
    read = data(setting("annotations", "image_id", 77))
    assert reasons(read)["77"] == (
        "missing_image", "1 annotations are of image '77', which is not among the images",
    )  # fmt: skip


def test_an_image_without_a_sound_entry_is_told(data):
    def broken(document):
        document["images"][0] = {"id": 100}

    assert "images[0].file_name: field required" in reasons(data(broken))["images[0]"][1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"images": [', "which is not JSON: EOF while parsing a list at line 1 column 12"),
        ('{"images": {}, "annotations": [], "categories": []}', "images: input should be a valid"),
        ('{"images": [], "annotations": []}', "categories: field required"),
        ('{"images": [], "annotations": [], "categories": [{"id": 1}]}', r"categories\[0\]\.name"),
        ('{"images": ' + "[" * 5000, "recursion limit"),
    ],
)
def test_a_broken_file_is_one_error(tmp_path, text, message):
    (tmp_path / "labels.json").write_text(text)
    (tmp_path / "a.jpg").write_bytes(picture(1))
    with pytest.raises(UserError, match=message):
        find_inputs(str(tmp_path), [Source("")], max_megapixels=1.0)


def test_the_file_is_parsed_once(data, monkeypatch):
    calls = []
    parse = coco_document.from_json
    monkeypatch.setattr(reader, "_HEAD", 64)  # of small ones the format is known by parsing
    for module in (reader, coco_document):
        monkeypatch.setattr(module, "from_json", lambda content: calls.append(1) or parse(content))
    assert len(good(data())) == 4
    assert calls == [1]


def test_the_other_files_of_cocos_download_are_ignored(data):
    document = (data(), (data.root / "labels.json").read_text())[1]
    (data.root / "labels.json").rename(data.root / "instances_train.json")
    (data.root / "person_keypoints_train.json").write_text(document)
    inputs = find_inputs(str(data.root), [Source("")], max_megapixels=1.0)
    assert len(inputs.items) == 4
    assert [item.file for item in inputs.ignored] == ["person_keypoints_train.json"]


def test_a_missing_picture_is_not_taken_from_the_other_side(tmp_path):
    write_coco(tmp_path, samples(8, ["train", "val"]), "{side}", "{side}/_annotations.coco.json")
    (tmp_path / "train" / "image_1.jpg").unlink()
    inputs = find_inputs(str(tmp_path), [Source("")], max_megapixels=1.0)
    read = [pair for item in inputs.items for pair in inputs.read(item)]
    assert len(good(read)) == 7
    [(kind, reason)] = reasons(read).values()
    assert (kind, reason) == ("missing_image", "'image_1.jpg' is not in train")


def test_names_that_two_folders_have_are_an_error(tmp_path):
    for town in ("a", "b"):
        write_coco(tmp_path, [Sample("shot", picture(1), [CAT])], f"towns/{town}", "labels.json")
    with pytest.raises(UserError, match="same names in towns/a and towns/b"):
        find_inputs(str(tmp_path), [Source("")], max_megapixels=1.0)
    source = Source("", images="towns/b")
    [item] = find_inputs(str(tmp_path), [source], max_megapixels=1.0).items
    assert item.picture == "towns/b/shot.jpg"


def test_long_ids_that_begin_alike_stay_apart(data):
    def lengthen(document):
        for value, key in [(i, "id") for i in document["images"]] + [
            (a, "image_id") for a in document["annotations"]
        ]:
            value[key] = "x" * 300 + str(value[key])

    read = data(lengthen)
    assert len({line.file for line, _ in read}) == 4
    plain = {name: image.sha256 for name, image in good(data()).items()}
    assert {name: image.sha256 for name, image in good(read).items()} == plain
