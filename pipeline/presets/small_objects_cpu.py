"""Small objects on a CPU: RetinaNet's pyramid on MobileNet v1, made light for phones.

    python local_runner.py --data BOARDS --warm-start detect.tflite

Levels 3 to 6 of 64 filters at 320x320, one separable layer in the heads, and one square anchor a
cell: ATSS makes more of them unnecessary. The rest is `small_data_cpu`, with mosaics.

Without --preset, your own data get this preset when a tenth of their objects, or half of those of a
class, are smaller than 8% of the image's side. When half of all objects are smaller than 6%, they
also get 448x448 pixels in batches of 16, which take as long as 320x320 in batches of 32.

Results of the int8 file from the backbone of a COCO detector of depth 0.75 (one fold, one seed, two
CPU cores that other programs used, too, November 2026), as mAP@.5 and mAP@[.5:.95]:
- 240 pictures of circuit boards with six kinds of tiny defects (DeepPCB, objects of 5% of the
  image's side), 120 held out, 300 steps: 0.601 and 0.297, without mosaics 0.614 and 0.294, with
  448x448 pixels in batches of 16 0.692 and 0.349; 1,200 steps at 320x320: 0.769 and 0.404, 2.29 MB;
- 200 street scenes with five classes, the smallest a few pixels wide (CARLA), 100 held out, 300
  steps: 0.333 and 0.171, with 448x448 pixels in batches of 16 0.372 and 0.184; so with the 1,200
  steps that are chosen for them: 0.517 and 0.276 (from AP@.5 0.870 for vehicles to 0.072 for
  traffic signs), 2.33 MB;
- 288 drawn pictures of blood cells, up to 23 in each, which overlap, with missing labels, 74 held
  out, the 1,200 steps that are chosen for them: 0.943 and 0.679, the platelets, 7% of the image's
  side, 0.934 at .5; 2.30 MB.
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
