#!/usr/bin/env bash
# What the tests on a desktop's sound server need (hosts/cpal/tests): PulseAudio, its command, PipeWire with its session manager and
# its PulseAudio interface, and speech. They start servers of their own; none is left running and none is configured. Called by
# setup.sh; safe to run again.
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
    # The session manager wants a bus.
    command -v dbus-run-session >/dev/null || missing+=(dbus)
    # Its recorded speech is what the terminal plays.
    [ -e /usr/share/sounds/alsa/Front_Center.wav ] || missing+=(alsa-utils)
    [ -z "${missing[*]}" ] || apt_install "${missing[@]}"
    # From now on each login would start it, and take the sound cards. Where there was none, nobody asked for that.
    if [ -n "${units[*]}" ] && command -v systemctl >/dev/null; then
        as_root systemctl --global --quiet disable "${units[@]}" || say "PipeWire will start with the next login"
    fi
}

setup_servers
say "desktop ready: $(pulseaudio --version | head -n 1), pipewire $(pipewire --version | sed -n 's/^Linked with libpipewire //p')"
