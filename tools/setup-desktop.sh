#!/usr/bin/env bash
# Installs what the tests on a desktop's sound servers (hosts/cpal/tests) need: PulseAudio and its command, PipeWire with its
# session manager and its PulseAudio interface, and recorded speech. The tests start and end their own servers. Called by
# setup.sh; can be run repeatedly.
#   tools/setup-desktop.sh             the servers
#   tools/setup-desktop.sh clients     also programs that use `handsfree serve` (hosts/cli/tests/desktop): baresip, and those in Python
#                                      in target/tools/desktop and target/tools/satellite; only `make test-desktop` and `make soak` need them
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
source "$handsfree_root/tools/versions.sh"
source "$handsfree_root/tools/apt.sh"

setup_servers() {
    local missing=() units=()
    command -v pulseaudio >/dev/null || missing+=(pulseaudio)
    command -v pactl >/dev/null || missing+=(pulseaudio-utils)
    command -v pipewire >/dev/null || missing+=(pipewire) units+=(pipewire.socket pipewire.service)
    command -v pipewire-pulse >/dev/null || missing+=(pipewire-pulse) units+=(pipewire-pulse.socket pipewire-pulse.service)
    command -v wireplumber >/dev/null || missing+=(wireplumber) units+=(wireplumber.service)
    # The session manager needs a D-Bus session.
    command -v dbus-run-session >/dev/null || missing+=(dbus)
    # The tests play its recorded speech.
    [ -e /usr/share/sounds/alsa/Front_Center.wav ] || missing+=(alsa-utils)
    [ -z "${missing[*]}" ] || apt_install "${missing[@]}"
    # The new packages would start PipeWire at each login and take the sound cards, so the units are disabled.
    if [ -n "${units[*]}" ] && command -v systemctl >/dev/null; then
        as_root systemctl --global --quiet disable "${units[@]}" || say "could not disable PipeWire's services: PipeWire will start at the next login"
    fi
}

# Makes an environment with exactly the packages of a file. The environment keeps a copy of it, which marks it as complete.
setup_python() {
    local environment="$handsfree_tools/$1" wanted="$handsfree_root/tools/$2"
    cmp -s "$wanted" "$environment/requirements.txt" && return
    say "installing $(sed -n 's/==.*//p' "$wanted" | paste -sd' ') from PyPI into target/tools/$1"
    rm -rf "$environment"
    # With the system's packages, because cffi (for both) and numpy (for soundcard) have compiled parts.
    /usr/bin/python3 -m venv --system-site-packages "$environment"
    "$environment/bin/pip" install --quiet --disable-pip-version-check --ignore-installed --no-deps --require-hashes -r "$wanted" \
        || fail "pip could not install the packages of tools/$2"
    cp "$wanted" "$environment/requirements.txt"
}

setup_clients() {
    local missing=()
    /usr/bin/python3 -c 'import ensurepip' 2>/dev/null || missing+=(python3-venv)
    /usr/bin/python3 -c 'import cffi' 2>/dev/null || missing+=(python3-cffi)
    /usr/bin/python3 -c 'import numpy' 2>/dev/null || missing+=(python3-numpy)
    ldconfig -p | grep -q 'libportaudio\.so\.2' || missing+=(libportaudio2)
    command -v baresip >/dev/null || missing+=(baresip-core)
    # Debian 12 has baresip's module for PulseAudio in this package.
    [ -e /usr/lib/baresip/modules/pulse.so ] || missing+=(baresip-x11)
    [ -z "${missing[*]}" ] || apt_install "${missing[@]}"
    setup_python desktop desktop-requirements.txt
    # The satellite needs an older version of wyoming than its clients have.
    setup_python satellite satellite-requirements.txt
    say "clients ready: $("$handsfree_tools/desktop/bin/python3" -c 'import sounddevice as s; print("sounddevice", s.__version__, "with", s.get_portaudio_version()[1].split(",")[0])')"
}

setup_servers
[ "${1:-}" != clients ] || setup_clients
say "desktop ready: $(pulseaudio --version | head -n 1), pipewire $(pipewire --version | sed -n 's/^Linked with libpipewire //p')"
