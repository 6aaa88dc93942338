# The daemon in a container; docs/deploy.md tells how to run it.
FROM python:3.11-slim

WORKDIR /src
# The package index of torch's CPU builds; without it torch brings gigabytes of libraries for graphics cards.
ARG PIP_EXTRA_INDEX_URL
COPY requirements.lock ./
RUN pip install --no-cache-dir "$(grep '^torch==' requirements.lock)"
COPY pyproject.toml README.md LICENSE config.toml cli.py ./
COPY checkpoints checkpoints
COPY dreamer dreamer
COPY competitor competitor
RUN pip install --no-cache-dir --constraint requirements.lock .

# Records and logs go to /data/records, for which /data should be a volume.
RUN useradd --uid 1000 --create-home player && install --directory --owner player --mode 0700 /data
USER player
WORKDIR /data
VOLUME /data

HEALTHCHECK --interval=30s --timeout=10s --start-period=60s CMD ["hockey-dreamer", "status"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["hockey-dreamer"]
CMD ["compete", "champion"]
