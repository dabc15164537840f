"""The built-in demo: drawn animals' heads, and a small detector trained from random weights.

    make run

Results on 800 pictures, 168 of them held out, on two CPU cores, November 2026: int8 mAP@.5 0.996,
mAP@[.5:.95] 0.681, 0.52 MB. Of nothing but the rounding came 0.994 and 0.693 (overlaps summed in
another order), 1.000 and 0.722 (with TensorFlow's graph optimizer, too), and 0.995 and 0.705 (TFX
1.21); two seeds on canvases that were not compressed had 1.000 and 0.995, 0.716 and 0.729. The run
takes two to three minutes, an unchanged second one 14 s. With SGD, and SSD's matching and losses,
it was 0.988 or 0.962 by the machine's rounding, and 0.77 after a change of nothing but the
rounding.
Small batches matter here: from random weights, the number of updates counts more than the number
of images.
"""

from models.settings import Augmentation, ModelSettings, TrainingSettings
from pipeline.config import PipelineConfig
from pipeline.settings import EvaluationSettings, TransformSettings


def config() -> PipelineConfig:
    """The configuration."""
    return PipelineConfig(
        name="demo",
        schema_dir="schema/demo",
        transform=TransformSettings(canvas_size=160),
        model=ModelSettings(input_size=160, depth_multiplier=0.25, min_scale=0.35),
        augmentation=Augmentation(flip=True),
        training=TrainingSettings(
            steps=700,
            quantization_delay=600,
            batch_size=16,
            optimizer="adam",
            learning_rate=4e-3,
            final_learning_rate=0.01,
            warmup_steps=50,
            ema_momentum=0.98,
            matching="atss",
            class_loss="quality_focal",
            box_loss="giou",
            localization_weight=2.0,
            eval_every=100,
        ),
        evaluation=EvaluationSettings(min_map50=0.85),
    )
