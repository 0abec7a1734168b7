# legscore in a container.
#   CPUs:         docker build -t legscore .
#                 docker run --rm -u "$(id -u):$(id -g)" -v "$PWD:/work" legscore run variants.parquet -o scores.parquet
#   NVIDIA GPUs:  docker build -t legscore:cuda --target cuda .
#                 docker run --rm --gpus all -u "$(id -u):$(id -g)" -v "$PWD:/work" legscore:cuda doctor
# Compiled networks and plans are kept in LEGSCORE_CACHE; mount a folder of your own there to keep them between containers.
ARG PYTHON=docker.io/library/python:3.12-slim-bookworm
ARG CUDA=docker.io/nvidia/cuda:13.0.1

FROM ${CUDA}-devel-ubuntu24.04 AS cuda-build
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends g++ python3-dev python3-venv && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
# nvcc is here: the kernels are compiled into the wheel, and PyCUDA builds
RUN python3 -m venv /opt/legscore && /opt/legscore/bin/pip install --no-cache-dir '.[all,gpu]'

FROM ${CUDA}-runtime-ubuntu24.04 AS cuda
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends python3 && rm -rf /var/lib/apt/lists/*
COPY --from=cuda-build /opt/legscore /opt/legscore
ENV PATH=/opt/legscore/bin:$PATH LEGSCORE_CACHE=/tmp/legscore-cache
RUN useradd --create-home --uid 10001 legscore
USER 10001
WORKDIR /work
ENTRYPOINT ["legscore"]
CMD ["--help"]

FROM ${PYTHON} AS wheel
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM ${PYTHON} AS cpu
ARG EXTRAS=all
COPY --from=wheel /wheels /wheels
RUN pip install --no-cache-dir --root-user-action=ignore "$(echo /wheels/legscore-*.whl)[${EXTRAS}]" && rm -rf /wheels
ENV LEGSCORE_CACHE=/tmp/legscore-cache
RUN useradd --create-home --uid 10001 legscore
USER 10001
WORKDIR /work
ENTRYPOINT ["legscore"]
CMD ["--help"]
