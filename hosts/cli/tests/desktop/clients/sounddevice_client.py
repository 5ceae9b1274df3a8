"""Records ALSA's device "handsfree" with one stream of sounddevice, and plays a file on it with another.

Usage: sounddevice_client.py RATE_HZ SECONDS RECORDED PLAY_AFTER_S PLAYED       (files of mono samples of 16 bits)
"""
import sys
import threading
import time

import sounddevice

rate_hz, seconds, play_after_s = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[4])
recorded, played = sys.argv[3], sys.argv[5]
stream_format = dict(samplerate=rate_hz, device="handsfree", channels=1, dtype="int16")


def play():
    time.sleep(play_after_s)
    # The end of the block waits until everything was heard.
    with sounddevice.RawOutputStream(**stream_format) as stream, open(played, "rb") as samples:
        while piece := samples.read(4096):
            stream.write(piece)


player = threading.Thread(target=play)
overflows = 0
with sounddevice.RawInputStream(**stream_format) as stream, open(recorded, "wb") as out:
    player.start()
    left = round(seconds * rate_hz)
    while left > 0:
        samples, has_overflowed = stream.read(min(left, rate_hz // 100))
        overflows += has_overflowed
        left -= len(samples) // 2
        out.write(samples)
player.join()
sys.exit(f"sounddevice reported {overflows} overflows: expected none" if overflows else 0)
