# Three images from one file, the last of them by default:
#   docker build .                          API and worker in one (`fusebox serve`)
#   docker build --target worker .          a worker alone
#   docker build --target api .             the API alone, without torch
#   docker build --target sbom -o DIR .     what is in the default image, as CycloneDX JSON
# CUDA's user space comes with torch's wheels: the base is a plain Python, the driver is the host's.
ARG BASE_IMAGE=python:3.11-slim-bookworm
# What the build steps run in: the same Python, with whatever reaches your package index. None of it stays.
ARG BUILD_IMAGE=${BASE_IMAGE}

# cuda, or cpu: a torch without CUDA is a quarter of the size. Looked at before anything is installed.
FROM ${BUILD_IMAGE} AS lock
ARG ACCELERATOR=cuda
COPY requirements/cuda.txt requirements/cpu.txt /requirements/
RUN cp "/requirements/${ACCELERATOR}.txt" /requirements/worker.txt \
    || { echo "ACCELERATOR is '${ACCELERATOR}', which is neither cuda nor cpu." >&2; exit 2; }

FROM ${BUILD_IMAGE} AS build
# The locks are for this Python, their wheels for this C library.
RUN python3 -c 'import os, sys; sys.exit(sys.version_info[:2] != (3, 11) or "glibc" not in os.confstr("CS_GNU_LIBC_VERSION"))' \
    || { echo "BUILD_IMAGE (by default BASE_IMAGE) must have CPython 3.11 and glibc, as python:3.11-slim-bookworm." >&2; exit 2; }
