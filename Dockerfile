# The images that run the pipeline on Vertex AI and Dataflow: one environment, three machines.
#
#   pipeline      every task of the pipeline, and Dataflow's workers
#   tpu-trainer   the training job on a TPU
#   gpu-trainer   the training job on a GPU
#
# `make images` builds them with Cloud Build, for the TFX that is installed, and prints their digests:
# a job runs on the TFX that compiled it.
#
#   LANE     modern     older
#   TFX      1.21       1.16
#   Python   3.13       3.10
ARG LANE=modern

# Exact versions, not yet digests: to pin one, append what `docker buildx imagetools inspect IMAGE`
# prints, IMAGE@sha256:... Beam's is that of the lane's lock.
FROM apache/beam_python3.13_sdk:2.77.0 AS beam-modern
FROM apache/beam_python3.10_sdk:2.74.0 AS beam-older
FROM beam-${LANE} AS beam
FROM python:3.13.7-slim-trixie AS python-modern
LABEL detector.python-image=python:3.13.7-slim-trixie \
      detector.beam-image=apache/beam_python3.13_sdk:2.77.0
FROM python:3.10.15-slim-bookworm AS python-older
LABEL detector.python-image=python:3.10.15-slim-bookworm \
      detector.beam-image=apache/beam_python3.10_sdk:2.74.0

# Some locked packages are built from source. The compilers are not copied to the final images.
FROM python-${LANE} AS environment
ARG LANE
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc g++ \
    && rm -rf /var/lib/apt/lists/*
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:${PATH}
# What every other environment has, hashes included, but for the tools that only tests need.
COPY requirements-${LANE}-images.lock /tmp/images.lock
RUN pip install --no-deps --require-hashes -r /tmp/images.lock

FROM environment AS tpu-environment-modern
# TensorFlow, built for TPUs, with its libtpu; everything else stays as locked.
COPY requirements-modern-tpu.lock /tmp/tpu.lock
RUN pip uninstall --yes tensorflow \
    && pip install --no-deps --require-hashes -r /tmp/tpu.lock

FROM environment AS tpu-environment-older
COPY requirements-older-tpu.lock /tmp/tpu.lock
RUN pip uninstall --yes tensorflow \
    && pip install --no-deps --require-hashes -r /tmp/tpu.lock
# The libtpu that its metadata asks for. It is not on PyPI, and its index has no hashes.
RUN pip install --no-deps libtpu==2.16.0rc0 --no-index \
    --find-links https://storage.googleapis.com/libtpu-tf-releases/index.html

FROM tpu-environment-${LANE} AS tpu-environment

FROM environment AS gpu-environment
ARG LANE
COPY requirements-${LANE}-gpu.lock /tmp/gpu.lock
RUN pip install --no-deps --require-hashes -r /tmp/gpu.lock

FROM python-${LANE} AS code
ENV PATH=/opt/venv/bin:${PATH} PYTHONUNBUFFERED=1 TF_CPP_MIN_LOG_LEVEL=1
# Starts Dataflow's workers; the tasks of Vertex AI bring their own commands.
COPY --from=beam /opt/apache/beam /opt/apache/beam
# Otherwise it creates an environment of its own, which lacks our packages.
ENV RUN_PYTHON_SDK_IN_DEFAULT_ENVIRONMENT=1
# As root, as Beam's and Google's own images: Dataflow's workers unpack what a job stages into
# folders of root, and TPUs are devices of root.
WORKDIR /app
COPY models models
COPY pipeline pipeline
COPY schema schema
# Tasks and workers find the modules from any working directory.
ENV PYTHONPATH=/app
RUN python -m compileall -q models pipeline
# Labels say what an image is made of: the code, and the base images, above.
ARG CODE_FINGERPRINT=unknown
LABEL detector.code-fingerprint=${CODE_FINGERPRINT}
ENTRYPOINT ["/opt/apache/beam/boot"]

FROM code AS tpu-trainer
COPY --from=tpu-environment /opt/venv /opt/venv
# Where TensorFlow and Vertex AI look for it.
RUN ln -s /opt/venv/lib/python3*/site-packages/libtpu/libtpu.so /lib/libtpu.so \
    && test -e /lib/libtpu.so

FROM code AS gpu-trainer
COPY --from=gpu-environment /opt/venv /opt/venv
# TensorFlow 2.16 does not find the libraries of the packages in its extra `and-cuda` by itself
# (github.com/tensorflow/tensorflow/issues/63362).
RUN ln -s /opt/venv/lib/python3*/site-packages/nvidia /opt/nvidia \
    && printf '%s\n' /opt/nvidia/*/lib > /etc/ld.so.conf.d/nvidia.conf && ldconfig \
    && ldconfig -p | grep -q 'libcudnn\.so\.[89]'
# As in NVIDIA's own images: the machine mounts its driver there, and mounts it only on request.
ENV LD_LIBRARY_PATH=/usr/local/nvidia/lib:/usr/local/nvidia/lib64 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
# XLA's compiler.
ENV PATH=/opt/nvidia/cuda_nvcc/bin:${PATH} \
    XLA_FLAGS=--xla_gpu_cuda_data_dir=/opt/nvidia/cuda_nvcc

FROM code AS pipeline
COPY --from=environment /opt/venv /opt/venv
