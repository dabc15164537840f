"""A file below 2 MB: a light pyramid on twelve blocks of MobileNet v1, at 300x300.

    python local_runner.py --data PETS --preset small_file_cpu --warm-start detect.tflite

Levels 4 to 6 of 64 filters, one separable layer in the heads and one square anchor a cell. It
starts from the backbone of a COCO detector of depth 0.75, or from ImageNet weights of that depth;
the rest is `small_data_cpu`. The finest cells have 16 pixels: for small objects there is
`small_objects_cpu`.
"""

from models.settings import ModelSettings
from pipeline.config import PipelineConfig
from pipeline.presets import small_data_cpu, small_objects_cpu


def config() -> PipelineConfig:
    """The configuration."""
    base = small_data_cpu.config()
    pyramid = small_objects_cpu.config().model.pyramid.model_copy(update={"min_level": 4})
    model = ModelSettings(
        family="ssd_fpn",
        input_size=300,
        depth_multiplier=0.75,
        backbone_blocks=12,
        pyramid=pyramid,
        bn_momentum=base.model.bn_momentum,
    )
    training = base.training.model_copy(update={"frozen_blocks": 5})
    return base.model_copy(update={"name": "small-file", "model": model, "training": training})
