"""A tiny detector, exported as the pipeline exports, for tests of what happens to it later."""

import hashlib
import io

import numpy as np
from PIL import Image, ImageDraw

TINY_SIZE = 64
LABELS = ("cat", "dog", "rabbit")


def tiny_tflite(num_classes: int, quantize: bool, folder: str, seed: int = 0) -> bytes:
    """Three random convolutions, whose detections are arbitrary but depend on the picture."""
    import keras
    from keras import layers

    from models.networks.families import DetectorConfig
    from models.settings import PostProcessing
    from models.tflite.export import export_tflite

    keras.utils.set_random_seed(seed)
    config = DetectorConfig(num_classes=num_classes, input_size=TINY_SIZE)
    per_cell = len(config.anchors) // 16
    image = keras.Input((TINY_SIZE, TINY_SIZE, 3))
    x = layers.DepthwiseConv2D(3, padding="same", depthwise_initializer="ones")(image)
    boxes = layers.Conv2D(4 * per_cell, 16, strides=16, kernel_initializer=_normal(0.02))(x)
    logits = layers.Conv2D(
        num_classes * per_cell, 16, strides=16, kernel_initializer=_normal(0.005)
    )(x)
    network = keras.Model(
        image,
        {
            "box_encodings": layers.Reshape((-1, 4))(boxes),
            "class_logits": layers.Reshape((-1, num_classes))(logits),
        },
    )
    images = np.random.default_rng(seed).uniform(-1, 1, (4, TINY_SIZE, TINY_SIZE, 3))
    content = export_tflite(
        network,
        config,
        PostProcessing(max_detections=10, score_threshold=0.1),
        folder,
        quantize=quantize,
        representative_images=images.astype(np.float32) if quantize else None,
    )
    return described(content, LABELS[:num_classes])


def described(content: bytes, labels) -> bytes:
    """The detector with metadata of these labels."""
    from models.tflite.description import describe_detector

    return describe_detector(
        content,
        labels,
        name="pets",
        description="Finds pets.",
        version="da7a-c0de-5e77",
        provenance={
            "fingerprints": {"data": "da7a" * 16, "code": "c0de" * 16, "settings": "5e77" * 16},
            "training_step": 5,
            "comparison": {"mAP50": 0.9, "mAP": 0.6, "pictures": 12},
            "score_threshold": 0.25,
        },
        score_threshold=0.25,
    )


def _normal(deviation):
    import keras

    return keras.initializers.RandomNormal(stddev=deviation)


def hash_of(model: bytes, labels, raw: bytes | None = None) -> str:
    """As `sha256sum detect.tflite labels.txt detect_raw.tflite | sha256sum` gives it."""
    text = "".join(f"{label}\n" for label in labels).encode()
    files = {"detect.tflite": model, "labels.txt": text} | (
        {"detect_raw.tflite": raw} if raw else {}
    )
    lines = (f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in files.items())
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def picture(seed: int, size: tuple[int, int] = (120, 90)) -> bytes:
    """A JPEG file with coloured shapes; size is (width, height)."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", size, tuple(rng.integers(0, 255, 3).tolist()))
    draw = ImageDraw.Draw(image)
    for _ in range(4):
        x, y = rng.integers(0, size[0] - 30), rng.integers(0, size[1] - 30)
        draw.ellipse([x, y, x + 30, y + 25], fill=tuple(rng.integers(0, 255, 3).tolist()))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=90)
    return file.getvalue()


def raw_example(source_id: str, encoded: bytes, boxes, labels, flags=None) -> bytes:
    """A serialized tf.Example as both ExampleGens make it; `flags` by feature."""
    import tensorflow as tf

    from pipeline import features

    def strings(*values):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))

    def integer(*values):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))

    width, height = Image.open(io.BytesIO(encoded)).size
    columns = np.asarray(boxes, np.float32).reshape(-1, 4).T
    feature = {
        features.IMAGE_ENCODED: strings(encoded),
        features.IMAGE_FORMAT: strings(b"jpeg"),
        features.IMAGE_FILENAME: strings(f"{source_id}.jpg".encode(errors="surrogateescape")),
        features.SOURCE_ID: strings(source_id.encode(errors="surrogateescape")),
        features.IMAGE_SHA256: strings(hashlib.sha256(encoded).hexdigest().encode()),
        features.IMAGE_HEIGHT: integer(height),
        features.IMAGE_WIDTH: integer(width),
        features.CLASS_TEXT: strings(*(label.encode() for label in labels)),
    } | {
        key: tf.train.Feature(float_list=tf.train.FloatList(value=column))
        for key, column in zip(features.BOX, columns, strict=True)
    }
    feature |= {key: integer(*values) for key, values in (flags or {}).items()}
    return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()
