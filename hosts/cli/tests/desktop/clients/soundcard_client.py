"""Records the virtual microphone as linux-voice-assistant does: by the name that the sound server shows, with soundcard.

Usage: soundcard_client.py RATE_HZ SECONDS RECORDED       (a file of mono samples of 16 bits)
"""
import sys

import soundcard

rate_hz, seconds, path = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
microphone = soundcard.get_microphone("handsfree microphone")
left = round(seconds * rate_hz)
with microphone.recorder(samplerate=rate_hz, channels=1, blocksize=1024) as recorder, open(path, "wb") as out:
    while left > 0:
        samples = recorder.record(1024).ravel()[:left]
        left -= len(samples)
        out.write((samples * 32768).clip(-32768, 32767).astype("<i2").tobytes())
