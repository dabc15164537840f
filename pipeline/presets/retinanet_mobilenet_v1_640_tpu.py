"""RetinaNet on MobileNet v1 at 640x640, for a Cloud TPU.

Source: `ssd_mobilenet_v1_fpn_shared_box_predictor_640x640_coco14_sync.config` of the TensorFlow
Object Detection API. The zoo's figures for it: COCO mAP 32 in its table, 29.7 in the config; 56 ms
an image on a Titan X. There SSD on MobileNet v1 0.75 at 300x300 has mAP 18 and takes 26 ms.

    python vertex_runner.py submit ... --preset retinanet_mobilenet_v1_640_tpu \\
        --data gs://BUCKET/pets --set data.images=images --set data.annotations=annotations/xmls \\
        --warm-start gs://BUCKET/ssd_mobilenet_v1_fpn_shared_box_predictor_640x640_coco14_sync_2018_07_03.tar.gz

The checkpoint of that name was trained on COCO; `--warm-start imagenet` starts as the config did.
We have not run the preset, for want of an accelerator. The int8 file has about 30 MB (37 classes),
most of it the towers: folding the batch norms gives each of the five levels kernels of its own.

What differs from the config:
- The learning rate warms up from 0, not from 0.0133.
- The last 2,000 steps are quantization-aware; the config trains in floating point alone.
- localization_weight is 0.25: the config divides the sum over a box's four coordinates by four.
- Crops keep a box of which a quarter is visible, and its center; the config keeps any.
- Detections start at a score of 0.01, not 1e-8: suppression is quadratic in what is above it, and
  there are 51,150 anchors.
"""

from models.settings import Augmentation, ModelSettings, PostProcessing, TrainingSettings
from pipeline.config import PipelineConfig
from pipeline.settings import (
    DeviceSettings,
    EvaluationSettings,
    RewriterSettings,
    TransformSettings,
)


def config() -> PipelineConfig:
    """The configuration."""
    return PipelineConfig(
        name="retinanet-mobilenet-v1-640",
        # The smallest crop has 640 / sqrt(0.75) = 739 pixels to a side.
        transform=TransformSettings(canvas_size=736),
        model=ModelSettings(
            family="ssd_fpn",
            input_size=640,
            depth_multiplier=1.0,
            class_bias=-4.6,
            bn_momentum=0.997,
            bn_epsilon=1e-3,
            l2=4e-5,
        ),
        augmentation=Augmentation(flip=True, crop_probability=1.0, crop_min_area=0.75),
        training=TrainingSettings(
            steps=25_000,
            quantization_delay=23_000,
            batch_size=64,
            optimizer="momentum",
            learning_rate=0.04,
            warmup_steps=2000,
            focal_alpha=0.25,
            focal_gamma=2.0,
            localization_weight=0.25,
            eval_every=1000,
        ),
        post_processing=PostProcessing(iou_threshold=0.6),
        # The comparison runs on a CPU, which is slow at this size.
        rewriter=RewriterSettings(num_images=100),
        evaluation=EvaluationSettings(min_map50=0.5),
        device=DeviceSettings(max_size_mb=36),
    )
