"""What every run needs and takes long to import; see `processes`."""

import local_runner  # noqa: F401
from pipeline import pipeline, summary  # noqa: F401
from pipeline.local import run  # noqa: F401
from pipeline.shipping import device_check, gate, pusher, rewriter  # noqa: F401
from pipeline.training import trainer  # noqa: F401
