#!/usr/bin/env bash
# Builds abseil statically into target/tools/abseil for webrtc-audio-processing, also where the system has one that is
# new enough: as shared libraries it does not link, see the merging below. The source is the distribution's, through apt and its signatures, from the mirrors that this machine's apt already uses.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
source "$handsfree_root/tools/versions.sh"

distribution="$(. /etc/os-release && echo "$ID")"
codename="$(. /etc/os-release && echo "${VERSION_CODENAME:-}")"
case "$distribution" in
    debian)
        suite=trixie
        keyring=/usr/share/keyrings/debian-archive-keyring.gpg
        ;;
    ubuntu)
        suite=resolute
        keyring=/usr/share/keyrings/ubuntu-archive-keyring.gpg
        ;;
    *) fail "do not know where $distribution keeps abseil's source: install abseil >= $abseil_min with its pkg-config files" ;;
esac
[ -r "$keyring" ] || fail "$keyring is missing: apt-get install $distribution-archive-keyring"

# apt run by root drops to the user _apt to download, who must be able to reach this directory and write into it.
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
mkdir -p "$work"/{lists/partial,cache/archives/partial,parts,source,log}
touch "$work/status"
[ "$(id -u)" -ne 0 ] || chown _apt "$work/source"

private_apt() {
    apt-get -q \
        -o Dir::Etc::SourceList="$work/sources.list" -o Dir::Etc::SourceParts="$work/parts" \
        -o Dir::State="$work" -o Dir::State::Lists="$work/lists" -o Dir::State::Status="$work/status" \
        -o Dir::Cache="$work/cache" -o Dir::Log="$work/log" \
        -o APT::Update::Post-Invoke= -o APT::Update::Post-Invoke-Success= "$@"
}

mirrors() {
    apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 'Created-By: Packages' \
        | awk -v codename="$codename" '$2 == codename || $2 == "stable" { print $1 }' | sort -u
}

download_source() {
    local mirror
    for mirror in $(mirrors); do
        echo "deb-src [signed-by=$keyring] $mirror $suite main" > "$work/sources.list"
        say "looking for the source of abseil in $suite, where this machine's apt looks"
        if private_apt update --error-on=any \
            && (cd "$work/source" && private_apt source --download-only abseil); then
            return 0
        fi
    done
    return 1
}

download_source || fail "none of this machine's apt mirrors gave the source of abseil from $suite" \
    "install abseil >= $abseil_min with its pkg-config files by hand, then \`make setup\` again"

dsc=("$work"/source/abseil_*.dsc)
version="$(sed -n 's/^Version: //p' "${dsc[0]}" | head -n 1)"
version_at_least "$version" "$abseil_min" || fail "$suite has abseil $version, $abseil_min or newer is needed"
say "building abseil $version into target/tools/abseil (a minute)"
# apt has checked the files against the signed index already.
dpkg-source --no-check --extract "${dsc[0]}" "$work/abseil" >/dev/null

prefix="$handsfree_tools/abseil"
rm -rf "$prefix"
{
    cmake -S "$work/abseil" -B "$work/build" -G Ninja -DCMAKE_BUILD_TYPE=Release \
        -DCMAKE_INSTALL_PREFIX="$prefix" -DCMAKE_INSTALL_LIBDIR=lib -DBUILD_SHARED_LIBS=OFF \
        -DCMAKE_POSITION_INDEPENDENT_CODE=ON -DCMAKE_CXX_STANDARD=17 -DABSL_PROPAGATE_CXX_STD=ON \
        -DABSL_BUILD_TESTING=OFF \
        && cmake --build "$work/build" --parallel "$(nproc)" \
        && cmake --install "$work/build"
} > "$work/log/build" 2>&1 || { tail -n 40 "$work/log/build" >&2; fail "abseil $version did not build"; }

# webrtc-audio-processing-sys links absl_strings by name and nothing that it needs in turn, so let that be all of it.
merged="$work/merged.a"
{
    echo "create $merged"
    for library in $(PKG_CONFIG_PATH="$prefix/lib/pkgconfig" pkg-config --static --libs-only-l absl_strings); do
        [ ! -e "$prefix/lib/lib${library#-l}.a" ] || echo "addlib $prefix/lib/lib${library#-l}.a"
    done
    echo save
    echo end
} | ar -M
mv "$merged" "$prefix/lib/libabsl_strings.a"

# So that the working copy may be moved.
sed -i 's|^prefix=.*|prefix=${pcfiledir}/../..|' "$prefix"/lib/pkgconfig/*.pc
