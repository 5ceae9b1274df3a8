#!/usr/bin/env bash
# Builds the kernel machine's initramfs and prints its path: busybox, the sound modules with what they need, alsa-utils
# with their libraries and configuration, and the guest's own scripts. Named for what is in it, so it is built once; the
# programs under test come as a second archive (tests/kernel/src/archive.rs), which the kernel unpacks over this one.
#   tools/kernel/image.sh
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../env.sh"
PATH="$PATH:/usr/sbin:/sbin"

guest="$handsfree_root/tests/kernel/guest"
kernel="$handsfree_tools/kernel"
images="$handsfree_root/target/kernel-machine"

# What tests load by name; everything that these depend on comes along.
modules=(
    virtio_pci virtio_console
    snd-aloop snd-dummy snd-hrtimer snd-usb-audio snd-hda-intel snd-hda-codec-generic
    xhci-pci
)
programs=(aplay arecord alsaloop amixer speaker-test strace)

fail() {
    printf '%s\n' "$@" >&2
    exit 1
}

[ -s "$kernel/release" ] || fail "no kernel in target/tools/kernel: run tools/setup-kernel.sh"
release="$(cat "$kernel/release")"
for program in qemu-system-x86_64 busybox cpio depmod modprobe ldd "${programs[@]}"; do
    command -v "$program" >/dev/null || fail "$program is missing: run tools/setup-kernel.sh"
done

# The files of a program: itself, its libraries and its loader, by their names before links are followed.
files_of() {
    echo "$1"
    { ldd "$1" || true; } | sed -n 's/.*=> \(\/[^ ]*\) .*/\1/p; s/^[[:space:]]*\(\/[^ ]*\) (0x.*/\1/p'
}

# insmod lines, dependencies first; "builtin" where the kernel has it inside.
module_files() {
    local module
    for module in "${modules[@]}"; do
        modprobe -d "$kernel/root" -S "$release" --show-depends "$module" \
            || fail "Linux $release has no module $module"
    done | awk '$1 == "insmod" { print $2 }' | sort -u
}

program_files() {
    local program path
    for program in "${programs[@]}"; do
        path="$(command -v "$program")" || continue
        files_of "$path"
    done | sort -u
}

# Its name is made of content, not of dates: a fresh checkout and a reinstalled package keep their image.
key() {
    {
        cat "${BASH_SOURCE[0]}" "$guest"/*
        echo "$release" "${programs[@]}"
        # shellcheck disable=SC2046  # paths without spaces, ours and the distribution's
        sha256sum "$(command -v busybox)" $(program_files) /usr/share/alsa/alsa.conf
    } | sha256sum | cut -c 1-16
}

place() {
    install -D "$1" "$root/${2:-$1}"
}

build() {
    local file
    mkdir -p "$root"/{bin,dev,etc,proc,run,sys,tmp,usr/bin,usr/sbin,sbin,var,root}
    place "$(command -v busybox)" /bin/busybox
    for applet in $(busybox --list); do
        [ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"
    done
    # Where the kernel looks for it when it wants a module by itself.
    ln -s ../bin/busybox "$root/sbin/modprobe"
    place "$guest/init" /init
    place "$guest/agent" /bin/agent

    program_files | while read -r file; do place "$file"; done
    # The library's own configuration; not what desktops add to it, which names plugins that are not here.
    mkdir -p "$root/usr/share/alsa"
    cp -rL /usr/share/alsa/{alsa.conf,cards,ctl,pcm} "$root/usr/share/alsa/"
    echo 'root:x:0:0:root:/root:/bin/sh' > "$root/etc/passwd"
    echo 'root:x:0:' > "$root/etc/group"

    local modules_root="lib/modules/$release"
    module_files | while read -r file; do
        place "$file" "/$modules_root/kernel/${file##*/}"
        # busybox's modprobe need not know how the distribution packs its modules.
        case "$file" in
            *.xz) xz -d "$root/$modules_root/kernel/${file##*/}" ;;
            *.zst) zstd -q -d --rm "$root/$modules_root/kernel/${file##*/}" ;;
            *.gz) gzip -d "$root/$modules_root/kernel/${file##*/}" ;;
        esac
    done
    cp "$kernel/root/$modules_root"/modules.{builtin,builtin.modinfo,order} "$root/$modules_root/"
    depmod -b "$root" "$release"
}

out="$images/base-$(key).cpio"
if [ ! -s "$out" ]; then
    mkdir -p "$images"
    root="$(mktemp -d)"
    trap 'rm -rf "$root"' EXIT
    build >&2
    rm -f "$images"/base-*.cpio
    # Into place in one step, as several may build at once.
    (cd "$root" && find . -mindepth 1 | sort | cpio --quiet -o -H newc -R 0:0) > "$out.$$"
    mv "$out.$$" "$out"
fi
echo "$out"
