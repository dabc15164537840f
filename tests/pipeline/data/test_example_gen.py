"""Both ExampleGens: their settings, and runs of driver and executor on small data."""

import hashlib
import json
import os
import shutil
from pathlib import Path

import ml_metadata as mlmd
import pytest
import tensorflow as tf
import tfx.v1 as tfx

from pipeline import features
from pipeline.beam_options import IN_PROCESS
from pipeline.data.example_gen import DetectionExampleGen
from pipeline.data.example_gen_executor import read_settings
from pipeline.data.readers.voc import VocItem, read_annotation
from pipeline.errors import UserError
from tests.pipeline.data_samples import (
    CAT,
    DOG,
    VocFolder,
    od_record,
    picture,
    samples,
    serialize,
    write_coco,
    write_records,
    write_voc,
    write_yolo,
)

slow = pytest.mark.slow


@pytest.fixture
def voc(tmp_path):
    return VocFolder(tmp_path / "voc")


class Run:
    """A pipeline of one ExampleGen, and what it wrote."""

    def __init__(self, component, root, beam_args=IN_PROCESS):
        connection = tfx.orchestration.metadata.sqlite_metadata_connection_config(
            str(root / "metadata.db")
        )
        pipeline = tfx.dsl.Pipeline(
            "test", str(root), components=[component], metadata_connection_config=connection,
            enable_cache=True, beam_pipeline_args=list(beam_args),
        )  # fmt: skip
        tfx.orchestration.LocalDagRunner().run(pipeline)
        store = mlmd.MetadataStore(connection)
        self.artifacts = store.get_artifacts_by_type("Examples")
        artifact = max(self.artifacts, key=lambda found: found.id)
        self.uri = artifact.uri
        self.split_names = json.loads(artifact.properties["split_names"].string_value)
        self.properties = {
            name: value.int_value if value.HasField("int_value") else value.string_value
            for name, value in artifact.custom_properties.items()
        }

    def report(self, name):
        with open(f"{self.uri}/{name}.jsonl") as lines:
            return [json.loads(line) for line in lines]

    def examples(self, side):
        """Serialized examples by id."""
        paths = tf.io.gfile.glob(f"{self.uri}/Split-{side}/*")
        found = {}
        for record in tf.data.TFRecordDataset(paths).as_numpy_iterator():
            example = tf.train.Example.FromString(record)
            [image_id] = example.features.feature[features.SOURCE_ID].bytes_list.value
            assert image_id not in found
            found[image_id.decode()] = example
        return found

    def sides(self):
        return {line["id"]: line["split"] for line in self.report("images")}


@slow
def test_files_do_not_depend_on_how_many_workers_there_are(voc, tmp_path):
    voc.fill(40)
    several = ("--direct_running_mode=multi_threading", "--direct_num_workers=3")
    one = Run(DetectionExampleGen(str(voc.root)), tmp_path / "one")
    beam_args = [IN_PROCESS[0], *several, IN_PROCESS[2]]
    three = Run(DetectionExampleGen(str(voc.root)), tmp_path / "three", beam_args)
    for side in ("train", "eval"):
        [path] = Path(one.uri, f"Split-{side}").iterdir()
        assert path.read_bytes() == Path(three.uri, f"Split-{side}", path.name).read_bytes()


@slow
def test_examples_are_ordered_by_a_hash_so_the_first_ones_are_a_fair_sample(voc, tmp_path):
    voc.fill(40)
    run = Run(DetectionExampleGen(str(voc.root)), tmp_path / "root")
    ids = list(run.examples("train"))
    assert ids == sorted(ids, key=lambda name: hashlib.sha256(name.encode()).digest())
    assert ids != sorted(ids)
    assert not Path(run.uri, "staging").exists()


