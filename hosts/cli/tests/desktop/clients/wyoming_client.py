"""Talks to a satellite as an assistant does: receives its microphone's sound, and sends it a file to play.

Usage: wyoming_client.py URI SECONDS RECORDED PLAY_AFTER_S RATE_HZ PLAYED       (files of mono samples of 16 bits)
"""
import asyncio
import sys

from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncClient
from wyoming.satellite import RunSatellite

uri, recorded, played = sys.argv[1], sys.argv[3], sys.argv[6]
seconds, play_after_s, rate_hz = float(sys.argv[2]), float(sys.argv[4]), int(sys.argv[5])


async def speak(satellite):
    await asyncio.sleep(play_after_s)
    sound = dict(rate=rate_hz, width=2, channels=1)
    await satellite.write_event(AudioStart(**sound).event())
    with open(played, "rb") as samples:
        while piece := samples.read(2048):
            await satellite.write_event(AudioChunk(audio=piece, **sound).event())
    await satellite.write_event(AudioStop().event())


async def main():
    async with AsyncClient.from_uri(uri) as satellite:
        await satellite.write_event(RunSatellite().event())
        speaking = asyncio.create_task(speak(satellite))
        left = None
        with open(recorded, "wb") as out:
            while left is None or left > 0:
                event = await satellite.read_event()
                if event is None:
                    sys.exit("the satellite closed the connection")
                if not AudioChunk.is_type(event.type):
                    continue
                chunk = AudioChunk.from_event(event)
                left = round(seconds * chunk.rate) if left is None else left
                out.write(chunk.audio[: 2 * left])
                left -= chunk.samples
        await speaking


asyncio.run(main())
