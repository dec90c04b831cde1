#!/bin/sh
# The ablation table: trains recipe.ron with one ingredient taken away at a time, from several seeds, and prints for every variant the
# median rounds to 1e-6 on held-out problems of several kinds (the median over the seeds, smallest and largest in brackets), the
# geometric mean over the kinds of their ratio to the rule with everything on, and the runs that diverged.
#   run.sh [STARLING [FOLDER [VARIANT ...]]]
# STARLING: the program (default target/release/starling); FOLDER: where checkpoints go (default checkpoints/ablation).
# SEEDS, TRIALS: environment variables, seeds (default "1 2 3") and problems per kind (default 20).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
starling=${1:-target/release/starling}
out=${2:-checkpoints/ablation}
SEEDS=${SEEDS:-1 2 3}
TRIALS=${TRIALS:-20}
[ "$#" -ge 2 ] && shift 2 || shift "$#"
[ "$#" -gt 0 ] || set -- everything no-networks no-momentum no-extrapolation no-gradient-difference no-memory no-conditioning \
    no-averaging refresh-1 long-windows mean-objective
mkdir -p "$out"

# What a rule is tried on: name, problem, graph.
kinds() {
    echo 'ring|Lasso(dimension: 100, rows: 10)|Ring(10)'
    echo 'star|Lasso(dimension: 80, rows: 10, heterogeneity: 0.5)|Star(12)'
    echo 'random|Lasso(dimension: 50, rows: 10)|ErdosRenyi(agents: 25, probability: 0.2)'
    echo 'logistic|Logistic(dimension: 50, rows: 20, l1: 0.01)|Ring(10)'
}

echo '| | LASSO, ring of 10 | heterogeneous LASSO, star of 12 | LASSO, Erdős–Rényi(25, 0.2) | logistic, ring of 10 | rounds, relative | diverged |'
echo '| :- | -: | -: | -: | -: | -: | -: |'
for variant in "$@"; do
    case $variant in
    everything) change='' ;;
    no-networks) change='s/hidden: \[24, 24\]/hidden: []/' ;;
    no-momentum) change='s/momentum: 0.6/momentum: 0/; s/momentum: 0.7/momentum: 0/' ;;
    no-extrapolation) change='s/extrapolation: 0.5/extrapolation: 0/; s/ranges: (/ranges: (extrapolation: 0, /' ;;
    no-gradient-difference) change='s/ranges: (/ranges: (gradient_difference: 0, /' ;;
    no-memory) change='s/memory: 0.5/memory: 0/' ;;
    no-conditioning) change='s/refresh: 4,/refresh: 4, conditioning: false,/' ;;
    no-averaging) change='s/averaging: 0.98/averaging: 0/' ;;
    refresh-1) change='s/refresh: 4,/refresh: 1,/' ;;
    # The same horizons in windows five times as long: as many steps, a fifth of the meta-steps.
    long-windows) change='s/truncation: 12/truncation: 60/; s/truncation: 16/truncation: 80/' ;;
    mean-objective) change='s/LogGap/MeanObjective/' ;;
    *) echo "unknown variant $variant" >&2; exit 2 ;;
    esac
    sed "$change" "$here/recipe.ron" >"$out/$variant.ron"
    rules='' runs=''
    for seed in $SEEDS; do
        run=$out/$variant-$seed
        "$starling" train "$out/$variant.ron" --seed "$seed" --threads 1 --restart --out "$run" >"$run.log" 2>&1 &
        runs="$runs $!"
        rules="$rules${rules:+,}$run/best.ron"
    done
    # One by one: a bare wait forgets that a training failed.
    for run in $runs; do
        wait "$run" || { echo "training failed: $variant, see $out/$variant-*.log" >&2; exit 1; }
    done
    kinds | while IFS='|' read -r kind problem graph; do
        "$starling" eval --rules "$rules" --baselines none --tuning-problems 0 --trials "$TRIALS" --steps 2000 \
            --problem "$problem" --graph "$graph" --out "$out/$variant-$kind" >>"$out/$variant.log" 2>&1
    done
    python3 - "$variant" "$out" "$(kinds | cut -d'|' -f1)" <<'END'
import json
import math
import statistics
import sys

variant, out, kinds = sys.argv[1], sys.argv[2], sys.argv[3].split()


def rows(variant, kind):
    with open(f"{out}/{variant}-{kind}/results.json", encoding="utf-8") as file:
        return json.load(file)


def rounds(variant, kind):
    """Median rounds of every seed's rule, infinite where a half of the problems was not solved."""
    found = [row["rounds_to"]["1e-6"] for row in rows(variant, kind)]
    return [math.inf if r is None else r for r in found]


cells, logs = [], []
for kind in kinds:
    mine = rounds(variant, kind)
    middle = statistics.median(mine)
    cells.append(f"{middle:g} ({min(mine):g}–{max(mine):g})" if middle < math.inf else "> 2,000")
    try:
        logs.append(math.log(middle / statistics.median(rounds("everything", kind))))
    except OSError:
        logs.append(math.nan)
diverged = [(row["failed"], row["trials"]) for kind in kinds for row in rows(variant, kind)]
relative = math.exp(statistics.fmean(logs))
relative = f"{relative:.2f}" if math.isfinite(relative) else "–"
print(f"| {variant} | {' | '.join(cells)} | {relative} | {sum(f for f, _ in diverged)}/{sum(t for _, t in diverged)} |")
END
done
