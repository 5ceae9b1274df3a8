#!/usr/bin/env bash
# Makes target/debian/handsfree_VERSION_ARCHITECTURE.deb from a binary that was built before: the stripped command, ALSA's device
# "handsfree", the units of systemd, completions and manual pages. With dpkg-deb rather than cargo-deb, because the package has files
# that cargo does not build, and because every Debian and Ubuntu has it.
#   tools/package-deb.sh             for this machine, from target/deb/handsfree, which `make deb` builds
#   tools/package-deb.sh arm64       from the binary of `tools/build-aarch64.sh deb`
# HANDSFREE_PROFILE names another profile than deb.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
source "$handsfree_root/tools/versions.sh"
cd "$handsfree_root"

here="$(dpkg --print-architecture)"
architecture="${1:-$here}"
target="${CARGO_TARGET_DIR:-$handsfree_root/target}"
# The pages and completions are the same for all processors, so this machine's binary writes them.
profile="${HANDSFREE_PROFILE:-deb}"
writer="$target/$profile/handsfree"
prefix='' binary="$writer" cflags=()
if [ "$architecture" != "$here" ]; then
    [ "$architecture" = arm64 ] || fail "package for $architecture: expected $here or arm64"
    prefix=aarch64-linux-gnu-
    binary="$target/aarch64-unknown-linux-gnu/$profile/handsfree"
    root="$handsfree_tools/aarch64/root/usr"
    cflags=(-I "$root/include" -L "$root/lib/aarch64-linux-gnu")
fi
for file in "$writer" "$binary"; do
    [ -x "$file" ] || fail "$file is missing: make deb builds it, or make deb-aarch64"
done
multiarch="$("${prefix}gcc" -print-multiarch)"
version="$(sed -n 's/^version *= *"\(.*\)"/\1/p' Cargo.toml | head -n 1)"
# Largest size of the command, in bytes.
most_bytes=10000000

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
tree="$work/tree"
place() { install -D -m 644 "$1" "$tree/$2"; }

install -D -m 755 "$binary" "$tree/usr/bin/handsfree"
"${prefix}strip" --strip-unneeded --remove-section=.comment "$tree/usr/bin/handsfree"
bytes="$(stat -c %s "$tree/usr/bin/handsfree")"
[ "$bytes" -le "$most_bytes" ] || fail "the stripped command has $bytes bytes: expected at most $most_bytes"

# ALSA finds the plug-in in its own folder, so its configuration needs no path.
plugin="$tree/usr/lib/$multiarch/alsa-lib/libasound_module_pcm_handsfree.so"
mkdir -p "$(dirname "$plugin")"
"${prefix}gcc" -O2 -shared -fPIC -DPIC "${cflags[@]}" -o "$plugin" packaging/alsa/pcm_handsfree.c -lasound
"${prefix}strip" --strip-unneeded "$plugin"
mkdir -p "$tree/usr/share/alsa/alsa.conf.d" "$tree/etc/alsa/conf.d"
sed -e '/^pcm_type/,/^}/d' -e '1s|/etc/alsa/conf.d|/usr/share/alsa/alsa.conf.d|' packaging/alsa/handsfree.conf \
    > "$tree/usr/share/alsa/alsa.conf.d/60-handsfree.conf"
ln -s ../../../usr/share/alsa/alsa.conf.d/60-handsfree.conf "$tree/etc/alsa/conf.d/60-handsfree.conf"

for unit in packaging/*.service packaging/*.socket; do
    place "$unit" "usr/lib/systemd/system/${unit##*/}"
