"""The embedded default: drawn animals' heads, a small detector trained from random weights."""

from models.settings import Augmentation, ModelSettings, TrainingSettings
from pipeline.config import EvaluationSettings, PipelineConfig, TransformSettings


def config() -> PipelineConfig:
    """The configuration."""
    return PipelineConfig(
        name="demo",
        schema_dir="schema/demo",
        transform=TransformSettings(canvas_size=160),
        model=ModelSettings(input_size=160, depth_multiplier=0.25, head_kernel_size=1),
        augmentation=Augmentation(
            flip=True,
            crop_probability=0.5,
            crop_min_area=0.3,
            zoom_out_probability=0.2,
            zoom_out_max=1.5,
            brightness=0.1,
            contrast=0.2,
            saturation=0.2,
        ),
        training=TrainingSettings(
            steps=700,
            quantization_delay=600,
            batch_size=32,
            optimizer="adam",
            learning_rate=4e-3,
            weight_decay=1e-4,
            warmup_steps=50,
            eval_every=100,
        ),
        evaluation=EvaluationSettings(min_map50=0.85),
    )
