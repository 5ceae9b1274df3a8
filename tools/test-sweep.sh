#!/usr/bin/env bash
# Runs a small campaign with one process, with GNU parallel and with Ray, two workers each, one of which is killed in mid-run. The
# lines must be those of one process: nothing lost, nothing twice. The command must have been built.
#   tools/test-sweep.sh [target/release/handsfree]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
"$handsfree_root/tools/setup-sweep.sh"
command="$(realpath "${1:-$handsfree_root/target/release/handsfree}")"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
cd "$work"

cat > rooms.toml <<'TOML'
[base]
rate = 16000
seconds = 10
no-aec = true
no-ns = true
no-agc = true
near = "none"
[axes]
seed = { from = 1, to = 10 }
playback-ppm = [0, 100, -100.5]
TOML

# Prints the results of a folder without the times they took.
results() {
    cat "$1"/*.jsonl | sed 's/"took_s":[0-9.]*/"took_s":0/' | sort
}

compare() {
    if ! diff <(results one) <(results "$1") > "difference"; then
        echo "$2: the lines differ from those of one process:" >&2
        head -n 5 difference >&2
        exit 1
    fi
    "$command" sweep report "$1" | head -n 1 | grep -q '^30 of 30 conversations, 0 failed, 0 missing, 0 repeated'
    echo "$2: the 30 lines are those of one process"
}

"$command" sweep rooms.toml --out one

# The first process of shard 1 kills itself after its first line; GNU parallel runs the shard again.
cat > shard.sh <<'SH'
#!/usr/bin/env bash
command="$1" shard="$2"
"$command" sweep rooms.toml --out parallel --shard "$shard/6" &
process=$!
if [ "$shard" = 1 ] && [ ! -e killed ]; then
    until grep -q . parallel/shard-1-of-6.jsonl 2>/dev/null; do sleep 0.002; done
    kill -KILL "$process" && touch killed
fi
wait "$process"
SH
chmod +x shard.sh
parallel --will-cite --jobs 2 --retries 3 ./shard.sh "$command" {} ::: 1 2 3 4 5 6
[ -e killed ] || { echo "GNU parallel: no process was killed" >&2; exit 1; }
compare parallel 'GNU parallel with one process killed'

HANDSFREE_SWEEP_SHARDS=6 parallel --will-cite --jobs 2 -n0 "$command" sweep rooms.toml --out by-number ::: 1 2 3 4 5 6
compare by-number 'GNU parallel, shards by PARALLEL_SEQ'

"$handsfree_tools/ray/bin/python3" "$handsfree_root/tools/sweep-with-ray.py" "$command" "$work/rooms.toml" "$work/ray" 6
compare ray 'Ray with one worker killed'
