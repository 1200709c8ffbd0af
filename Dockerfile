# The project's two images: --target operator and --target datanode. Each is a static program alone.
#
# BINARIES=build compiles them here. BINARIES=prebuilt takes them from the context, a directory made by
# e2e/cluster/image-files, where the image of the Rust compiler cannot be had. Needs BuildKit, which leaves out
# the stage that is not asked for.
ARG BINARIES=build

FROM rust:1.95.0-bookworm AS build
WORKDIR /src
COPY . .
RUN e2e/cluster/image-files /out

FROM scratch AS prebuilt
COPY . /out/

FROM ${BINARIES} AS binaries

FROM scratch AS operator
LABEL org.opencontainers.image.title="redis-replicaset-operator" \
      org.opencontainers.image.description="Kubernetes operator for RedisReplicaSet" \
      org.opencontainers.image.licenses="Apache-2.0"
ENV PATH=/
COPY --from=binaries /out/operator/ /
USER 65532:65532
ENTRYPOINT ["/operator"]

FROM scratch AS datanode
LABEL org.opencontainers.image.title="redis-replicaset-datanode" \
      org.opencontainers.image.description="A Redis 7 data server and sentinel that follows a shard map" \
      org.opencontainers.image.licenses="Apache-2.0"
ENV PATH=/
# Its other names (redis-server, redis-sentinel, …) are symbolic links; /data is its own to write to.
COPY --from=binaries /out/datanode/ /
COPY --from=binaries --chown=65532:65532 /out/data/ /data/
WORKDIR /data
USER 65532:65532
EXPOSE 6379 26379
ENTRYPOINT ["/datanode"]
