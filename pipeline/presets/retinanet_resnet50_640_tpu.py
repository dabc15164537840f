"""RetinaNet on ResNet-50 at 640x640, for a Cloud TPU.

Source: `ssd_resnet50_v1_fpn_shared_box_predictor_640x640_coco14_sync.config` of the TensorFlow
Object Detection API. The zoo's figures for it: COCO mAP 35 in its table, 35.2 in the config, 36.9
after 50,000 steps; 76 ms an image on a Titan X.

    python vertex_runner.py submit ... --preset retinanet_resnet50_640_tpu \\
        --data gs://BUCKET/pets --set data.images=images --set data.annotations=annotations/xmls \\
        --warm-start gs://BUCKET/ssd_resnet50_v1_fpn_shared_box_predictor_640x640_coco14_sync_2018_07_03.tar.gz

The checkpoint of that name was trained on COCO. `--warm-start imagenet` starts as the config did,
from weights that were trained with relu, but under relu6; `--set model.resnet_activation=relu`
keeps what they compute. We have not run the preset, for want of an accelerator. The int8 file has
about 51 MB (37 classes). L2, backbone and activation apart, it is `retinanet_mobilenet_v1_640_tpu`,
whose notes say what differs from the API's config.
"""

from pipeline.config import PipelineConfig
from pipeline.presets import retinanet_mobilenet_v1_640_tpu
from pipeline.settings import DeviceSettings


def config() -> PipelineConfig:
    """The configuration."""
    mobilenet = retinanet_mobilenet_v1_640_tpu.config()
    backbone = {"family": "retinanet", "resnet_activation": "relu6", "l2": 4e-4}
    return mobilenet.model_copy(
        update={
            "name": "retinanet-resnet50-640",
            "model": mobilenet.model.model_copy(update=backbone),
            "device": DeviceSettings(max_size_mb=60),
        }
    )
