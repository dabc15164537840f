"""The sections of the configuration.

Those of the detector itself (model, training, augmentation, post-processing) are in
`models.settings`. Light on purpose: `--help` does not wait for TensorFlow.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from models.settings import Count, Fraction, NotNegative, Positive, Settings

Accelerator = Literal[
    "tpu-v2-8", "tpu-v3-8", "tpu-v5e-1", "tpu-v5e-4", "tpu-v5e-8", "gpu-t4", "gpu-l4", "cpu"
]

# Environment variable of the training container: what its machine is paid for, such as "TPU:8".
REQUIRED_DEVICES = "REQUIRED_DEVICES"


class DataSettings(Settings):
    """Where the labelled images are and how they are split."""

    path: str = ""
    """Folder of the data set, a COCO JSON, a YOLO data.yaml or obj.data, a TFRecord file, or a
    pattern of TFRecord files, which may contain {SPAN}. Leave it empty when `train` and `eval` name
    all the data."""
    format: Literal["auto", "voc", "coco", "yolo", "tfrecord"] = "auto"
    """Of the labels: Pascal VOC, COCO JSON, YOLO, or TFRecords with the TF Object Detection API's
    keys; auto finds out."""
    class_from: Literal["name", "filename"] = "name"
    """The class is each object's own, or in the picture's file name up to its last underscore."""
    images: str = ""
    """Folder of the pictures inside the data set; empty finds it. May contain {SPAN} together with
    `annotations`."""
    annotations: str = ""
    """Folder of the labels inside the data set; empty finds it."""
    train: str = ""
    """Your own split: a list of image ids (.txt) in the data at `path`, or another data set."""
    eval: str = ""
    """The same for evaluation."""
    test: str = ""
    """The same for the test, beside the two: scored once, when a file is pushed."""
    eval_fraction: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.2
    """Without a split of your own: share of the images, chosen by a hash of their ids, that is
    held out for evaluation. In steps of 0.01."""
    max_set_aside: Fraction = 0.01
    """The run stops when a larger share of the images is unusable."""
    max_megapixels: Positive = 100.0
    """Larger images are skipped as unusable: decoding 100 megapixels takes about 0.5 GB."""
    max_unpacked_gb: Positive = 100.0
    """An archive (.zip, .tar, .tar.gz ...) that has more gigabytes unpacked is not unpacked."""

    @model_validator(mode="after")
    def _check(self):
        if bool(self.train) != bool(self.eval):
            raise ValueError("data.train and data.eval go together: set both, or neither")
        if self.test and not self.train:
            raise ValueError("data.test goes with data.train and data.eval: set all three")
        return self


class TransformSettings(Settings):
    """The images as training reads them."""

    canvas_size: Count = 448
    """Side in pixels to which images are resized once, for training; larger than the network's
    input, so that random crops keep their resolution."""


class WarmStart(Settings):
    """The weights that training starts from."""

    weights: str = ""
    """"imagenet" (Keras's own download), a file of the same kind (mobilenet_*_no_top.h5,
    resnet50_*_notop.h5, .keras), a detector of the TF Object Detection API (a .tflite file or a TF1
    checkpoint: .tar.gz, folder or prefix), a folder of an earlier run's model, or empty: random
    weights."""
    sha256: str = ""
    """Of the weights; the runner fills it in, so that other weights are another run."""
    class_heads: Literal["auto", "by_name", "fresh"] = "auto"
    """Of the Object Detection API's detectors: each class starts from the class of the same name,
    or else from the one that fires most on its objects; by_name leaves out the second, fresh
    both."""
    labels: str = ""
    """The names of the weights' classes: a label file, one name a line, or a label map (.pbtxt).
    Empty looks inside of a .tflite file, and then beside the weights."""
    labels_sha256: str = ""
    """Of the label files that may name the classes; the runner fills it in, likewise."""
    fine_tune_checkpoint_type: Literal["detection", "classification"] = "detection"
    """Of a TF1 checkpoint, as in the Object Detection API: a detector, or an image classifier of
    TF-Slim's, whose backbone is loaded."""
    load_all_detection_checkpoint_vars: bool = True
    """Load the predictors of the Object Detection API's detectors too; the API's default is off."""


class EvaluationSettings(Settings):
    """The gate."""

    min_map50: Annotated[float, Field(gt=0.0, le=1.0)] | None = None
    """The mAP@.5 that the .tflite must reach to be blessed. Required."""
    max_drop: Fraction = 0.02
    """How far mAP@.5 may be below the last blessed model's on the same images."""


class DeviceSettings(Settings):
    """The limits of the device."""

    max_size_mb: Annotated[float, Field(gt=0.0)] = 4.0
    """Largest file, in MB of 1,000,000 bytes."""
    max_latency_ms: NotNegative = 0.0
    """Largest median latency on one thread of the machine that runs the check; 0 only reports
    it."""
    num_images: Count = 20
    """Evaluation images that the check runs."""


