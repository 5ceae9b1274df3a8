"""Drives LiveKit's MediaDevices block by block without a sound card. The benchmark media_devices.rs runs it.

    media_devices.py SPEECH SECONDS RATE BLOCK PROCESSING

SPEECH is a file of 16-bit mono samples, which are repeated and played at the given rate. PROCESSING is `all`, `echo` (the
canceller and the high-pass) or `none`. `sounddevice` is replaced by a device in virtual time: at the end of block k each
callback is called once; the loudspeaker's block is heard one block later, the microphone's block was recorded during block
k, and the microphone receives the loudspeaker's sound twice, 5 and 13 ms later. `AudioSource`, which would publish the
captured frames, is replaced by a list, so that the comparison ends where the application has its frame. The mixer's
timeouts are effectively off, since they count wall time. Everything else is LiveKit's own code.

Prints the versions and two lines of numbers:
    callbacks_ns total_ns  delivered captured  reversed played  errors
    capture_ms playback_ms echo_db
The first two are this thread's processor time per 10 ms of audio, in the best second of the run. `delivered` and `reversed`
are the sample frames that the application and the canceller received of those captured and played; `errors` counts
exceptions that the callbacks suppress. `capture_ms` and `playback_ms` are medians of the age of a frame's first sample when
the application receives it, and of a sample when it is heard; `echo_db` compares microphone and delivered frames. These
three are measured in the last third of the run.
"""

import asyncio
import math
import statistics
import sys
import time
import types
from importlib.metadata import version

import numpy as np

ECHO = ((0.005, 0.25), (0.013, 0.1))


class Stream:
    """Replaces sounddevice's streams: keeps the callback."""

    made = []

    def __init__(self, *, callback, **_):
        self.callback = callback
        Stream.made.append(self)

    def start(self):
        pass

    stop = close = start


sys.modules["sounddevice"] = types.SimpleNamespace(InputStream=Stream, OutputStream=Stream)

from livekit import rtc  # noqa: E402
from livekit.rtc import media_devices as helpers  # noqa: E402


class Application:
    """Replaces AudioSource: keeps the captured frames."""

    def __init__(self, *_, **__):
        self.frames = []

    async def capture_frame(self, frame):
        self.frames.append(frame)


class CountingApm(rtc.AudioProcessingModule):
    """Counts the exceptions that the callbacks suppress, and the sample frames of the reverse path."""

    def __init__(self, **options):
        super().__init__(**options)
        self.errors = 0
        self.reversed = 0

    def process_stream(self, frame):
        try:
            super().process_stream(frame)
        except Exception:
            self.errors += 1
            raise

    def process_reverse_stream(self, frame):
        try:
            super().process_reverse_stream(frame)
            self.reversed += frame.samples_per_channel
        except Exception:
            self.errors += 1
            raise


helpers.AudioSource = Application
helpers.AudioProcessingModule = CountingApm


async def settle():
    """Runs all tasks until each of them waits."""
    loop = asyncio.get_running_loop()
    await asyncio.sleep(0)
    while loop._ready:
        await asyncio.sleep(0)


async def run(speech, seconds, rate, block, processing):
    Stream.made.clear()
    devices = helpers.MediaDevices(input_sample_rate=rate, output_sample_rate=rate, blocksize=block)
    capture = devices.open_input(
        enable_aec=processing != "none",
        high_pass_filter=processing != "none",
        noise_suppression=processing == "all",
        auto_gain_control=processing == "all",
    )
    player = devices.open_output()
    microphone, loudspeaker = Stream.made
    frame_samples = rate // 100
    spoken = asyncio.Queue()

    async def voice():
        while True:
            at = await spoken.get()
            samples = np.take(speech, range(at, at + frame_samples), mode="wrap")
            yield rtc.AudioFrame(samples.tobytes(), rate, 1, frame_samples)

    player._mixer = rtc.AudioMixer(rate, 1, stream_timeout_ms=1_000_000)
    player._mixer.add_stream(voice())
    await player.start()

    rng = np.random.default_rng(1)
    blocks = seconds * rate // block
    played = np.zeros((blocks + 2) * block)  # at the converter, from time 0 on
    pushed = taken = 0
    callback_ns, total_ns, in_level, out_level = [], [], [], []
    capture_ages, playback_ages = [], []
    out = np.zeros((block, 1), dtype=np.int16)
    for k in range(1, blocks + 1):
        now = k * block  # in sample frames
        recorded = np.arange(now - block, now)
        heard = 3.0 * rng.standard_normal(block)
        for delay_s, gain in ECHO:
            earlier = recorded - round(delay_s * rate)
            heard += np.where(earlier >= 0, gain * played[earlier], 0.0)
        heard = np.clip(np.rint(heard), -32768, 32767).astype(np.int16).reshape(block, 1)
        seconds_of = types.SimpleNamespace(
            currentTime=now / rate, outputBufferDacTime=(now + block) / rate, inputBufferAdcTime=(now - block) / rate
        )

        begun = time.thread_time_ns()
        while pushed + frame_samples <= now:
            spoken.put_nowait(pushed)
            pushed += frame_samples
        await settle()
        waiting = len(player._buffer)
        called = time.thread_time_ns()
        loudspeaker.callback(out, block, seconds_of, None)
        microphone.callback(heard, block, seconds_of, None)
        returned = time.thread_time_ns()
        await settle()
        ended = time.thread_time_ns()

        callback_ns.append(returned - called)
        total_ns.append(ended - begun)
        played[now + block : now + 2 * block] = out[:, 0]
        took = (waiting - len(player._buffer)) // 2
        if took > 0 and 3 * k > 2 * blocks:
            playback_ages.append((now + block - taken) / rate * 1e3)
        taken += took
        if 3 * k > 2 * blocks:
            in_level.append(np.mean(heard.astype(float) ** 2))
            new = capture.source.frames[len(capture.source.frames) - block // 480 :] if block >= 480 else []
            # The helper splits each block from its beginning and discards the rest of the previous one.
            capture_ages += [(block - i * 480) / rate * 1e3 for i in range(len(new))]
            out_level += [np.mean(np.asarray(frame.data, dtype=float) ** 2) for frame in new]
    frames, apm = capture.source.frames, capture.apm
    delivered = sum(frame.samples_per_channel for frame in frames)
    per_second = max(1, rate // block)
    best = [
        min(sum(times[at : at + per_second]) for at in range(per_second, len(times) - per_second, per_second))
        / (per_second * block / (rate / 100))
        for times in (callback_ns, total_ns)
    ]
    await player.aclose()
    await capture.aclose()
    median = lambda values: statistics.median(values) if values else math.nan  # noqa: E731
    echo_db = 10 * math.log10(np.mean(in_level) / max(np.mean(out_level), 1e-3)) if out_level else math.nan
    reversed_frames, errors = (apm.reversed, apm.errors) if apm else (0, 0)
    print(f"LiveKit {version('livekit')}, Python {sys.version.split()[0]}")
    print(*best, delivered, blocks * block, reversed_frames, blocks * block, errors)
    print(median(capture_ages), median(playback_ages), echo_db)


def main():
    speech_path, seconds, rate, block, processing = sys.argv[1:]
    speech = np.fromfile(speech_path, dtype=np.int16)
    asyncio.run(run(speech, int(seconds), int(rate), int(block), processing))


main()
