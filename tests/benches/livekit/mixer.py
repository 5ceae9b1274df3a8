"""Measures the time per 10 ms frame of LiveKit's AudioMixer. The benchmark mixer.rs runs it.

    mixer.py SAMPLES MIXED FRAMES RUNS SOURCES...

SAMPLES is a file of 16-bit mono samples at 48 kHz, with a stretch of equal length for each source of the largest number in
SOURCES. For each number in SOURCES it mixes FRAMES frames RUNS times, repeating each source's stretch, and prints the number
and the best processor time per frame in nanoseconds, from the first mixed frame received to the last. The time includes
reading prepared frames from the sources and taking the mixed ones; it excludes the start of the interpreter, of LiveKit's
library and of the mixer. The mix of the last number of sources over one stretch is written to MIXED.
"""

import array
import asyncio
import sys
import time
from importlib.metadata import version

from livekit import rtc

RATE = 48_000
FRAME = RATE // 100


def frames_of(samples):
    return [
        rtc.AudioFrame(samples[at : at + FRAME].tobytes(), RATE, 1, FRAME)
        for at in range(0, len(samples), FRAME)
    ]


async def stream(frames, count):
    for k in range(count):
        yield frames[k % len(frames)]


async def mix(sources, count, mixed):
    mixer = rtc.AudioMixer(RATE, 1, blocksize=FRAME)
    for frames in sources:
        mixer.add_stream(stream(frames, count))
    mixer.end_input()
    received = 0
    async for frame in mixer:
        last = time.thread_time_ns()
        if received == 0:
            first = last
        if received < len(sources[0]):
            mixed.append(frame)
        received += 1
    await mixer.aclose()
    if received != count:
        raise SystemExit(f"{received} frames mixed, expected {count}")
    return (last - first) / (count - 1)


def main():
    samples_path, mixed_path, count, runs, *numbers = sys.argv[1:]
    numbers = [int(n) for n in numbers]
    samples = array.array("h")
    with open(samples_path, "rb") as file:
        samples.frombytes(file.read())
    stretch = len(samples) // max(numbers)
    sources = [frames_of(samples[n * stretch : (n + 1) * stretch]) for n in range(max(numbers))]
    print("version", version("livekit"), sys.version.split()[0])
    mixed = []
    for number in numbers:
        times = []
        for _ in range(int(runs)):
            mixed = []
            times.append(asyncio.run(mix(sources[:number], int(count), mixed)))
        print(number, min(times), flush=True)
    with open(mixed_path, "wb") as file:
        for frame in mixed:
            file.write(frame.data.tobytes())


main()
