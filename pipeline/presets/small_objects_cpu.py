"""Small objects on a CPU: RetinaNet's pyramid on MobileNet v1, made light for phones.

    python local_runner.py --data BOARDS --warm-start detect.tflite

Levels 3 to 6 of 64 filters at 320x320, one separable layer in the heads, and one square anchor a
cell: ATSS makes more of them unnecessary. The rest is `small_data_cpu`, with mosaics.

Without --preset, your own data get this preset when a tenth of their objects, or half of those of a
class, are smaller than 8% of the image's side.

Results of the int8 file after 300 steps from the backbone of a COCO detector of depth 0.75 (one
fold, one seed, two CPU cores that other programs used, too, November 2026), as mAP@.5 and
mAP@[.5:.95]:
- 240 pictures of circuit boards with six kinds of tiny defects (DeepPCB), 120 held out: 0.601 and
  0.297, still rising fast; 2.35 MB;
- 200 street scenes with five classes, the smallest a few pixels wide (CARLA), 100 held out: 0.333
  and 0.171.
An earlier trial on the circuit boards, also 300 steps, the fake-quantized network: 0.570 and 0.243;
SSD with all of the COCO detector 0.467 and 0.184.
"""

from models.settings import ModelSettings, PyramidSettings
from pipeline.config import PipelineConfig
from pipeline.presets import small_data_cpu


def config() -> PipelineConfig:
    """The configuration."""
    base = small_data_cpu.config()
    model = ModelSettings(
        family="ssd_fpn",
        input_size=320,
        depth_multiplier=0.25,
        pyramid=PyramidSettings(
            min_level=3,
            max_level=6,
            depth=64,
            head_layers=1,
            head_depth=64,
            separable=True,
            anchor_scale=None,
            scales_per_octave=1,
            anchor_ratios=(1.0,),
        ),
        bn_momentum=base.model.bn_momentum,
    )
    augmentation = base.augmentation.model_copy(update={"mosaic": 0.25})
    return base.model_copy(
        update={"name": "small-objects", "model": model, "augmentation": augmentation}
    )
