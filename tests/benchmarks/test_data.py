import hashlib

import tensorflow as tf

from benchmarks.data import convert, make_set
from models.image import decode_image
from pipeline import features
from tests.pipeline.data_samples import VocFolder


def test_a_set_shows_the_same_pictures_in_files_that_all_differ(tmp_path):
    source = VocFolder(tmp_path / "source")
    source.add("pug_1")
    source.add("pug_2")
    make_set(source.root, tmp_path / "set", 5)
    files = [path.read_bytes() for path in (tmp_path / "set" / "images").iterdir()]
    assert len({hashlib.sha256(file).hexdigest() for file in files}) == 5
    shown = {decode_image(tf.constant(file)).numpy().tobytes() for file in files}
    assert len(shown) <= 2

    convert(tmp_path / "set", str(tmp_path / "plain.record"))
    names = {
        tf.train.Example.FromString(record).features.feature[features.SOURCE_ID].bytes_list.value[0]
        for record in tf.data.TFRecordDataset(str(tmp_path / "plain.record")).as_numpy_iterator()
    }
    assert names == {b"pug_0", b"pug_1", b"pug_2", b"pug_3", b"pug_4"}
