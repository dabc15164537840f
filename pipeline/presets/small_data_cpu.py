"""Small data sets on a CPU."""

from models.settings import Augmentation, ModelSettings, TrainingSettings
from pipeline.config import EvaluationSettings, PipelineConfig, TransformSettings


def config() -> PipelineConfig:
    """The configuration."""
    return PipelineConfig(
        name="detector",
        transform=TransformSettings(canvas_size=256),
        model=ModelSettings(
            input_size=224, depth_multiplier=0.25, head_kernel_size=3, min_scale=None
        ),
        augmentation=Augmentation(
            flip=True,
            crop_probability=0.7,
            crop_min_area=0.15,
            zoom_out_probability=0.25,
            zoom_out_max=2.0,
            brightness=0.15,
            contrast=0.3,
            saturation=0.4,
            white_balance=0.1,
        ),
        training=TrainingSettings(
            steps=2400,
            quantization_delay=2000,
            batch_size=32,
            optimizer="adam",
            learning_rate=2e-3,
            final_learning_rate=0.02,
            weight_decay=1e-3,
            warmup_steps=50,
            eval_every=200,
        ),
        evaluation=EvaluationSettings(min_map50=0.5),
    )