@slow
def test_a_voc_folder_with_many_kinds_of_problems(voc, tmp_path):
    voc.fill(10)
    voc.add("negative", ())
    voc.add("png_named_jpg", (DOG,), picture(1, image_format="PNG"))
    voc.add("gray", (DOG,), picture(2, "L"))
    voc.add("cmyk", (DOG,), picture(3, "CMYK"))
    voc.add("truncated", (CAT,), picture(4)[:-50])
    voc.add("large", (CAT,), picture(4, size=(33, 24)), size=(33, 24))
    voc.add("outside", [("cat", 1, 2, 99, 9)])
    voc.add("copy")
    shutil.copy(voc.xmls / "cat_0.xml", voc.xmls / "copy.xml")  # names cat_0.jpg
    (voc.images / "unannotated.jpg").write_bytes(picture(9))
    (voc.images / "cat_0.mat").write_bytes(b"stray")
    (voc.images / ".DS_Store").write_bytes(b"stray")
    (voc.xmls / "._cat_0.xml").write_bytes(b"stray")
    (voc.xmls / "readme.txt").write_text("stray")

    run = Run(
        DetectionExampleGen(str(voc.root), max_set_aside=0.3, max_megapixels=0.00078),
        tmp_path / "root",
    )

    good = {f"cat_{n}" for n in range(10)} | {"negative", "png_named_jpg", "gray", "cmyk"}
    train, evaluation = run.examples("train"), run.examples("eval")
    assert run.split_names == ["train", "eval"]
    assert train.keys() | evaluation.keys() == good
    assert dict.fromkeys(train, "train") | dict.fromkeys(evaluation, "eval") == run.sides()
    assert {line["file"]: line["kind"] for line in run.report("set_aside")} == {
        "annotations/xmls/copy.xml": "ambiguous_image",
        "annotations/xmls/large.xml": "too_large",
        "annotations/xmls/outside.xml": "box_outside",
        "annotations/xmls/truncated.xml": "unreadable_image",
    }
    assert {line["file"] for line in run.report("ignored")} == {
        "images/unannotated.jpg", "images/cat_0.mat", "images/.DS_Store",
        "annotations/xmls/._cat_0.xml", "annotations/xmls/readme.txt",
    }  # fmt: skip
    counts = {
        "num_train": len(train), "num_eval": len(evaluation), "num_test": 0, "num_negatives": 1,
        "num_set_aside": 4, "num_ignored": 5, "num_turned": 0, "leaked_images": 0,
    }  # fmt: skip
    assert counts.items() < run.properties.items()
    assert json.loads(run.properties["set_aside_reasons"]) == {
        "ambiguous_image": 1, "box_outside": 1, "too_large": 1, "unreadable_image": 1,
    }  # fmt: skip
    assert len(run.properties["data_fingerprint"]) == 64
    by_id = {line["id"]: line for line in run.report("images")}
    assert by_id["cat_0"]["classes"] == {"cat": 1, "dog": 1}
    assert by_id["cat_0"]["file"] == "images/cat_0.jpg"
    assert not tf.io.gfile.exists(f"{run.uri}/staging")


@slow
def test_growing_data_keeps_its_sides_and_misses_the_cache(voc, tmp_path):
    root = tmp_path / "root"
    voc.fill(10)
    before = Run(DetectionExampleGen(str(voc.root)), root)
    assert len(Run(DetectionExampleGen(str(voc.root)), root).artifacts) == 1, "not cached"
    voc.fill(6, "dog")
    after = Run(DetectionExampleGen(str(voc.root)), root)
    assert len(after.artifacts) == 2
    assert before.sides().items() < after.sides().items()
    assert before.properties["data_fingerprint"] != after.properties["data_fingerprint"]


@slow
def test_voc_yolo_and_coco_give_the_same_files_byte_for_byte(tmp_path):
    images = samples(12, ["train", "val", "test"])
    runs = []
    for write in (write_voc, write_yolo, write_coco):
        folder = write(tmp_path / write.__name__, images)
        runs.append(Run(DetectionExampleGen(str(folder)), tmp_path / f"{write.__name__}_root"))
    contents = [
        [path.read_bytes() for path in sorted(Path(run.uri).glob("Split-*/*"))] for run in runs
    ]
    assert len(contents[0]) == 3
    assert contents[0] == contents[1] == contents[2]
    assert len({run.properties["data_fingerprint"] for run in runs}) == 1
    assert [run.properties["num_test"] for run in runs] == [4, 4, 4]


