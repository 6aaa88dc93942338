"""Make a checkpoint the shipped champion, and write what is measured of it on its card.

    python benchmarks/champion.py runs/NAME/checkpoints/best [--rounds 1000] [--seed 20261122]

Copies it to checkpoints/champion, then runs what anybody can run: `evaluate champion --card` against weak, strong and
random, and against the gauntlet. What an exploiter takes needs the extra `sparring` and is measured apart:
`league exploit champion --card`. The run's evaluations and thinned metrics go to
benchmarks/results/champion_training.json.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import cli
from dreamer.checkpoint import load_checkpoint, save_checkpoint

ROOT = Path(__file__).resolve().parent.parent
THINNING = 2_000
OPPONENTS = ("weak,strong,random", "gauntlet")


def training_curve(run: Path) -> list[dict[str, Any]]:
    """The evaluations that training made on its way, and its metrics every THINNING updates, in order."""
    lines = (json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines())
    return [line for line in lines if line["kind"] == "evaluation" or line["updates"] % THINNING == 0]


def main() -> int:
    """Copy, evaluate, and write the curve; returns the exit code of the first evaluation that failed, or 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=20261122)
    arguments = parser.parse_args()
    save_checkpoint(ROOT / "checkpoints" / "champion", *load_checkpoint(arguments.checkpoint))
    how = ["--rounds", str(arguments.rounds), "--seed", str(arguments.seed), "--card"]
    for opponents in OPPONENTS:
        code = cli.run(["evaluate", "champion", "--against", opponents, *how])
        if code:
            return code
    curve = ROOT / "benchmarks" / "results" / "champion_training.json"
    curve.parent.mkdir(exist_ok=True)
    rows = map(json.dumps, training_curve(arguments.checkpoint.parents[1]))
    curve.write_text("[\n" + ",\n".join(rows) + "\n]\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
