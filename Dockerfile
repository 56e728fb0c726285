# snn-compile without torch, as a user without rights:
#
#   docker build --tag snn-compile .
#   docker run --rm --user "$(id -u):$(id -g)" --volume "$PWD:/work" snn-compile model.onnx

FROM python:3.12-slim-bookworm AS build
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/*
COPY . /src
ENV PIP_CONSTRAINT=/src/.ci/constraints.txt PIP_BUILD_CONSTRAINT=/src/.ci/constraints.txt
RUN SNN_COMPILE_REQUIRE_ENGINE=1 python -m pip wheel --no-cache-dir --wheel-dir /wheels /src

FROM python:3.12-slim-bookworm
# hadolint ignore=DL3013
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    python -m pip install --no-cache-dir --no-compile --no-index --find-links /wheels snn-compile \
    && useradd --uid 10001 --create-home snn
USER 10001
ENV PYTHONDONTWRITEBYTECODE=1
WORKDIR /work
ENTRYPOINT ["snn-compile"]
CMD ["--help"]
