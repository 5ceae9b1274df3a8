#!/usr/bin/env bash
# Installs what the tests on a desktop's sound servers (hosts/cpal/tests) need: PulseAudio and its command, PipeWire with its
# session manager and its PulseAudio interface, and recorded speech. The tests start and end their own servers. Called by
# setup.sh; can be run repeatedly.
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

setup_servers
say "desktop ready: $(pulseaudio --version | head -n 1), pipewire $(pipewire --version | sed -n 's/^Linked with libpipewire //p')"
