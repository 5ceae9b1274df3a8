#!/usr/bin/env bash
# Builds the kernel machine's initramfs and prints its path. It contains busybox, the sound modules and their dependencies,
# alsa-utils with libraries and configuration, and the guest's scripts. Its name is a hash of its contents, so that it is
# built only once. The programs under test are in a second archive (tests/kernel/src/archive.rs), which the kernel unpacks
# over this one.
#   tools/kernel/image.sh
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../env.sh"
PATH="$PATH:/usr/sbin:/sbin"

guest="$handsfree_root/tests/kernel/guest"
kernel="$handsfree_tools/kernel"
images="$handsfree_root/target/kernel-machine"

# Modules that tests load; their dependencies are added.
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

[ -s "$kernel/release" ] || fail "there is no kernel in target/tools/kernel: run tools/setup-kernel.sh"
release="$(cat "$kernel/release")"
for program in qemu-system-x86_64 busybox cpio depmod modprobe ldd "${programs[@]}"; do
    command -v "$program" >/dev/null || fail "$program is missing: run tools/setup-kernel.sh"
done

# Prints the files of a program: the program, its libraries and its loader, without following links.
files_of() {
    echo "$1"
    { ldd "$1" || true; } | sed -n 's/.*=> \(\/[^ ]*\) .*/\1/p; s/^[[:space:]]*\(\/[^ ]*\) (0x.*/\1/p'
}

# Prints the files of all modules with their dependencies, without modules that are built into the kernel.
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

# The hash covers contents rather than dates, so that a fresh checkout or a reinstalled package keeps the image.
key() {
    {
        cat "${BASH_SOURCE[0]}" "$guest"/*
        echo "$release" "${programs[@]}"
        # shellcheck disable=SC2046  # The paths contain no spaces.
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
    # The kernel runs this path when it loads a module itself.
    ln -s ../bin/busybox "$root/sbin/modprobe"
    place "$guest/init" /init
    place "$guest/agent" /bin/agent

    program_files | while read -r file; do place "$file"; done
    # The library's own configuration only: files that desktops add name plug-ins that are missing here.
    mkdir -p "$root/usr/share/alsa"
    cp -rL /usr/share/alsa/{alsa.conf,cards,ctl,pcm} "$root/usr/share/alsa/"
    echo 'root:x:0:0:root:/root:/bin/sh' > "$root/etc/passwd"
    echo 'root:x:0:' > "$root/etc/group"

    local modules_root="lib/modules/$release"
    module_files | while read -r file; do
        place "$file" "/$modules_root/kernel/${file##*/}"
        # Decompressed, because busybox's modprobe may not support the distribution's compression.
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
    # Moved into place in one step, because several builds may run at once.
    (cd "$root" && find . -mindepth 1 | sort | cpio --quiet -o -H newc -R 0:0) > "$out.$$"
    mv "$out.$$" "$out"
fi
echo "$out"
