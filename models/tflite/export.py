"""From a trained network to the .tflite that ships. TensorFlow only: it is export."""

from collections.abc import Iterable

import keras
import numpy as np
import tensorflow as tf

from models.networks.boxes import BOX_SCALES
from models.networks.fake_quant import FakeQuantActivation, QuantConv2D, QuantDepthwiseConv2D
from models.networks.families import DetectorConfig
from models.settings import PostProcessing
from models.tflite.detector import INPUT_NAME

# Signature outputs, in the order of the post-processing op's outputs.
OUTPUT_NAMES = (
    "detection_boxes",
    "detection_classes",
    "detection_scores",
    "num_detections",
)


class _ServingModule(tf.Module):
    """The network with its post-processing, as the converter wants to see it."""

    def __init__(self, network: keras.Model, config: DetectorConfig, settings: PostProcessing):
        super().__init__(name="serving")
        self.network = network
        # Without this list the converter does not see the variables of a Keras 3 network as
        # constants, and aborts the process.
        self.pinned_variables = [variable.value for variable in network.variables]
        self.anchors = tf.constant(config.anchors)
        size = config.input_size
        self._post_process = _composite_op(config, settings)
        self.serving_default = tf.function(
            self._serve,
            input_signature=[tf.TensorSpec([1, size, size, 3], tf.float32, name=INPUT_NAME)],
        )

    def _serve(self, images):
        outputs = self.network(images, training=False)
        scores = tf.sigmoid(outputs["class_logits"])
        detections = self._post_process(outputs["box_encodings"], scores, self.anchors)
        return dict(zip(OUTPUT_NAMES, detections, strict=True))


def _composite_op(config: DetectorConfig, settings: PostProcessing):
    """A function that the converter replaces by the TFLite_Detection_PostProcess kernel.

    Its class scores have no background column, which the kernel takes as well as one.
    """
    y_scale, x_scale, h_scale, w_scale = BOX_SCALES
    attributes = {
        "max_detections": settings.max_detections,
        "max_classes_per_detection": 1,
        "detections_per_class": settings.max_detections,
        "use_regular_nms": settings.regular_nms,
        "nms_score_threshold": settings.score_threshold,
        "nms_iou_threshold": settings.iou_threshold,
        "num_classes": config.num_classes,
        "y_scale": y_scale,
        "x_scale": x_scale,
        "h_scale": h_scale,
        "w_scale": w_scale,
    }

    def spell(name, value):
        if isinstance(value, bool):
            return f'key: "{name}" value {{ b: {str(value).lower()} }}'
        if isinstance(value, int):
            return f'key: "{name}" value {{ i: {value} }}'
        return f'key: "{name}" value {{ f: {value} }}'

    attrs = " ".join(f"attr {{ {spell(*item)} }}" for item in attributes.items())
    implements = f'name: "TFLite_Detection_PostProcess" {attrs}'

    count = settings.max_detections

    @tf.function(experimental_implements=implements)
    def tflite_detection_post_process(box_encodings, class_scores, anchors):
        # Only the shapes matter: the kernel takes this function's place. Each output uses an
        # input, or the converter would drop that input.
        marker = 0 * (tf.reduce_sum(box_encodings) + tf.reduce_sum(class_scores))
        marker += 0 * tf.reduce_sum(anchors)
        return (
            tf.zeros([1, count, 4]) + marker,
            tf.zeros([1, count]) + marker,
            tf.zeros([1, count]) + marker,
            tf.zeros([1]) + marker,
        )

    return tflite_detection_post_process


def export_tflite(
    network: keras.Model,
    config: DetectorConfig,
    settings: PostProcessing,
    work_dir: str,
    quantize: bool = True,
    representative_images: Iterable[np.ndarray] | None = None,
    float16: bool = False,
) -> bytes:
    """Converts a network.

    Args:
      network: from `models.networks.families.build_network`. The quantized form carries its
        ranges; the float form needs `representative_images` to be quantized.
      config: the network's.
      settings: of the post-processing that becomes part of the file.
      work_dir: an existing folder for the intermediate SavedModel.
      quantize: int8 inside and a uint8 input; otherwise float32 throughout.
      representative_images: float32 [S, S, 3] in [-1, 1], for post-training quantization.
      float16: weights in float16, for GPUs, and a float32 input; not with `quantize`.

    Returns:
      The flatbuffer. Input `normalized_input_image_tensor` [1, S, S, 3]: uint8, whose value v
      means (v - 127.5) / 127.5 up to half a step, or float32 in [-1, 1]. Signature
      `serving_default` with the outputs of `OUTPUT_NAMES`.
    """
    module = _ServingModule(network, config, settings)
    tf.saved_model.save(module, work_dir, signatures=module.serving_default)
    converter = tf.lite.TFLiteConverter.from_saved_model(work_dir)
    converter.allow_custom_ops = True
    if quantize:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.inference_input_type = tf.uint8
        if representative_images is not None:
            images = [image[None] for image in representative_images]
            converter.representative_dataset = lambda: ([image] for image in images)
    elif float16:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]
    return converter.convert()


def without_rounding(network: keras.Model) -> keras.Model:
    """The network with the same weights, but without fake quantization: for floating point."""
    plain_kinds = {
        QuantConv2D: keras.layers.Conv2D,
        QuantDepthwiseConv2D: keras.layers.DepthwiseConv2D,
    }

    def plain(layer):
        if isinstance(layer, FakeQuantActivation):
            return keras.layers.Identity(name=layer.name)
        return plain_kinds.get(type(layer), type(layer)).from_config(layer.get_config())

    twin = keras.models.clone_model(network, clone_function=plain)
    for layer in network.layers:
        if layer.weights and not isinstance(layer, FakeQuantActivation):
            twin.get_layer(layer.name).set_weights(layer.get_weights())
    return twin
