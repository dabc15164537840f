# The images that run the pipeline on Vertex AI and Dataflow: one environment, three machines.
#
#   pipeline      every task of the pipeline, and Dataflow's workers
#   tpu-trainer   the training job on a TPU
#   gpu-trainer   the training job on a GPU
#
# `python -m pipeline.vertex.images` builds them and prints their digests. It also looks up the
# digests of the two images below and passes them in, so that a build can be repeated.

ARG PYTHON_IMAGE=python:3.10.15-slim-bookworm
# Of the Beam version that requirements.lock has.
ARG BEAM_IMAGE=apache/beam_python3.10_sdk:2.74.0

FROM ${BEAM_IMAGE} AS beam

# Some packages of the lock come as source: the compilers stay behind in this stage.
FROM ${PYTHON_IMAGE} AS environment
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc g++ \
    && rm -rf /var/lib/apt/lists/*
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:${PATH}
COPY requirements.lock /tmp/requirements.lock
# The lock file that every other environment is made from, hashes included.
RUN pip install --no-deps --require-hashes -r /tmp/requirements.lock

FROM environment AS tpu-environment
# The same TensorFlow, built for TPUs, in place of the stock build; the rest stays as locked.
COPY requirements-tpu.lock /tmp/requirements-tpu.lock
RUN pip uninstall --yes tensorflow \
    && pip install --no-deps --require-hashes -r /tmp/requirements-tpu.lock
# The libtpu that its metadata names. It is not on PyPI, and its index states no hashes.
RUN pip install --no-deps libtpu==2.16.0rc0 --no-index \
    --find-links https://storage.googleapis.com/libtpu-tf-releases/index.html

FROM environment AS gpu-environment
COPY requirements-gpu.lock /tmp/requirements-gpu.lock
RUN pip install --no-deps --require-hashes -r /tmp/requirements-gpu.lock

FROM ${PYTHON_IMAGE} AS code
ENV PATH=/opt/venv/bin:${PATH} PYTHONUNBUFFERED=1 TF_CPP_MIN_LOG_LEVEL=1
# A launcher of Dataflow's workers; Vertex AI's tasks name their own commands.
COPY --from=beam /opt/apache/beam /opt/apache/beam
# Otherwise it makes an environment of its own, which would need root and hold none of our packages.
ENV RUN_PYTHON_SDK_IN_DEFAULT_ENVIRONMENT=1
RUN useradd --create-home --uid 1000 detector
WORKDIR /app
COPY models models
COPY pipeline pipeline
COPY schema schema
# Modules are found wherever a task or a worker is started.
ENV PYTHONPATH=/app
RUN python -m compileall -q models pipeline
# From here on an image says what it is made of: the code, and the two digests that repeat its build.
ARG CODE_FINGERPRINT=unknown
ARG PYTHON_IMAGE
ARG BEAM_IMAGE
LABEL detector.code-fingerprint=${CODE_FINGERPRINT} \
      detector.python-image=${PYTHON_IMAGE} \
      detector.beam-image=${BEAM_IMAGE}
ENTRYPOINT ["/opt/apache/beam/boot"]

FROM code AS tpu-trainer
COPY --from=tpu-environment /opt/venv /opt/venv
USER detector

FROM code AS gpu-trainer
COPY --from=gpu-environment /opt/venv /opt/venv
USER detector

FROM code AS pipeline
COPY --from=environment /opt/venv /opt/venv
USER detector
