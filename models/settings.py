"""Every setting of the detector and its training, typed and checked.

Reads without importing Keras.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
NotNegative = Annotated[float, Field(ge=0.0)]
Count = Annotated[int, Field(ge=1)]

# The families that a setting has an effect on, where it is not all of them.
_FAMILIES = {
    "extra_depth_multiplier": ("ssd",),
    "head_kernel_size": ("ssd",),
    "min_scale": ("ssd",),
    "max_scale": ("ssd",),
    "pyramid": ("ssd_fpn", "retinanet"),
    "backbone_blocks": ("ssd_fpn",),
    "resnet_activation": ("retinanet",),
}


class Settings(BaseModel):
    """A group of settings: immutable, and an unknown name is an error."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )


class PyramidSettings(Settings):
    """The feature pyramid and its predictor, of the families `ssd_fpn` and `retinanet`.

    The defaults are the zoo's; a detector for phones starts at level 3 or 4, is separable and has
    one or two layers of 64 to 128 filters.
    """

    min_level: Literal[3, 4] = 3
    """The finest level; level l has one cell every 2**l pixels."""
    max_level: Annotated[int, Field(ge=5, le=7)] = 7
    """The coarsest level."""
    depth: Count = 256
    """Filters of every level."""
    head_layers: Annotated[int, Field(ge=0, le=8)] = 4
    """Layers of each of the two towers before the predictions."""
    head_depth: Count = 256
    """Filters of the towers."""
    separable: bool = False
    """Depthwise separable convolutions, and 1x1 predictions, in the place of 3x3 convolutions."""
    anchor_scale: Annotated[float, Field(gt=0.0, le=16.0)] | None = 4.0
    """Side of a level's smallest square anchor, in cells; null fits it to the sizes and ratios of
    the training boxes."""
    scales_per_octave: Annotated[int, Field(ge=1, le=4)] = 2
    """Sizes of the anchors of a cell, between this level's and the next one's."""
    anchor_ratios: Annotated[tuple[Positive, ...], Field(min_length=1)] = (1.0, 2.0, 0.5)
    """Width / height of the anchors of each size."""


class ModelSettings(Settings):
    """The network. Two networks with equal settings and classes have equal weights."""

    family: Literal["ssd", "ssd_fpn", "retinanet"] = "ssd"
    """SSD on MobileNet v1; RetinaNet's adaptation to MobileNet v1; RetinaNet on ResNet-50."""
    input_size: Annotated[int, Field(ge=64, le=1024)] = 300
    """Side of the square input, pixels."""
    depth_multiplier: Annotated[float, Field(ge=0.125, le=1.0)] = 0.75
    """Scales the number of filters of every layer of the backbone."""
    extra_depth_multiplier: Annotated[float, Field(ge=0.125, le=1.0)] | None = None
    """The same for ssd's four maps after the backbone; null uses depth_multiplier."""
    head_kernel_size: Literal[1, 3] = 1
    """Of ssd's prediction layers: 1 in the zoo's ssd_mobilenet_v1, 3 in the paper."""
    min_scale: Annotated[float, Field(gt=0.0, lt=1.0)] | None = 0.2
    """Side of the anchors of ssd's finest map, as a fraction of the image; null fits it to the
    sizes and ratios of the training boxes."""
    max_scale: Annotated[float, Field(gt=0.0, le=1.0)] = 0.95
    """The same for the coarsest map; the maps between are evenly spaced."""
    pyramid: PyramidSettings = PyramidSettings()
    """The feature pyramid, of the families ssd_fpn and retinanet."""
    backbone_blocks: Literal[12, 13] = 13
    """Of ssd_fpn's MobileNet: 12 leaves out the last block, a third of the backbone's weights."""
    resnet_activation: Literal["relu", "relu6"] = "relu"
    """Of retinanet's backbone: relu as in ImageNet's weights, or relu6 as in the zoo's detector."""
    class_bias: float = -4.6
    """Initial bias of the class logits; -4.6 is a probability of 0.01, which keeps focal loss
    stable at the start (Lin et al., section 4.1)."""
    bn_momentum: Fraction = 0.9
    """Of the batch norms' moving averages ("decay" in the Object Detection API)."""
    bn_epsilon: Positive = 1e-3
    """Added to the batch norms' variance."""
    l2: NotNegative = 4e-5
    """Weight of the L2 loss, half the squared norm of the kernels."""

    @model_validator(mode="after")
    def _check(self):
        if self.min_scale is not None and self.min_scale >= self.max_scale:
            raise ValueError(
                f"model.min_scale ({self.min_scale}) must be below "
                f"model.max_scale ({self.max_scale})"
            )
        for name, families in _FAMILIES.items():
            default = ModelSettings.model_fields[name].default
            if self.family not in families and getattr(self, name) != default:
                raise ValueError(
                    f"model.{name} has no effect on model.family={self.family}: leave it at its "
                    f"default ({'null' if default is None else default})"
                )
        return self


