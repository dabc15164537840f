"""The 2018 recipe: SSD MobileNet v1 0.75 at 300x300 on Oxford-IIIT Pets, 37 breeds.

Source: `ssd_mobilenet_v1_0.75_depth_quantized_300x300_pets_sync.config` of the TensorFlow Object
Detection API and the walk-through "Training and serving a realtime mobile object detector in 30
minutes with Cloud TPUs" (2018), which reports 82% mAP@.5 after 2,000 steps of 128 on a Cloud TPU,
from a checkpoint that was trained on COCO.

    python local_runner.py --preset ssd_mobilenet_v1_075_300_pets --data PETS \\
        --warm-start ssd_mobilenet_v1_0.75_depth_quantized_300x300_coco14_sync_2018_07_18.tar.gz

PETS contains `images/` and `annotations/xmls/` of the Oxford-IIIT Pet Dataset; the checkpoint is
the Object Detection API's, trained on COCO. The recipe is made for a TPU v2-8 or v3-8; on two CPU
cores it would take days. We have not run it to the end, for want of an accelerator. The
post-processing has the recipe's IoU threshold and suppresses class by class: on photographs of
three breeds, a prototype's int8 file reached mAP@.5 0.901 that way, and 0.846 with one class per
detection.
"""

from models.settings import Augmentation, ModelSettings, PostProcessing, TrainingSettings
from pipeline.config import PipelineConfig
from pipeline.settings import DataSettings, EvaluationSettings, TransformSettings


def config() -> PipelineConfig:
    """The configuration."""
    return PipelineConfig(
        name="oxford-iiit-pets",
        data=DataSettings(class_from="filename"),
        schema_dir="schema/oxford_iiit_pets",
        transform=TransformSettings(canvas_size=448),
        model=ModelSettings(
            input_size=300,
            depth_multiplier=0.75,
            head_kernel_size=1,
            min_scale=0.2,
            max_scale=0.95,
            class_bias=-4.6,
            bn_momentum=0.9,
            bn_epsilon=1e-3,
            l2=4e-5,
        ),
        augmentation=Augmentation(flip=True, crop_probability=6 / 7),
        training=TrainingSettings(
            steps=2000,
            quantization_delay=1800,
            batch_size=128,
            optimizer="momentum",
            learning_rate=0.2,
            warmup_steps=0,
            focal_alpha=0.75,
            focal_gamma=2.0,
            # The config divides the sum over a box's four coordinates by four.
            localization_weight=0.25,
            eval_every=200,
        ),
        post_processing=PostProcessing(iou_threshold=0.6),
        evaluation=EvaluationSettings(min_map50=0.8),
    )
