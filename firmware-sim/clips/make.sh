#!/bin/sh
# Regenerates far.wav and near.wav in the current folder. Needs espeak-ng and sox (Debian packages).
set -eu
far="This voice comes from the loudspeaker of your terminal. The microphone hears it twice: once directly, and once more from the walls. Every sample has a time, so the echo is found by the moment it was played. Ask me something while I am speaking."
near="Okay, stop there please. Could you switch the kitchen lights off, and tell me if it will rain today?"
work=$(mktemp -d)
make_clip() { # name voice words-per-minute pitch text
    espeak-ng -v "$2" -s "$3" -p "$4" -a 60 "$5" -w "$work/raw.wav"
    # Pauses above 0.7 s are shortened to 0.7 s. Shorter ones would not do: a canceller estimates the background noise
    # during pauses, and takes speech without pauses for noise.
    sox -D "$work/raw.wav" "$work/even.wav" gain -6 highpass 70 treble +5 3000 \
        pad 0 0.5 silence -l 1 0.01 0.3% -1 0.7 0.3% \
        compand 0.003,0.08 -60,-60,-30,-24,-15,-15,-9,-12,0,-9 0 -60 0.003 \
        norm -0.1 gain -l 4 \
        fade h 0.005 reverse fade h 0.02 reverse gain -3
    rms=$(sox "$work/even.wav" -n stat 2>&1 | awk '/RMS.*amplitude/ {print $3}')
    factor=$(awk "BEGIN {print 0.1 / $rms}")
    sox -D -R "$work/even.wav" -b 16 -r 16000 "$1.wav" rate -v vol "$factor" pad 0 0.6
    sox "$1.wav" -n stat 2>&1 | grep -E 'Length|Max.*ampl|RMS.*ampl'
}
make_clip far en-us+f3 180 52 "$far"
make_clip near en-gb+m3 174 42 "$near"
rm -r "$work"
