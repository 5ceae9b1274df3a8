#!/usr/bin/env bash
# Installs what the kernel machine (tools/kernel, tests/kernel) needs: QEMU, busybox, alsa-utils, strace, and a kernel of the
# distribution, which is unpacked into target/tools/kernel without being installed. Called by setup.sh; can be run repeatedly.
#   tools/setup-kernel.sh
#   HANDSFREE_KERNEL=linux-image-6.12-amd64 tools/setup-kernel.sh
# The second form selects another kernel by its package or metapackage; it stays selected until the next such call.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
source "$handsfree_root/tools/versions.sh"
source "$handsfree_root/tools/apt.sh"

kernel_dir="$handsfree_tools/kernel"

setup_programs() {
    local missing=()
    command -v qemu-system-x86_64 >/dev/null || missing+=(qemu-system-x86)
    # Static, because busybox is the guest's first program and has no libraries.
    busybox_is_static || missing+=(busybox-static)
    command -v cpio >/dev/null || missing+=(cpio)
    command -v aplay >/dev/null && command -v alsaloop >/dev/null || missing+=(alsa-utils)
    command -v strace >/dev/null || missing+=(strace)
    command -v depmod >/dev/null || [ -x /sbin/depmod ] || missing+=(kmod)
    command -v xz >/dev/null || missing+=(xz-utils)
    command -v zstd >/dev/null || missing+=(zstd)
    [ -z "${missing[*]}" ] || apt_install "${missing[@]}"
}

busybox_is_static() {
    command -v busybox >/dev/null && ! ldd "$(command -v busybox)" >/dev/null 2>&1
}

# Prints the packages of a kernel's metapackage: the image, and on Ubuntu its modules.
kernel_packages() {
    local meta image package
    case "${HANDSFREE_KERNEL:-$(. /etc/os-release && echo "$ID")}" in
        linux-image-*) meta="$HANDSFREE_KERNEL" ;;
        debian) meta=linux-image-amd64 ;;
        ubuntu) meta=linux-image-generic ;;
        *) fail "unknown distribution: expected Debian or Ubuntu; unpack a kernel with its modules into $kernel_dir/root" ;;
    esac
    image="$(depends_of "$meta" 'linux-image-[0-9]')"
    # The name may be that of a kernel package instead of a metapackage.
    [ -n "$image" ] || ! apt-cache show "$meta" >/dev/null 2>&1 || image="$meta"
    [ -n "$image" ] || return 0
    echo "$image"
    case "$image" in
        *-generic)
            for package in "linux-modules-${image#linux-image-}" "linux-modules-extra-${image#linux-image-}"; do
                ! apt-cache show "$package" >/dev/null 2>&1 || echo "$package"
            done
            ;;
    esac
}

# With Debian's kernels 6.1.170 to 6.1.174 playback on USB cards fails: aplay gets an input/output error on QEMU's USB card,
# which does not happen with 6.1.159 and 6.1.176.
kernel_is_without_usb_audio() {
    case "$1" in
        *6.1.0-4[5-9]-*) true ;;
        *) false ;;
    esac
}

depends_of() {
    apt-cache depends "$1" 2>/dev/null | sed -n "s/^ *Depends: *\\($2[^ ]*\\)\$/\\1/p" | head -n 1
}

