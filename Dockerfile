# For those who build the image themselves. It has the same files as the one of `cargo dev image` (docs/image.md), but the
# CA bundle is Debian's, and there is no SBOM.
#
#   docker build --tag cloakroom .
#
# The tag of the base image is the version in .github/rust-toolchain.toml. Pin it by digest where your policy requires it.
FROM docker.io/library/rust:1.95.0-bookworm AS build
WORKDIR /source
COPY . .
# Linked statically: the image has no C library.
RUN triple="$(uname -m)-unknown-linux-gnu" \
 && export RUSTFLAGS="-C target-feature=+crt-static" \
 && cargo build --release --locked --package cloakroom --bin cloakroom --target "$triple" \
 && install -D --mode=755 "target/$triple/release/cloakroom" /image/cloakroom \
 && install -D --mode=644 /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ca-certificates.crt \
 && install -D --mode=644 apis.json /image/app/apis.json \
 && mkdir -p /image/app/web \
 && cp --recursive web/dist /image/app/web/dist \
 && chmod --recursive u=rwX,go=rX /image

FROM scratch
LABEL org.opencontainers.image.title="Cloakroom" \
      org.opencontainers.image.source="https://github.com/cloakroom/cloakroom" \
      org.opencontainers.image.licenses="MIT"
COPY --from=build /image/ /
WORKDIR /app
ENV CLOAKROOM_LISTEN=0.0.0.0:8080 \
    CLOAKROOM_DRAIN_DELAY=5s
EXPOSE 8080/tcp
USER 65532:65532
STOPSIGNAL SIGTERM
ENTRYPOINT ["/cloakroom"]
