#!/usr/bin/env python3
"""Says a file and stops when somebody speaks. Usage: agent.py raw-file-at-16-kHz"""
import array, signal, subprocess, sys, threading

def start(*words, **pipes):
    words = ["handsfree", *words, "-r", "16000", "-c", "1", "-t", "raw"]
    return subprocess.Popen(words, stdout=subprocess.PIPE, **pipes)

microphone = start("mic")
speaker = start("speak", "--json", stdin=open(sys.argv[1], "rb"))

def listen():
    while samples := array.array("h", microphone.stdout.read(640)):  # 20 ms without echo
        if max(map(abs, samples)) > 3000:  # a real agent asks its voice detector
            return speaker.send_signal(signal.SIGINT)

threading.Thread(target=listen, daemon=True).start()
print(speaker.stdout.read().decode(), end="")  # "played" or "interrupted", with the position heard
microphone.kill()
