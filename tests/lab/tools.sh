#!/bin/sh
# tests/lab/tools.sh [demo]: installs what the tests need and this machine lacks: QEMU and a compiler for the lab, what counts
# instructions and system calls, what reads manual pages and completions, what builds and tries packages, and musl, with which
# `make build` links the program where it is to be had; with `demo` only what that needs. Only missing packages are asked for,
# so that a machine that has everything needs neither root nor a network.
set -eu

missing=
need() { # command package
    command -v "$1" >/dev/null 2>&1 || missing="$missing $2"
}
need qemu-system-x86_64 qemu-system-x86
need gcc gcc
need make make
need strip binutils
need tar tar
need dpkg-deb dpkg
[ -e /usr/share/keyrings/debian-archive-keyring.gpg ] || missing="$missing debian-archive-keyring"
if [ "${1:-}" != demo ]; then
    need musl-gcc musl-tools
    need xz xz-utils
    need valgrind valgrind
    need strace strace
    need rpmbuild rpm
    need eu-strip elfutils
    need lintian lintian
    need rpmlint rpmlint
    need cpio cpio
    need checkmodule checkpolicy
    need semodule_package semodule-utils
    need sesearch setools
    need mandoc mandoc
    need debootstrap debootstrap
    need mkfs.ext4 e2fsprogs
    need mkfs.xfs xfsprogs
    need zsh zsh
    need fish fish
    [ -e /usr/share/bash-completion/bash_completion ] || missing="$missing bash-completion"
fi

if [ -n "$missing" ]; then
    echo "installing:$missing"
    sudo=
    [ "$(id -u)" = 0 ] || sudo=sudo
    $sudo apt-get -qq update
    # shellcheck disable=SC2086
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $missing
fi
[ "${1:-}" != demo ] || exit 0

# Rust's standard library for musl, where rustup is what provides Rust. Without it the program is linked with glibc.
musl=$(rustc -vV | sed -n 's/^host: \(.*\)-gnu/\1-musl/p')
if [ "$musl" ] && ! ls "$(rustc --print target-libdir --target "$musl")"/libstd-*.rlib >/dev/null 2>&1; then
    case $(rustc --print sysroot) in
    "$(rustup show home 2>/dev/null)"/toolchains/*)
        echo "installing: Rust for $musl"
        rustup target add "$musl"
        ;;
    *) false ;;
    esac || echo "no Rust for $musl: the program is linked with glibc"
fi
