#!/usr/bin/env python3
"""Says a file and stops when somebody speaks. Usage: socket_agent.py raw-file-at-16-kHz"""
import array, json, os, socket, sys, threading

def connect(**hello):
    client = socket.socket(socket.AF_UNIX)
    client.connect(os.environ.get("HANDSFREE_SOCKET", "/run/handsfree/socket"))
    client.sendall(json.dumps(hello).encode() + b"\n")
    return client, client.makefile("rb")

def messages(lines):
    for line in lines:
        message = json.loads(line)
        yield message, lines.read(message.get("bytes", 0))

speaker, answers = connect(type="speak", rate_hz=16000, name="agent")
speech = open(sys.argv[1], "rb").read()
def say():
    for at in range(0, len(speech), 32000):
        piece = speech[at:at + 32000]
        speaker.sendall(json.dumps({"type": "audio", "bytes": len(piece)}).encode() + b"\n" + piece)
    speaker.sendall(b'{"type":"end"}\n')
threading.Thread(target=say, daemon=True).start()

def listen():
    for message, samples in messages(connect(type="mic", rate_hz=16000, name="agent")[1]):
        loudest = max(map(abs, array.array("h", samples)), default=0)
        if loudest > 3000:  # a real agent asks its voice detector
            speaker.sendall(b'{"type":"interrupt"}\n')
            return
threading.Thread(target=listen, daemon=True).start()

for message, _ in messages(answers):
    if message["type"] in ("played", "interrupted", "error"):
        print(json.dumps(message))
        break
