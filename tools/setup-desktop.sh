#!/usr/bin/env bash
# What the tests on a desktop's sound server need (hosts/cpal/tests): PulseAudio, its command, and speech. They start a server of
# their own; none is left running and none is configured. Called by setup.sh; safe to run again.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
source "$handsfree_root/tools/versions.sh"
source "$handsfree_root/tools/apt.sh"

setup_servers() {
    local missing=()
    command -v pulseaudio >/dev/null || missing+=(pulseaudio)
    command -v pactl >/dev/null || missing+=(pulseaudio-utils)
    # Its recorded speech is what the terminal plays.
    [ -e /usr/share/sounds/alsa/Front_Center.wav ] || missing+=(alsa-utils)
    [ -z "${missing[*]}" ] || apt_install "${missing[@]}"
}

setup_servers
say "desktop ready: $(pulseaudio --version | head -n 1)"