SHELL ["/bin/bash", "-eo", "pipefail", "-c"]
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PIP_NO_INPUT=1
# The static tini runs on any base.
RUN test -x /usr/bin/tini-static \
    || { apt-get update && apt-get install -y --no-install-recommends tini=0.19.* && rm -rf /var/lib/apt/lists/*; }
COPY requirements/build.txt /requirements/
RUN --mount=type=cache,target=/root/.cache/pip \
    python3 -m venv --without-pip /opt/build \
    && python3 -m pip --python /opt/build/bin/python install --no-deps --require-hashes -r /requirements/build.txt

# The locks name every package, so nothing is resolved here. Tests and headers of packages are of no use in an image.
FROM build AS api-packages
COPY requirements/api.txt /requirements/
RUN --mount=type=cache,target=/root/.cache/pip \
    python3 -m venv --without-pip /opt/fusebox \
    && python3 -m pip --python /opt/fusebox/bin/python install \
        --no-deps --only-binary :all: --require-hashes -r /requirements/api.txt \
    && find /opt/fusebox -type d \( -name tests -o -name include \) -prune -exec rm -r {} +

FROM build AS worker-packages
ARG ACCELERATOR=cuda
# Where torch's CPU builds are, if pip is not configured to know.
ARG CPU_INDEX=https://download.pytorch.org/whl/cpu
COPY --from=lock /requirements/worker.txt /requirements/
RUN --mount=type=cache,target=/root/.cache/pip \
    if [ "${ACCELERATOR}" = cpu ] && [ -n "${CPU_INDEX}" ]; then export PIP_EXTRA_INDEX_URL="${CPU_INDEX}"; fi \
    && python3 -m venv --without-pip /opt/fusebox \
    && python3 -m pip --python /opt/fusebox/bin/python install \
        --no-deps --only-binary :all: --require-hashes -r /requirements/worker.txt \
    && find /opt/fusebox -type d \( -name tests -o -name include \) -prune -exec rm -r {} +

# Our own package, laid out as it will lie over the installed ones: all that a change of source builds anew.
FROM build AS package
WORKDIR /source
RUN python3 -m venv --without-pip /opt/fusebox
COPY pyproject.toml README.md LICENSE ./
COPY app app
RUN /opt/build/bin/python -c 'from setuptools.build_meta import build_wheel; build_wheel("/wheel")' \
    && python3 -m pip --python /opt/fusebox/bin/python install --no-deps --no-index --prefix /package /wheel/*.whl

FROM build AS api-sbom
COPY pyproject.toml /source/
RUN --mount=type=bind,from=api-packages,source=/opt/fusebox,target=/opt/fusebox \
    /opt/build/bin/cyclonedx-py environment --pyproject /source/pyproject.toml --mc-type application \
        --output-reproducible -o /fusebox.cdx.json /opt/fusebox/bin/python

FROM build AS worker-sbom
COPY pyproject.toml /source/
RUN --mount=type=bind,from=worker-packages,source=/opt/fusebox,target=/opt/fusebox \
    /opt/build/bin/cyclonedx-py environment --pyproject /source/pyproject.toml --mc-type application \
        --output-reproducible -o /fusebox.cdx.json /opt/fusebox/bin/python

# What all images are. The base's own pip goes: nothing is installed later. No program of it lends rights of its owner.
FROM ${BASE_IMAGE} AS runtime
RUN --mount=type=bind,from=build,source=/opt/build,target=/mnt \
    { /mnt/bin/python -c 'import ssl, sqlite3' \
        || { echo "BASE_IMAGE must have the Python of BUILD_IMAGE, at the same path." >&2; exit 2; }; } \
    && groupadd --gid 10001 fusebox \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin fusebox \
    && install -d -o 10001 -g 10001 -m 0700 /data \
    && rm -rf /usr/local/lib/python3.*/site-packages/* /usr/local/lib/python3.*/ensurepip /usr/local/bin/pip* \
    && find / -xdev -type f -perm /6000 -exec chmod a-s {} +
COPY --from=build /usr/bin/tini-static /usr/bin/tini
ENV PATH=/opt/fusebox/bin:${PATH} \
    HOME=/tmp \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    FUSEBOX_HOST=0.0.0.0 \
    FUSEBOX_PORT=8000 \
    FUSEBOX_DATA_DIR=/data
VOLUME /data
WORKDIR /data
USER 10001:10001
# Open requests end first, and the job in hand if it does so within FUSEBOX_DRAIN_SECONDS: less than 10 s in all.
STOPSIGNAL SIGTERM
ENTRYPOINT ["tini", "--", "fusebox"]

FROM scratch AS sbom
COPY --from=worker-sbom /fusebox.cdx.json /

FROM runtime AS api
COPY --from=api-packages /opt/fusebox /opt/fusebox
COPY --from=api-sbom /fusebox.cdx.json /usr/share/fusebox/
COPY --from=package /package /opt/fusebox
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=30s --start-period=60s CMD ["fusebox", "health", "api"]
CMD ["api"]
ARG VERSION=unknown REVISION=unknown CREATED=unknown SOURCE=unknown
LABEL org.opencontainers.image.title="fusebox-api" \
      org.opencontainers.image.description="The API of Fusebox, which fuses trained neural networks without changing what they compute" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.source="${SOURCE}"

FROM runtime AS worker
COPY --from=worker-packages /opt/fusebox /opt/fusebox
COPY --from=worker-sbom /fusebox.cdx.json /usr/share/fusebox/
COPY --from=package /package /opt/fusebox
# Read by the host's NVIDIA runtime: which GPUs, and what of the driver. Without one they mean nothing.
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
HEALTHCHECK --interval=15s --timeout=30s --start-period=60s CMD ["fusebox", "health", "worker"]
CMD ["worker"]
ARG VERSION=unknown REVISION=unknown CREATED=unknown SOURCE=unknown
LABEL org.opencontainers.image.title="fusebox" \
      org.opencontainers.image.description="Makes trained neural networks lighter and faster without changing what they compute" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.source="${SOURCE}"

FROM worker AS fusebox
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=30s --start-period=60s CMD ["fusebox", "health"]
CMD ["serve"]
