"""A file below 2 MB: a light pyramid on twelve blocks of MobileNet v1, at 300x300.

    python local_runner.py --data PETS --preset small_file_cpu --warm-start detect.tflite

Levels 4 to 6 of 64 filters, one separable layer in the heads and one square anchor a cell. It
starts from the backbone of a COCO detector of depth 0.75, or from ImageNet weights of that depth;
the rest is `small_data_cpu`. The finest cells have 16 pixels: for small objects there is
`small_objects_cpu`.

Results of the int8 file on 133 photographs of three breeds of pets, a third of 200 held out, from a
COCO detector's backbone (two CPU cores that other programs used, too, November 2026), as mAP@.5 and
mAP@[.5:.95]:
- 1,200 steps: 0.928 and 0.705, 0.941 and 0.751, 0.907 and 0.671 (mean 0.925 and 0.709);
- 600 steps: 0.891 and 0.678, 0.931 and 0.723, 0.887 and 0.629 (mean 0.903 and 0.677);
- 900 steps, third fold: 0.893 and 0.655.
1.58 MB; 0.41 times the time of a result of the 2018 walk-through (in turns, one thread, x86 with
AVX-512). `small_data_cpu` has 0.936 and 0.748 on these folds after 1,200 steps, in 3.5 MB.

Tried on the first fold: 0.916 and 0.678 after 400 steps; with all thirteen blocks 0.928 and 0.684
(2.28 MB), and at 240x240 with them 0.916 and 0.633; with two layers of 128 filters in the heads,
600 steps, 0.882 and 0.673. A fold has 67 pictures: chance is worth two points.
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
    training = base.training.model_copy(
        update={"steps": 1200, "quantization_delay": 900, "frozen_blocks": 5}
    )
    return base.model_copy(update={"name": "small-file", "model": model, "training": training})