done
sed -i -e 's|/usr/local/bin/|/usr/bin/|' -e '1s|/etc/systemd/system|/usr/lib/systemd/system|' "$tree"/usr/lib/systemd/system/*
for service in handsfree handsfree-serve; do place "packaging/debian/$service.default" "etc/default/$service"; done

mkdir -p "$work/written"
"$writer" completions bash > "$work/written/bash"
"$writer" completions zsh > "$work/written/zsh"
"$writer" completions fish > "$work/written/fish"
place "$work/written/bash" usr/share/bash-completion/completions/handsfree
place "$work/written/zsh" usr/share/zsh/vendor-completions/_handsfree
place "$work/written/fish" usr/share/fish/vendor_completions.d/handsfree.fish
"$writer" man --out "$tree/usr/share/man/man1" > /dev/null
gzip -9n "$tree"/usr/share/man/man1/*.1

documents="$tree/usr/share/doc/handsfree"
mkdir -p "$documents"
# The licence's text, with the indent and the full stops of this form.
sed -e 's/^$/./' -e 's/^/ /' LICENSE-MIT > "$work/mit"
sed -e "/@MIT@/{r $work/mit" -e 'd}' packaging/debian/copyright > "$documents/copyright"
gzip -9nc CHANGELOG.md > "$documents/changelog.gz"
cp THIRD-PARTY.md docs/serve.md docs/run.md "$documents/"
cp -r hosts/apm/licenses docs/recipes "$documents/"

# Prints the packages of the libraries that the files need. Libraries in which programs find new symbols need the version whose
# symbols they use.
depends() {
    local file library newest
    for file in "$@"; do
        "${prefix}readelf" --dynamic "$file" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'
    done | sort -u | while read -r library; do
        case "$library" in
            # Debian 12's, the oldest that is tested. libasound2t64 of Debian 13 provides libasound2.
            libasound.so.2) echo 'libasound2 (>= 1.2.8)' ;;
            libgcc_s.so.1) echo libgcc-s1 ;;
            libstdc++.so.6)
                newest="$(newest_symbols GLIBCXX "$@")"
                # The symbols' versions are not the packages': 3.4.30 came with GCC 12, as the table in libstdc++'s manual says.
                [ "$(printf '%s\n3.4.30\n' "$newest" | sort -V | tail -n 1)" = 3.4.30 ] \
                    || fail "the command needs GLIBCXX_$newest: expected at most 3.4.30, which Debian 12 has"
                echo 'libstdc++6 (>= 12)'
                ;;
            libc.so.6 | libm.so.6 | ld-linux*)
                newest="$(newest_symbols GLIBC "$@")"
                # Packed relocations need 2.36, whatever the symbols need.
                [ -z "$("${prefix}readelf" --dynamic "$@" | grep -w RELR)" ] \
                    || newest="$(printf '%s\n2.36\n' "$newest" | sort -V | tail -n 1)"
                echo "libc6 (>= $newest)"
                ;;
            *) fail "the command needs $library: expected one whose package tools/package-deb.sh knows" ;;
        esac
    done | sort -u | paste -sd, | sed 's/,/, /g'
}
newest_symbols() {
    local kind="$1"
    shift
    "${prefix}readelf" --version-info "$@" | grep -o "${kind}_[0-9][0-9.]*" | sed 's/.*_//' | sort -Vu | tail -n 1
}
needed="$(depends "$tree/usr/bin/handsfree" "$plugin")"

mkdir -p "$tree/DEBIAN"
chmod -R u=rwX,go=rX "$tree"
installed_kib="$(du -sk --apparent-size "$tree" | cut -f 1)"
sed -e "s/@VERSION@/$version/" -e "s/@ARCHITECTURE@/$architecture/" -e "s/@INSTALLED_KIB@/$installed_kib/" \
    -e "s/@DEPENDS@/$needed/" packaging/debian/control > "$tree/DEBIAN/control"
(cd "$tree" && find etc -type f -printf '/%p\n' | sort) > "$tree/DEBIAN/conffiles"
(cd "$tree" && find usr -type f -exec md5sum {} + | sort -k 2) > "$tree/DEBIAN/md5sums"
for script in postinst prerm postrm; do install -m 755 "packaging/debian/$script" "$tree/DEBIAN/$script"; done

# The same commit gives the same file.
SOURCE_DATE_EPOCH="$(git log -1 --format=%ct 2>/dev/null || date +%s)"
export SOURCE_DATE_EPOCH
deb="$target/debian/handsfree_${version}_$architecture.deb"
mkdir -p "$target/debian"
dpkg-deb --root-owner-group -Zxz --build "$tree" "$deb" > /dev/null
echo "package-deb: $deb, $(stat -c %s "$deb") bytes; the stripped command has $bytes; needs $needed"
