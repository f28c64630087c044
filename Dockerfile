# Any Debian-like image with Python 3.11 or newer, its venv module and glibc: the embedded store has no musl build.
ARG BASE=python:3.12-slim-bookworm

# hadolint ignore=DL3006  the tag is part of BASE
FROM ${BASE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /build
RUN python3 -m venv /opt/tidegate
# The lock alone first: this layer stays while only the code changes.
COPY requirements.lock ./
RUN /opt/tidegate/bin/pip install --no-deps --require-hashes --requirement requirements.lock
COPY pyproject.toml README.md ./
COPY monitors monitors
COPY policies policies
COPY service service
RUN /opt/tidegate/bin/pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
    && /opt/tidegate/bin/pip install --no-deps --no-index dist/*.whl

# hadolint ignore=DL3006  the tag is part of BASE
FROM ${BASE}
RUN groupadd --gid 10001 tidegate \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin tidegate \
    && install --directory --owner=tidegate --group=tidegate /data /policies
COPY --from=build /opt/tidegate /opt/tidegate
ENV PATH=/opt/tidegate/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    DO_NOT_TRACK=1
# A number, so that Kubernetes can see that it is not root.
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8321
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python3", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8321/healthz', timeout=4)"]
ENTRYPOINT ["tidegate"]
# Refuses to start without keys (TIDEGATE_KEYS_FILE), because it listens beyond loopback.
CMD ["serve", "--host", "0.0.0.0", "--port", "8321", "--data-dir", "/data", "--policies", "/policies"]
