"""Runs the shards of a campaign as Ray tasks on two workers, and kills one shard's process in mid-run.

    sweep-with-ray.py HANDSFREE FILE.toml FOLDER SHARDS

Ray runs the task of the killed process again. `handsfree sweep` goes on with the first conversation that has no line.
"""

import os
import signal
import subprocess
import sys
import time

import ray

TIME_LIMIT_S = 300


def lines(path):
    """Returns the number of complete lines of a shard's file."""
    try:
        with open(path, "rb") as file:
            return file.read().count(b"\n")
    except FileNotFoundError:
        return 0


@ray.remote(num_cpus=1, max_retries=3, retry_exceptions=True)
def run_shard(command, file, folder, shard, shards, is_victim):
    process = subprocess.Popen([command, "sweep", file, "--out", folder, "--shard", f"{shard}/{shards}"])
    killed = os.path.join(folder, "killed")
    if is_victim and not os.path.exists(killed):
        path = os.path.join(folder, f"shard-{shard}-of-{shards}.jsonl")
        end = time.monotonic() + TIME_LIMIT_S
        while lines(path) < 1 and process.poll() is None and time.monotonic() < end:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.wait()
        if process.returncode != -signal.SIGKILL:
            sys.exit(f"shard {shard} ended with {process.returncode} before it could be killed")
        with open(killed, "w", encoding="utf-8") as note:
            note.write(f"{lines(path)}\n")
        # The worker dies as well, as when its node fails.
        os.kill(os.getpid(), signal.SIGKILL)
    if process.wait() != 0:
        raise RuntimeError(f"shard {shard}: exit code {process.returncode}")
    return shard


def main():
    command, file, folder, shards = sys.argv[1:5]
    shards = int(shards)
    # Some machines have fewer cores; Ray counts what it is told.
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
    tasks = [run_shard.remote(command, file, folder, shard, shards, shard == 1) for shard in range(1, shards + 1)]
    ended = sorted(ray.get(tasks, timeout=TIME_LIMIT_S))
    if ended != list(range(1, shards + 1)):
        sys.exit(f"shards {ended} ended, expected 1 to {shards}")
    with open(os.path.join(folder, "killed"), encoding="utf-8") as note:
        print(f"Ray: one of two workers was killed after {note.read().strip()} lines of its shard")


main()