class RewriterSettings(Settings):
    """When the .tflite counts as broken, compared with the network it was made from."""

    float16: bool = False
    """Also push detect_float16.tflite for GPUs: the raw form in floating point, with weights of 16
    bits."""
    num_images: Count = 500
    """Evaluation images that are compared, at most."""
    max_map_drop: Fraction = 0.01
    """By how much mAP@.5 and mAP@[.5:.95] may be below the network's. A larger drop is refused
    when the 95% bootstrap interval of the drop is above this, too."""
    max_raw_box_error: NotNegative = 0.3
    """Before the post-processing: how far the box encodings may be off, as the root mean square
    of the difference relative to the values' standard deviation. Measured: 0.01 to 0.07."""
    max_raw_score_error: NotNegative = 0.3
    """The same of the class scores. Measured: 0.04 to 0.12."""


class ReportSettings(Settings):
    """The page that shows what came out."""

    max_mb: Positive = 4.5
    """About the size of the page, in MB of 1,000,000 bytes: it shows as many mistakes as fit."""
    max_images: Count = 5000
    """Images of each split in which the page looks for near-duplicates and measures boxes."""


class PushSettings(Settings):
    """Where blessed models go."""

    destination: str = ""
    """Folder of the published versions; empty is `pushed` in the workdir."""


class ExecutionSettings(Settings):
    """Where a run keeps its files and on what it runs. The runners fill these in."""

    pipeline_root: str = ""
    """Folder of all artifacts; belongs to one metadata store."""
    state_dir: str = ""
    """Folder of unfinished training runs, to resume from."""
    beam_args: tuple[str, ...] = ()
    """Beam's pipeline options."""
    record_host_and_user: bool = True
    """Record on which host and by which user each run was started."""
    stock_resolver: bool = False
    """Compare with the last blessed model whatever its age: the only way Vertex AI resolves."""
    warm_start_uri: str = ""
    """Where the store knows the model that `warm_start.weights` is a copy of; the runner fills it
    in."""
    lost_versions: tuple[str, ...] = ()
    """Published versions that are no longer where they were pushed. Naming them makes the Pusher
    run again instead of being served from the cache."""
    training_service: dict[str, Any] | None = None
    """The custom job that trains, for TFX's Trainer for Vertex AI; null trains where the pipeline
    runs."""


class VertexSettings(Settings):
    """Where and on what a run on Vertex AI takes place. Local runs ignore it."""

    project: str = ""
    """Id of the Google Cloud project."""
    region: Annotated[str, Field(pattern=r"^[a-z]+-[a-z]+[0-9]+$")] = "us-central1"
    """Of everything: pipeline, training, Dataflow, bucket."""
    bucket: str = ""
    """Cloud Storage bucket, without gs://, for artifacts, checkpoints and pushed models."""
    pipeline_image: str = ""
    """Container image of every task, by digest: HOST/PATH@sha256:..."""
    trainer_image: str = ""
    """Container image of the training job, by digest, built for the accelerator."""
    accelerator: Accelerator = "tpu-v5e-8"
    """The machine that trains. TPUs from v6e on do not support TensorFlow."""
    data_processing: Literal["dataflow", "in_task"] = "dataflow"
    """Where Beam runs: on Dataflow, or for small data inside the task."""
    dataflow_machine_type: str = "n1-standard-4"
    """Of Dataflow's workers."""
    dataflow_max_workers: Count = 8
    """Most workers that Dataflow may start."""
    max_overrun: Annotated[float, Field(ge=1.0)] = 4.0
    """How many times its estimate a step may take before it is ended; --max-cost lowers it."""
    service_account: str = ""
    """Account that the pipeline runs as; empty is the project's default account."""
    network: str = ""
    """projects/NUMBER/global/networks/NAME, to keep traffic inside a VPC."""
    subnetwork: str = ""
    """URL of the subnetwork of Dataflow's workers, if the network has custom subnetworks."""
    encryption_key: str = ""
    """Customer-managed key: projects/P/locations/R/keyRings/K/cryptoKeys/N."""
    labels: tuple[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*=[a-z0-9_-]*$")], ...] = ()
    """key=value, on every resource that the run creates."""
    caching: bool = True
    """Reuse the outputs of identical earlier tasks."""
    model_registry: bool = False
    """Register each pushed model in the Model Registry, with its metrics and lineage labels."""
    notify_webhook: Annotated[str, Field(pattern=r"^(https?://\S+)?$")] = ""
    """URL that gets a POST when a run ends; its JSON says how, in `text` and `status` (pushed,
    not_blessed, failed or cancelled). Who can read the project's runs can read the URL."""
    notify_emails: tuple[Annotated[str, Field(pattern=r"^[^@\s]+@[^@\s]+$")], ...] = ()
    """Addresses to which Vertex AI writes whether a run succeeded or failed; whether the model was
    blessed, only the webhook is told."""
    experiment: str = ""
    """Vertex AI Experiment that the run is added to."""
    api_endpoint: str = ""
    """Replaces REGION-aiplatform.googleapis.com, for Private Service Connect."""
    api_transport: Literal["grpc", "rest"] = "grpc"
    """Use rest behind a proxy that passes HTTP/1.1 only."""

    @property
    def label_map(self) -> dict[str, str]:
        """The labels by key."""
        return dict(label.split("=", 1) for label in self.labels)
