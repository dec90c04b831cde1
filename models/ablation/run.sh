#!/bin/sh
# The ablation table: trains recipe.ron with one ingredient taken away at a time and prints, for every variant, median rounds to
# 1e-6 and 1e-10 and the number of problems on which it diverged, on held-out LASSO problems (d = 100, ring of 10; 20 problems, 2,000 rounds).
#   run.sh [STARLING [FOLDER [VARIANT ...]]]
# STARLING: the program (default target/release/starling); FOLDER: where checkpoints go (default checkpoints/ablation).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
starling=${1:-target/release/starling}
out=${2:-checkpoints/ablation}
[ "$#" -ge 2 ] && shift 2 || shift "$#"
[ "$#" -gt 0 ] || set -- everything no-networks no-momentum no-extrapolation no-gradient-difference no-memory no-conditioning \
    no-averaging refresh-1 long-windows mean-objective
mkdir -p "$out"

for variant in "$@"; do
    case $variant in
    everything) change='' ;;
    no-networks) change='s/hidden: \[24, 24\]/hidden: []/' ;;
    no-momentum) change='s/momentum: 0.6/momentum: 0/; s/momentum: 0.7/momentum: 0/' ;;
    no-extrapolation) change='s/extrapolation: 0.5/extrapolation: 0/; s/ranges: (/ranges: (extrapolation: 0, /' ;;
    no-gradient-difference) change='s/ranges: (/ranges: (gradient_difference: 0, /' ;;
    no-memory) change='s/memory: 0.5/memory: 0/' ;;
    no-conditioning) change='s/refresh: 2,/refresh: 2, conditioning: false,/' ;;
    no-averaging) change='s/averaging: 0.98/averaging: 0/' ;;
    refresh-1) change='s/refresh: 2,/refresh: 1,/' ;;
    # The same horizons in windows five times as long: as many steps, a fifth of the meta-steps.
    long-windows) change='s/truncation: 12/truncation: 60/; s/truncation: 16/truncation: 80/' ;;
    mean-objective) change='s/LogGap/MeanObjective/' ;;
    *) echo "unknown variant $variant" >&2; exit 2 ;;
    esac
    sed "$change" "$here/recipe.ron" >"$out/$variant.ron"
    "$starling" train "$out/$variant.ron" --out "$out/$variant" >"$out/$variant.log" 2>&1
    "$starling" eval --rules "$out/$variant/best.ron" --baselines none --tuning-problems 0 --trials 20 --steps 2000 \
        --problem 'Lasso(dimension: 100, rows: 10)' --graph 'Ring(10)' --out "$out/$variant/eval" >>"$out/$variant.log" 2>&1
    VARIANT=$variant python3 - "$out/$variant/eval/results.json" <<'END'
import json
import os
import sys

row = json.load(open(sys.argv[1], encoding="utf-8"))[0]
rounds = row["rounds_to"]
print("|", os.environ["VARIANT"], "|", rounds["1e-6"], "|", rounds["1e-10"], "|", f"{row['failed']}/{row['trials']}", "|")
END
done
