# The action's image: imagebuild, and everything that its builds need.
#
#   docker build -t imagebuild .
#   docker run --rm imagebuild version
#
# A release pins both base images by digest, and says what it is:
#
#   docker build --build-arg GO_IMAGE=golang@sha256:... --build-arg BASE_IMAGE=debian@sha256:... \
#     --build-arg VERSION=1.2.3 --build-arg REVISION="$(git rev-parse HEAD)" \
#     --build-arg SOURCE_DATE_EPOCH="$(git log -1 --format=%ct)" .
#
# With the same base images, build arguments and package versions the files of
# two builds are equal: the binary is (-trimpath, no VCS
# stamp), and what apt leaves besides the packages is removed or has its time
# clamped. What is not equal: the packages themselves move with the archive, for
# nothing pins them; and the image's configuration holds the time of the build
# unless the builder takes it from SOURCE_DATE_EPOCH, as BuildKit does with
# "rewrite-timestamp=true" and the classic builder does not.
#
# No "RUN --mount" and no heredoc: a runner with an old Docker builds this too.

ARG GO_IMAGE=golang:1.26-trixie
ARG BASE_IMAGE=debian:trixie-slim

FROM ${GO_IMAGE} AS build
# What to ask for modules; Go's own default where it is empty.
ARG GOPROXY
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=devel
ARG SOURCE_DATE_EPOCH=0
# The links tell the action's stages apart: a runner's "entrypoint" and
# "post-entrypoint" are the path of a program, without arguments.
RUN mkdir -p /out/usr/local/bin && cd /out/usr/local/bin \
 && CGO_ENABLED=0 go build -C /src -trimpath -buildvcs=false \
      -ldflags "-s -w -X github.com/org/imagebuild-action/internal/cli.Version=${VERSION}" \
      -o "$PWD/imagebuild" ./cmd/imagebuild \
 && ln -s imagebuild imagebuild-action \
 && ln -s imagebuild imagebuild-action-post \
 && find /out -exec touch -h -d "@${SOURCE_DATE_EPOCH}" {} +

FROM ${BASE_IMAGE}
ARG SOURCE_DATE_EPOCH=0
# The same packages as "build" in .ci/setup, in the order of sort(1), and
# libarchive, with which trixie's mke2fs reads a tar. Left out are manuals and
# translations, the firmware of machines that this QEMU does not emulate, and the
# builds of OVMF for Secure Boot, which imagebuild does not use.
RUN touch /.layer \
 && printf 'path-exclude=/usr/share/%s\n' 'doc/*' 'info/*' 'lintian/*' 'locale/*' 'man/*' \
      'OVMF/*.ms.fd' 'OVMF/*.secboot*.fd' 'OVMF/*.snakeoil.fd' 'ovmf/*' 'qemu/OVMF.fd' \
      'qemu/hppa-*' 'qemu/openbios-*' 'qemu/palcode-*' 'qemu/s390-*' 'qemu/skiboot.lid' \
      'qemu/slof.bin' 'qemu/u-boot*' > /etc/dpkg/dpkg.cfg.d/imagebuild \
 && printf 'path-include=/usr/share/doc/*/copyright\n' >> /etc/dpkg/dpkg.cfg.d/imagebuild \
 && apt-get update -q \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
      ca-certificates \
      debian-archive-keyring \
      dosfstools \
      e2fsprogs \
      fdisk \
      git \
      libarchive13t64 \
      mmdebstrap \
      mtools \
      openssh-client \
      ovmf \
      qemu-system-x86 \
      qemu-utils \
      uidmap \
      util-linux \
      xorriso \
      xz-utils \
      zstd \
 && find /usr/lib/python3* -name __pycache__ -prune -exec rm -rf {} + \
 && apt-get clean \
 && rm -rf /var/lib/apt/lists/* /var/lib/dpkg/*-old /var/cache/debconf/*-old /etc/machine-id \
 && find /var/cache /var/log -type f -delete \
 && find / -xdev -cnewer /.layer ! -path /.layer ! -path '/etc/host*' ! -path /etc/resolv.conf \
      ! -path '/proc*' ! -path '/sys*' ! -path '/dev*' -exec touch -h -d "@${SOURCE_DATE_EPOCH}" {} + \
 && rm /.layer
COPY --from=build /out/ /

ARG VERSION=devel
ARG REVISION=""
LABEL org.opencontainers.image.title="imagebuild" \
      org.opencontainers.image.description="One template in, the same operating-system image out for every platform" \
      org.opencontainers.image.source="https://github.com/org/imagebuild-action" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

# Without arguments, as a runner starts it, this is the action; with some, a
# person's command line.
ENTRYPOINT ["/usr/local/bin/imagebuild"]
CMD ["action"]
