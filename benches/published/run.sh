#!/bin/sh
# Times the published implementation and ours in turn on one machine:
#   run.sh CHECKOUT OURS_TRAIN OURS_INFERENCE
# CHECKOUT is a folder with the published implementation; OURS_TRAIN and OURS_INFERENCE are shell
# commands that print one JSON object per line with "what" ("train" or "inference") and
# "seconds_per_window" or "seconds_per_step", for the same problem size, batch, window and threads.
# Settings, as environment variables: PYTHON (with PyTorch 2), ROUNDS, BATCH, WINDOW, THREADS, REPEATS, LOG.
# Every line is printed as it comes and kept in LOG; the medians over the rounds come last.
set -eu

if [ "$#" -ne 3 ]; then
    sed -n '2,8s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
checkout=$1
ours_train=$2
ours_inference=$3
here=$(cd "$(dirname "$0")" && pwd)
PYTHON=${PYTHON:-python3}
ROUNDS=${ROUNDS:-5}
BATCH=${BATCH:-32}
WINDOW=${WINDOW:-10}
THREADS=${THREADS:-2}
REPEATS=${REPEATS:-1}
LOG=${LOG:-published-against-ours.jsonl}
export BATCH WINDOW THREADS REPEATS
export RAYON_NUM_THREADS="$THREADS"

published() {
    "$PYTHON" "$here/time_published.py" --checkout "$checkout" --what "$1" \
        --batch "$BATCH" --window "$WINDOW" --threads "$THREADS" --repeats "$REPEATS"
}

# ---- OURS: runs the shell command it is given; the command sees BATCH, WINDOW, THREADS and REPEATS. ----
ours() {
    sh -c "$1"
}
# ---------------------------------------------------------------------------------------------------------

# Keeps a command's lines, and stops the whole run when the command failed (a plain pipe would hide it).
keep() {
    lines=$("$@") || { echo "failed: $*" >&2; exit 1; }
    printf '%s\n' "$lines" | tee -a "$LOG"
}

: >"$LOG"
round=1
while [ "$round" -le "$ROUNDS" ]; do
    keep published train
    keep ours "$ours_train"
    keep published inference
    keep ours "$ours_inference"
    round=$((round + 1))
done

"$PYTHON" - "$LOG" <<'END'
import json
import statistics
import sys

groups = {}
for text in open(sys.argv[1], encoding="utf-8"):
    try:
        line = json.loads(text)
    except ValueError:
        continue
    if not isinstance(line, dict) or "what" not in line:
        continue
    key = "seconds_per_window" if line["what"] == "train" else "seconds_per_step"
    if key in line:
        groups.setdefault((line["what"], line.get("who", "ours")), []).append(line[key])
for (what, who), seconds in sorted(groups.items()):
    print(f"{what:<10} {who:<10} median {statistics.median(seconds):.6g} s"
          f"  low {min(seconds):.6g}  high {max(seconds):.6g}  rounds {len(seconds)}")
for what in ("train", "inference"):
    theirs, mine = groups.get((what, "published")), groups.get((what, "ours"))
    if theirs and mine:
        print(f"{what:<10} published / ours = {statistics.median(theirs) / statistics.median(mine):.1f}")
END