class Augmentation(Settings):
    """Augmentation of the training examples. By default, none."""

    flip: bool = False
    """Mirror half of the images."""
    crop_probability: Fraction = 0.0
    """Share of images that are cropped as in SSD."""
    crop_min_area: Annotated[float, Field(gt=0.0, le=1.0)] = 0.1
    """Smallest area of a crop, as a fraction of the image."""
    zoom_out_probability: Fraction = 0.0
    """Share of images that are shrunk, on a gray background."""
    zoom_out_max: Annotated[float, Field(ge=1.0)] = 2.0
    """Side of the largest zoomed-out view, relative to the image's."""
    mosaic: Fraction = 0.0
    """Share of images that show four views, in the quarters of the image, during the first nine
    tenths of training."""
    min_visible: Fraction = 0.25
    """A box is kept if its center and at least this fraction of its area are visible."""
    brightness: Fraction = 0.0
    """Largest shift, as a fraction of 255."""
    contrast: Fraction = 0.0
    """Largest relative change."""
    saturation: Fraction = 0.0
    """Largest relative change."""
    white_balance: Fraction = 0.0
    """Largest relative change of each colour channel."""

    @model_validator(mode="after")
    def _check_shares(self):
        if self.crop_probability + self.zoom_out_probability > 1:
            raise ValueError(
                f"augmentation.crop_probability ({self.crop_probability}) and "
                f"augmentation.zoom_out_probability ({self.zoom_out_probability}) must add up to "
                "at most 1: an image gets one or the other"
            )
        return self


class TrainingSettings(Settings):
    """The optimisation."""

    minutes: NotNegative = 0.0
    """Above 0, this machine is measured and the steps are chosen so that the whole run ends within
    so many minutes: steps, quantization_delay, warmup_steps and eval_every keep their proportions.
    On Vertex AI the minutes are those of the training job, from the Trainer's start."""
    steps: Count = 2000
    """Training steps, quantization-aware ones included."""
    batch_size: Count = 32
    """Images per step, over all replicas."""
    optimizer: Literal["momentum", "adam"] = "momentum"
    """Momentum is SGD with momentum 0.9; adam is AdamW."""
    learning_rate: Positive = 0.05
    """At its peak."""
    final_learning_rate: NotNegative = 0.0
    """At the last step of the cosine decay, as a fraction of the peak."""
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    """Steps of linear growth from 0 to the peak."""
    weight_decay: NotNegative = 0.0
    """Decoupled weight decay, for adam."""
    clip_norm: NotNegative = 10.0
    """Largest global norm of the gradients; 0 does not clip."""
    ema_momentum: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Momentum per step of the moving average of the weights, smaller during the first steps. The
    averages are evaluated and ship. 0 does not average."""
    frozen_blocks: Annotated[int, Field(ge=0, le=13)] = 0
    """The first blocks of the backbone that keep the weights of the warm start. Without a warm
    start nothing is frozen."""
    frozen_batch_norms: bool = False
    """The backbone's batch norms stay as the warm start has them, statistics and scales. Steps are
    faster by a fifth. Without a warm start they are trained."""
    class_loss: Literal["focal", "quality_focal"] = "focal"
    """Quality focal loss teaches a class's score how well the box fits."""
    focal_alpha: Fraction = 0.75
    """Weight of positive class targets; the others weigh 1 - alpha. Of the focal loss."""
    focal_gamma: NotNegative = 2.0
    """How strongly well classified anchors are discounted."""
    box_loss: Literal["smooth_l1", "giou"] = "smooth_l1"
    """On the encoded boxes, or on the overlap of the boxes themselves."""
    localization_weight: Positive = 1.0
    """Of the box loss relative to the class loss."""
    matching: Literal["iou", "atss"] = "iou"
    """Which anchors learn a box: those that overlap it by match_iou, or those that overlap it
    better than is usual near its center."""
    match_iou: Fraction = 0.5
    """An anchor is matched with a box from this overlap on."""
    quantization_delay: Annotated[int, Field(ge=0)] = 1800
    """The step at which quantization-aware training starts (quantization: aware)."""
    eval_every: Count = 200
    """Steps between evaluations. Each also writes a checkpoint."""
    eval_images: Count = 500
    """Images that the evaluations during training use, at most."""
    steps_per_execution: Count = 1
    """Steps per call of the compiled program; more of them keep a TPU busy."""
    jit_compile: Literal["auto", "on", "off"] = "auto"
    """XLA; auto uses it on TPUs and GPUs. On CPUs it slows training down."""
    distribution: Literal["auto", "one_device"] = "auto"
    """TPUStrategy on a TPU, MirroredStrategy on several GPUs, one device otherwise."""
    seed: Annotated[int, Field(ge=0)] = 1
    """Of the initial weights, the order of the images and their augmentation."""

    @model_validator(mode="after")
    def _check(self):
        default = TrainingSettings.model_fields["focal_alpha"].default
        if self.class_loss == "quality_focal" and self.focal_alpha != default:
            raise ValueError(
                "training.focal_alpha has no effect on training.class_loss=quality_focal: leave it "
                f"at its default ({default})"
            )
        return self


class PostProcessing(Settings):
    """The detection post-processing, which is part of the file that ships."""

    regular_nms: bool = True
    """Suppress class by class, so that boxes of two classes may overlap. Otherwise each anchor gets
    only its best class, and suppression is across classes, which is faster."""
    iou_threshold: Annotated[float, Field(gt=0.0, le=1.0)] = 0.6
    """A box that overlaps a better one by more than this is dropped."""
    score_threshold: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.01
    """Detections below it are dropped."""
    max_detections: Annotated[int, Field(ge=1, le=1000)] = 100
    """Detections per image, at most."""


def check_batch(batch_size: int, replicas: int) -> None:
    """Checks that a global batch divides by the replicas.

    Raises:
      ValueError: when it does not; suggests the nearest sizes that do.
    """
    if batch_size % replicas:
        lower = batch_size // replicas * replicas
        sizes = [str(size) for size in (lower, lower + replicas) if size]
        raise ValueError(
            f"Expected training.batch_size to divide by the {replicas} replicas. "
            f"Received: {batch_size}. Set it to {' or '.join(sizes)}."
        )