@slow
def test_folders_and_shards_give_the_same(voc, tmp_path):
    voc.fill(12)
    voc.add("negative", ())
    records = []
    for path in sorted(voc.xmls.iterdir()):
        item = VocItem(str(voc.root), f"annotations/xmls/{path.name}", ("images",), ())
        [(_, image)] = read_annotation(item, "name")
        records.append(od_record(image))
    voc.add("outside", [("cat", 1, 2, 99, 9)])
    records.append(
        records[0] | {features.SOURCE_ID: [b"outside"], features.XMAX: [99 / 32, 99 / 32]}
    )
    records = [serialize(record) for record in records]
    shards = tmp_path / "shards"
    shards.mkdir()
    write_records(shards / "pets.record-00000-of-00002", records[:5])
    write_records(shards / "pets.record-00001-of-00002", records[5:])
    (shards / "README.md").write_text("stray")

    a = Run(DetectionExampleGen(str(voc.root), max_set_aside=0.1), tmp_path / "a")
    b = Run(DetectionExampleGen(str(shards), max_set_aside=0.1), tmp_path / "b")

    assert len(a.sides()) == 13
    for side in ("train", "eval"):
        assert a.examples(side) == b.examples(side)
    assert a.properties["data_fingerprint"] == b.properties["data_fingerprint"]
    assert a.properties["num_set_aside"] == b.properties["num_set_aside"] == 1
    assert b.report("images")[1]["file"].startswith("pets.record-0000")
    assert [line["file"] for line in b.report("ignored")] == ["README.md"]


@slow
def test_train_and_eval_folders_keep_their_sides(tmp_path):
    train = VocFolder(tmp_path / "train").fill(3)
    evaluation = VocFolder(tmp_path / "elsewhere" / "eval")
    evaluation.add("cat_0", (DOG,), picture(77))  # another picture of the same name
    shutil.copy(train.images / "cat_1.jpg", evaluation.images / "leak.jpg")
    shutil.copy(train.xmls / "cat_1.xml", evaluation.xmls / "leak.xml")
    run = Run(
        DetectionExampleGen(train_data=str(train.root), eval_data=str(evaluation.root)),
        tmp_path / "root",
    )
    assert run.sides() == {
        "train/cat_0": "train", "train/cat_1": "train", "train/cat_2": "train",
        "eval/cat_0": "eval", "eval/leak": "eval",
    }  # fmt: skip
    assert run.properties["leaked_images"] == 1


@slow
def test_train_and_eval_shards_are_taken_from_the_latest_span(tmp_path, voc):
    voc.fill(3)
    for span in (1, 2):
        (tmp_path / f"span-{span}").mkdir()
    for number, (span, side) in enumerate([(1, "train"), (2, "train"), (2, "eval"), (1, "eval")]):
        item = VocItem(str(voc.root), f"annotations/xmls/cat_{number % 3}.xml", ("images",), ())
        [(_, image)] = read_annotation(item, "name")
        write_records(tmp_path / f"span-{span}" / f"{side}.record", [serialize(od_record(image))])
    run = Run(
        DetectionExampleGen(
            train_data=f"{tmp_path}/span-{{SPAN}}/train.rec*",
            eval_data=f"{tmp_path}/span-{{SPAN}}/eval.rec*",
        ),
        tmp_path / "root",
    )
    assert run.properties["span"] == 2
    assert run.sides() == {"train/cat_1": "train", "eval/cat_2": "eval"}


@slow
def test_split_lists_decide(voc, tmp_path):
    voc.fill(4)
    (tmp_path / "trainval.txt").write_text("\ufeffcat_0 1 1 1\ncat_1.jpg 1 1 1\ncat_9 1 1 1\n")
    (tmp_path / "test.txt").write_text("cat_2 1 1 1\n")
    lists = {"train_list": str(tmp_path / "trainval.txt"), "eval_list": str(tmp_path / "test.txt")}
    run = Run(DetectionExampleGen(str(voc.root), **lists, max_set_aside=0.25), tmp_path / "root")
    assert run.sides() == {"cat_0": "train", "cat_1": "train", "cat_2": "eval"}
    assert [line["id"] for line in run.report("set_aside")] == ["cat_9"]
    assert [line["reason"] for line in run.report("ignored")] == ["in none of the split lists"]


@slow
def test_a_test_side_is_a_third_split(voc, tmp_path):
    voc.fill(4)
    lists = {}
    for side, ids in (("train", "cat_0\ncat_1\n"), ("eval", "cat_2\n"), ("test", "cat_3\n")):
        (tmp_path / f"{side}.txt").write_text(ids)
        lists[f"{side}_list"] = str(tmp_path / f"{side}.txt")
    run = Run(DetectionExampleGen(str(voc.root), **lists), tmp_path / "lists")
    assert run.split_names == ["train", "eval", "test"]
    assert list(run.examples("test")) == ["cat_3"]
    assert run.properties["num_test"] == 1
    folders = {side: VocFolder(tmp_path / side).fill(2) for side in ("train", "eval", "test")}
    data = {f"{side}_data": str(folder.root) for side, folder in folders.items()}
    run = Run(DetectionExampleGen(**data), tmp_path / "folders")
    assert run.sides() == {f"{side}/cat_{n}": side for side in folders for n in (0, 1)}
    assert run.properties["leaked_images"] == 2  # each is on all three


