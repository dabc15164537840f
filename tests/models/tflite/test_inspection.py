import pytest
import tensorflow as tf

from models.tflite.inspection import (
    convolutions,
    post_processing_inputs,
    post_processing_options,
)


def converted(quantize: bool) -> bytes:
    """A CONV_2D and a TRANSPOSE_CONV, float or with weights only in int8 (dynamic range)."""
    kernel = tf.random.stateless_normal((3, 3, 3, 64), seed=(0, 1))

    @tf.function(input_signature=[tf.TensorSpec([1, 8, 8, 3], tf.float32)])
    def run(image):
        x = tf.nn.conv2d(image, kernel, 1, "SAME")
        return tf.nn.conv2d_transpose(x, kernel, [1, 16, 16, 3], 2)

    converter = tf.lite.TFLiteConverter.from_concrete_functions([run.get_concrete_function()])
    if quantize:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    return converter.convert()


def test_float_and_weight_only_convolutions_are_told_from_int8():
    plain = {conv.op: conv.dtypes for conv in convolutions(converted(quantize=False))}
    assert plain == {"CONV_2D": ("FLOAT32",) * 3, "TRANSPOSE_CONV": ("FLOAT32",) * 3}
    weights_only = {conv.op: conv.dtypes for conv in convolutions(converted(quantize=True))}
    assert weights_only["CONV_2D"] == ("FLOAT32", "INT8", "FLOAT32")


@pytest.mark.parametrize("content", [b"", b"GIF89a not a model"])
def test_other_files_are_errors(content):
    with pytest.raises(ValueError, match="Expected a TFLite file"):
        convolutions(content)


def test_a_file_cut_short_is_an_error():
    with pytest.raises(ValueError, match="whole TFLite file"):
        convolutions(converted(quantize=False)[:600])


@pytest.mark.parametrize("read", [post_processing_inputs, post_processing_options])
def test_a_file_without_post_processing_is_an_error(read):
    with pytest.raises(ValueError, match=r"one TFLite_Detection_PostProcess.*Received: 0"):
        read(converted(quantize=False))