# Extracts and decompresses the ELF file inside a bzImage, as the boot protocol's header describes. Booting it directly (by
# PVH) saves the decompression on the emulated processor.
extract_vmlinux() {
    local image="$1" out="$2" sectors offset length start magic
    sectors="$(od -An -tu1 -j497 -N1 "$image" | tr -d ' ')"
    offset="$(od -An -tu4 -j584 -N4 "$image" | tr -d ' ')"
    length="$(od -An -tu4 -j588 -N4 "$image" | tr -d ' ')"
    start=$(((sectors + 1) * 512 + offset))
    # The last 4 bytes hold the decompressed length and do not belong to the compressed file.
    dd if="$image" of="$out.packed" bs=1M iflag=skip_bytes,count_bytes skip="$start" count=$((length - 4)) status=none
    magic="$(od -An -tx1 -N4 "$out.packed" | tr -d ' ')"
    case "$magic" in
        fd377a58) xz -dc --single-stream < "$out.packed" > "$out" ;;
        28b52ffd) zstd -q -dc < "$out.packed" > "$out" ;;
        1f8b*) gzip -dc < "$out.packed" > "$out" ;;
        *) fail "the kernel's compression is unknown (magic number $magic): expected xz, zstd or gzip" ;;
    esac
    rm "$out.packed"
    [ "$(head -c 4 "$out" | tail -c 3)" = ELF ] || fail "$image contains no ELF file"
}

setup_kernel() {
    if [ -s "$kernel_dir/release" ] && [ -s "$kernel_dir/vmlinux" ]; then
        if [ -n "${HANDSFREE_KERNEL:-}" ]; then
            [ "$HANDSFREE_KERNEL" != "$(cat "$kernel_dir/asked")" ] || return 0
        else
            kernel_is_without_usb_audio "$(cat "$kernel_dir/release")" || return 0
            say "the kernel that was unpacked earlier cannot play to USB cards; replacing it"
        fi
    fi
    [ "$(uname -m)" = x86_64 ] || fail "the kernel machine supports x86-64 only, this is $(uname -m)"
    local packages
    packages="$(kernel_packages)"
    if [ -z "$packages" ] || kernel_is_without_usb_audio "$packages"; then
        say "fetching apt's package lists"
        as_root apt-get update -q
        packages="$(kernel_packages)"
    fi
    [ -n "$packages" ] || fail "apt has no kernel package"
    if kernel_is_without_usb_audio "$packages" && [ -z "${HANDSFREE_KERNEL:-}" ]; then
        fail "$packages cannot play to USB cards: select another kernel, for example HANDSFREE_KERNEL=linux-image-6.12-amd64"
    fi
    say "downloading and unpacking without installing: $packages"
    rm -rf "$kernel_dir"
    mkdir -p "$kernel_dir/root"
    # apt run by root downloads as the user _apt, which may not be able to reach the working copy.
    work="$(mktemp -d)"
    trap 'rm -rf "$work"' EXIT
    chmod 755 "$work"
    [ "$(id -u)" -ne 0 ] || chown _apt "$work"
    # shellcheck disable=SC2086  # The variable is a list of names.
    (cd "$work" && { apt-get download -q $packages || { as_root apt-get update -q && apt-get download -q $packages; }; }) \
        || fail "could not download $packages"
    local deb image release
    for deb in "$work"/*.deb; do
        # Leaves out large parts that are not needed.
        dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$kernel_dir/root" --exclude='*/kernel/drivers/gpu' \
            --exclude='*/kernel/drivers/net' --exclude='*/kernel/drivers/scsi' --exclude='*/kernel/drivers/infiniband' \
            --exclude='*/kernel/drivers/media/[!m]*' --exclude='./boot/System.map*' --exclude='./usr/share'
    done
    image=("$kernel_dir"/root/boot/vmlinuz-*)
    [ -e "${image[0]}" ] || fail "the kernel package has no boot/vmlinuz"
    release="${image[0]##*/vmlinuz-}"
    # Debian 13 has the modules in /usr/lib/modules.
    [ -d "$kernel_dir/root/lib/modules/$release" ] || ln -s usr/lib "$kernel_dir/root/lib"
    PATH="$PATH:/sbin:/usr/sbin" depmod -b "$kernel_dir/root" "$release"
    extract_vmlinux "${image[0]}" "$kernel_dir/vmlinux"
    echo "${HANDSFREE_KERNEL:-}" > "$kernel_dir/asked"
    echo "$release" > "$kernel_dir/release"
}

setup_programs
setup_kernel
say "kernel machine ready: Linux $(cat "$kernel_dir/release"), $(qemu-system-x86_64 --version | head -n 1)"