@pytest.mark.parametrize(
    "given",
    [
        {"test_data": "c"},
        {"data": "a", "test_data": "c"},
        {"train_data": "a", "eval_data": "b", "test_data": "a"},
        {"data": "a", "test_list": "c.txt"},
    ],
)
def test_a_test_side_alone_is_rejected(voc, given, tmp_path):
    places = {name: str(VocFolder(tmp_path / name).root) for name in "abc"}
    given = {name: places.get(value, value) for name, value in given.items()}
    with pytest.raises(UserError, match="Expected"):
        DetectionExampleGen(**given)


@slow
def test_the_latest_span_of_voc_folders_is_read(tmp_path):
    VocFolder(tmp_path / "span-1").fill(12, "old")
    VocFolder(tmp_path / "span-2").fill(12, "new")
    component = DetectionExampleGen(
        str(tmp_path), images="span-{SPAN}/images", annotations="span-{SPAN}/annotations/xmls"
    )
    run = Run(component, tmp_path / "root")
    assert run.properties["span"] == 2
    assert set(run.sides()) == {f"new_{n}" for n in range(12)}


@slow
def test_too_many_unusable_images_stop_the_run(voc, tmp_path):
    voc.fill(8)
    voc.add("outside", [("cat", 1, 2, 99, 9)])
    with pytest.raises(UserError, match=r"1 of 9 annotated.*\n.*outside\.xml: box 1"):
        Run(DetectionExampleGen(str(voc.root)), tmp_path / "root")


def test_the_component_has_the_id_example_gen(voc):
    voc.fill(1)
    assert DetectionExampleGen(str(voc.root)).id == "ExampleGen"


@pytest.fixture
def offline(monkeypatch):
    """Makes every look-up in an object store fail."""

    def fail(path, *args):
        assert "://" not in str(path), f"asked for {path}"
        return os.path.isdir(path)

    for name in ("isdir", "exists", "open", "glob", "listdir"):
        monkeypatch.setattr(f"pipeline.data.example_gen.fileio.{name}", fail)


def whole_patterns(component):
    """Patterns by group as the driver joins them."""
    properties = component.exec_properties
    return {
        split["name"]: os.path.join(properties["input_base"], split["pattern"])
        for split in json.loads(properties["input_config"])["splits"]
    }


def test_of_an_object_store_every_level_that_is_searched_is_fingerprinted(offline):
    component = DetectionExampleGen(
        train_data="gs://bucket/set/train/", eval_data="gs://other/set/eval",
        images="images", annotations="annotations/xmls",
    )  # fmt: skip
    patterns = set(whole_patterns(component).values())
    assert "gs://bucket/set/train/images/*" in patterns
    assert "gs://other/set/eval/annotations/xmls/*/*" in patterns
    assert "gs://bucket/set/train/*/*" not in patterns, "searches only what is named"
    patterns = set(whole_patterns(DetectionExampleGen("gs://bucket/set")).values())
    assert patterns == {f"gs://bucket/set{'/*' * level}" for level in range(1, 6)}


@pytest.mark.parametrize(
    "path",
    [
        "gs://bucket/set/pets.record",
        "gs://bucket/set/pets.tfrecord.gz",
        "gs://bucket/set/train-00000-of-00002",
        "gs://bucket/set/train-*",
    ],
)
def test_an_object_store_is_not_asked_before_the_run(offline, path):
    patterns = whole_patterns(DetectionExampleGen(path))
    assert patterns == {"examples": path, "label_maps": "gs://bucket/set/*.pbtxt"}


@pytest.mark.parametrize(
    ("path", "root", "file"),
    [
        ("gs://bucket/tf_records", "", ""),
        ("gs://bucket/pets-v1.2", "", ""),
        ("gs://bucket/set/annotations/train.json", "", "annotations/train.json"),
        ("gs://bucket/set/valid/_annotations.coco.json", "", "_annotations.coco.json"),
        ("gs://bucket/set/data.yaml", "", "data.yaml"),
    ],
)
def test_in_an_object_store_names_tell_files_from_folders(offline, path, root, file):
    settings = read_settings(DetectionExampleGen(path).exec_properties)
    [source] = json.loads(settings["sources"])
    assert (source["root"], source["file"]) == (root, file)


