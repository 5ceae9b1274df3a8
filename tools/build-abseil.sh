#!/usr/bin/env bash
# Builds abseil as a static library in target/tools/abseil for webrtc-audio-processing, from the distribution's source. This is
# needed even if the system's abseil is new enough, because its shared libraries do not link (see the merging below).
#   tools/build-abseil.sh                       builds for this machine
#   tools/build-abseil.sh aarch64-linux-gnu     builds with this cross compiler, in target/tools/aarch64/abseil
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
source "$handsfree_root/tools/versions.sh"
source "$handsfree_root/tools/private-apt.sh"

case "$(. /etc/os-release && echo "$ID")" in
    debian) suite=trixie ;;
    ubuntu) suite=resolute ;;
    *) fail "unknown distribution: expected Debian or Ubuntu, to build their source package of abseil; install abseil >= $abseil_min with its pkg-config files" ;;
esac
private_apt_open

download_source() {
    local mirror
    for mirror in $(apt_mirrors); do
        echo "deb-src [signed-by=$keyring] $mirror $suite main" > "$work/sources.list"
        say "searching the source of abseil in $suite on $mirror"
        if private_apt update --error-on=any \
            && (cd "$work/download" && private_apt source --download-only abseil); then
            return 0
        fi
    done
    return 1
}

download_source || fail "none of this machine's apt mirrors has the source of abseil in $suite" \
    "install abseil >= $abseil_min with its pkg-config files by hand, then \`make setup\` again"

dsc=("$work"/download/abseil_*.dsc)
version="$(sed -n 's/^Version: //p' "${dsc[0]}" | head -n 1)"
version_at_least "$version" "$abseil_min" || fail "$suite has abseil $version: expected $abseil_min or newer"
case "${1:-}" in
    '') prefix="$handsfree_tools/abseil" ar=ar cross=() ;;
    aarch64-linux-gnu)
        prefix="$handsfree_tools/aarch64/abseil" ar="$1-ar"
        cross=(-DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64
            "-DCMAKE_C_COMPILER=$1-gcc" "-DCMAKE_CXX_COMPILER=$1-g++")
        ;;
    *) fail "cannot build abseil for $1: expected aarch64-linux-gnu or no argument" ;;
esac
say "building abseil $version in ${prefix#"$handsfree_root/"}, which takes a minute"
# apt has already checked the files against the signed index.
dpkg-source --no-check --extract "${dsc[0]}" "$work/abseil" >/dev/null

rm -rf "$prefix"
{
    cmake -S "$work/abseil" -B "$work/build" -G Ninja -DCMAKE_BUILD_TYPE=Release \
        -DCMAKE_INSTALL_PREFIX="$prefix" -DCMAKE_INSTALL_LIBDIR=lib -DBUILD_SHARED_LIBS=OFF \
        -DCMAKE_POSITION_INDEPENDENT_CODE=ON -DCMAKE_CXX_STANDARD=17 -DABSL_PROPAGATE_CXX_STD=ON \
        -DABSL_BUILD_TESTING=OFF "${cross[@]}" \
        && cmake --build "$work/build" --parallel "$(nproc)" \
        && cmake --install "$work/build"
} > "$work/log/build" 2>&1 || { tail -n 40 "$work/log/build" >&2; fail "abseil $version did not build"; }

# webrtc-audio-processing-sys links only absl_strings, without its dependencies, so all of them are merged into it.
merged="$work/merged.a"
{
    echo "create $merged"
    for library in $(PKG_CONFIG_PATH="$prefix/lib/pkgconfig" pkg-config --static --libs-only-l absl_strings); do
        [ ! -e "$prefix/lib/lib${library#-l}.a" ] || echo "addlib $prefix/lib/lib${library#-l}.a"
    done
    echo save
    echo end
} | "$ar" -M
mv "$merged" "$prefix/lib/libabsl_strings.a"

# A relative prefix allows the working copy to be moved.
sed -i 's|^prefix=.*|prefix=${pcfiledir}/../..|' "$prefix"/lib/pkgconfig/*.pc