def test_split_lists_of_an_object_store_are_fingerprinted_by_the_driver(offline):
    lists = {"train_list": "gs://bucket/lists/a.txt", "eval_list": "gs://bucket/lists/b.txt"}
    for component in (
        DetectionExampleGen("gs://bucket/set/pets.record", **lists),
        DetectionExampleGen("gs://bucket/set", images="i", annotations="a", **lists),
    ):
        patterns = whole_patterns(component)
        assert {name: patterns[name] for name in lists} == lists


@slow
def test_lists_that_the_driver_fingerprints_are_not_read_as_data(voc, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "pipeline.data.input_patterns.is_remote", lambda path: path.endswith(".txt")
    )
    voc.fill(3)
    (tmp_path / "a.txt").write_text("cat_0\n")
    (tmp_path / "b.txt").write_text("cat_1\n")
    lists = {"train_list": str(tmp_path / "a.txt"), "eval_list": str(tmp_path / "b.txt")}
    run = Run(DetectionExampleGen(str(voc.root), **lists), tmp_path / "root")
    assert run.sides() == {"cat_0": "train", "cat_1": "eval"}
    (tmp_path / "b.txt").write_text("cat_1\ncat_2\n")
    run = Run(DetectionExampleGen(str(voc.root), **lists), tmp_path / "root")
    assert run.sides() == {"cat_0": "train", "cat_1": "eval", "cat_2": "eval"}


def test_a_file_name_that_is_not_utf8_is_rejected(voc):
    voc.fill(1)
    (voc.images / "cat_0.jpg").rename(os.path.join(voc.images, os.fsdecode(b"caf\xe9.jpg")))
    with pytest.raises(UserError, match=r"file names in UTF-8.*caf\\xe9.jpg"):
        DetectionExampleGen(str(voc.root))


def test_settings_are_part_of_the_cache_key(voc, tmp_path):
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "b.txt").write_text("b")
    lists = {"train_list": str(tmp_path / "a.txt"), "eval_list": str(tmp_path / "b.txt")}

    voc.fill(1)

    def config(**settings):
        return DetectionExampleGen(str(voc.root), **settings).exec_properties["custom_config"]

    configs = [
        config(), config(class_from="filename"), config(eval_fraction=0.3),
        config(max_set_aside=0.5), config(max_megapixels=9), config(code_fingerprint="x"),
        config(**lists),
    ]  # fmt: skip
    (tmp_path / "a.txt").write_text("a2")
    configs.append(config(**lists))
    assert len(set(configs)) == len(configs)
    assert config() == configs[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "either data, or both"),
        ({"data": "voc", "train_data": "voc"}, "either data, or both"),
        ({"train_data": "voc"}, "either data, or both"),
        ({"train_data": "voc", "eval_data": "./voc"}, "different data"),
        ({"train_data": "voc", "eval_data": "voc/val"}, "voc/val, which is inside of"),
        ({"data": "voc", "class_from": "folder"}, "class_from"),
        ({"data": "voc", "eval_fraction": 0.0}, "eval_fraction"),
        ({"data": "voc", "max_set_aside": 2}, "max_set_aside"),
        ({"data": "voc", "train_list": "a.txt"}, "together"),
        ({"data": "voc", "train_list": "a.txt", "eval_list": "b.txt"}, "which is not a file"),
        ({"data": "voc", "images": "../other"}, "a folder inside of .*voc. Received: ../other"),
        ({"data": "voc", "images": "{SPAN}/images"}, "in both data.images and data.annotations"),
        ({"data": "voc-{SPAN}"}, "without {SPAN}"),
        ({"data": "nowhere"}, "which does not exist"),
        ({"data": "voc"}, "Looked for Pascal VOC .* Received: no files"),
        ({"data": "voc", "data_format": "kitti"}, "format to be one of auto, voc"),
        ({"data": "a.record", "class_from": "filename"}, "would be ignored"),
        ({"data": "notes.txt"}, "which is none of them"),
        ({"data": "notes.txt", "data_format": "voc"}, "which is a file"),
        ({"data": "all.json", "data_format": "yolo"}, "named like a file of COCO"),
    ],
)
def test_contradictory_arguments_are_rejected(voc, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    for name in ("notes.txt", "all.json"):
        (tmp_path / name).write_text("nothing")
    with pytest.raises(UserError, match=message):
        DetectionExampleGen(**arguments)
