#!/usr/bin/env python3
"""NMF: our multiplicative update against scikit-learn's NMF(solver='mu'), in one run.

    bench/setup.sh                                     # once: the rival
    /tmp/demix-bench-venv/bin/python bench/nmf.py [--threads 1] [--beta 1] [--components 50]

Both start from the same factors of the same random matrix (single precision, seeded) and take turns with
the same number of threads; after --iterations both costs must agree. Seconds per iteration are differences
of a long and a short run, the least of --rounds rounds. Processor time is given beside wall time because
other work on the machine disturbs it less. Time to cost is the time that each takes to the cost that
scikit-learn has after --far iterations, ours with its default acceleration. The last line is JSON: wall
seconds, and ratios rival / ours.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FLOOR = 1e-9  # of the mean: what keeps logarithms and quotients finite in both programs
NAMES = {0.0: "Itakura-Saito", 1.0: "Kullback-Leibler", 2.0: "Euclidean"}


def main():
    arguments = parse()
    threads = str(arguments.threads)
    for name in ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"]:
        os.environ[name] = threads  # before numpy is loaded
    build = ["cargo", "build", "--release", "--quiet", "-p", "demix-nmf", "--example", "time_nmf"]
    subprocess.run(build, cwd=ROOT, check=True)
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        v, w, h = write_input(Path(folder), arguments)
        for beta in arguments.beta:
            results[beta] = compare(Path(folder), v, w, h, beta, arguments)
    print_table(results, arguments)
    print(json.dumps(summary(results, arguments)))


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bins", type=int, default=1025)
    parser.add_argument("--frames", type=int, default=2000)
    parser.add_argument("--components", type=int, default=50)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--iterations", type=int, default=20, help="of which the time is taken")
    parser.add_argument("--far", type=int, default=200, help="iterations to the cost that is raced for; 0: no race")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--beta", type=float, nargs="+", default=[1.0, 0.0, 2.0])
    return parser.parse_args()


def write_input(folder, arguments):
    """Sparse factors times exponential noise: as ragged as a spectrogram."""
    import numpy as np

    rng = np.random.default_rng(0)
    bins, frames, k = arguments.bins, arguments.frames, arguments.components
    v = (rng.random((bins, k)) ** 3) @ (rng.random((k, frames)) ** 3) * rng.exponential(1, (bins, frames))
    v = np.maximum(v / v.mean(), FLOOR).astype("f4")
    w = (rng.random((bins, k)) + 0.01).astype("f4")
    h = ((rng.random((k, frames)) + 0.01) / (0.26 * k)).astype("f4")
    for name, x in {"V": v, "W": w, "H": h}.items():
        np.save(folder / f"{name}.npy", x)
    return v, w, h


def compare(folder, v, w, h, beta, arguments):
    n = arguments.iterations
    rival = {"short": [], "long": []}
    ours = []
    for _ in range(arguments.rounds):
        rival["short"].append(scikit_learn(v, w, h, beta, 1)[:2])
        ours.append(run_ours(folder, beta, n, arguments.threads, "none"))
        rival["long"].append(scikit_learn(v, w, h, beta, n + 1)[:2])
    best = lambda runs, clock: min(run[clock] for run in runs)  # noqa: E731
    per_iteration = [(best(rival["long"], clock) - best(rival["short"], clock)) / n for clock in (0, 1)]
    result = {
        "wall": {"ours": least(ours, "seconds_per_iteration"), "rival": per_iteration[0]},
        "cpu": {"ours": least(ours, "cpu_seconds_per_iteration"), "rival": per_iteration[1]},
        "peak_gflops": max(run["peak_gflops"] for run in ours),
        "gflops_cpu": max((run["cpu_peak_share"] or 0) * run["peak_gflops"] for run in ours),
        "simd": ours[0]["simd"],
    }
    *_, model = scikit_learn(v, w, h, beta, n)
    theirs, own = divergence(v, model, beta), ours[0]["cost"]
    result["cost_difference"] = abs(own - theirs) / theirs
    if result["cost_difference"] > 1e-3:
        sys.exit(f"beta={beta}: after {n} iterations our cost is {own}, scikit-learn's {theirs}")
    if arguments.far:
        result["race"] = race(folder, v, w, h, beta, arguments)
    return result


def race(folder, v, w, h, beta, arguments):
    """Seconds to the cost that scikit-learn has after so many iterations."""
    wall, _, model = scikit_learn(v, w, h, beta, arguments.far)
    target = divergence(v, model, beta)
    ours = run_ours(folder, beta, 2 * arguments.far, arguments.threads, "extrapolated", target)
    return {"rival": wall, "ours": ours["seconds_to_target"], "iterations": ours["iterations_to_target"]}


def scikit_learn(v, w, h, beta, iterations):
    """Wall seconds, processor seconds and the model."""
    import warnings

    from sklearn.decomposition import NMF

    warnings.filterwarnings("ignore")  # that it did not converge
    nmf = NMF(w.shape[1], solver="mu", init="custom", beta_loss=beta, max_iter=iterations, tol=0)
    w, h = w.copy(), h.copy()
    wall, cpu = time.perf_counter(), time.process_time()
    found = nmf.fit_transform(v, W=w, H=h)
    return time.perf_counter() - wall, time.process_time() - cpu, found @ nmf.components_


def run_ours(folder, beta, iterations, threads, acceleration, target=None):
    command = [target_folder() / "release/examples/time_nmf"]
    command += [folder / f"{name}.npy" for name in "VWH"]
    command += [str(beta), str(iterations), str(threads), acceleration] + ([] if target is None else [str(target)])
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def target_folder():
    return Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))


def least(runs, key):
    values = [run[key] for run in runs if run[key] is not None]
    return min(values) if values else None


def divergence(v, model, beta):
    """By the definition, in double precision."""
    import numpy as np

    x, y = v.astype("f8"), np.maximum(model.astype("f8"), FLOOR)
    if beta == 2:
        return float(np.sum((x - y) ** 2) / 2)
    if beta == 1:
        return float(np.sum(x * np.log(x / y) - x + y))
    if beta == 0:
        return float(np.sum(x / y - np.log(x / y) - 1))
    return float(np.sum(x**beta + (beta - 1) * y**beta - beta * x * y ** (beta - 1)) / (beta * (beta - 1)))


def name_of(beta):
    return NAMES.get(beta, f"beta = {beta:g}")


def print_table(results, arguments):
    a = arguments
    first = next(iter(results.values()))
    print(f"{a.bins} x {a.frames}, K = {a.components}, {a.threads} threads, {first['simd']}, ", end="")
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
    print(f"{'ms per iteration':18} {'ours':>8} {'sklearn':>8} {'ratio':>6}   {'ours cpu':>8} {'skl. cpu':>8} {'ratio':>6}"
          f"   {'of peak':>7} {'cost diff.':>10}")
    for beta, r in results.items():
        row = f"{name_of(beta):18}"
        for clock in ("wall", "cpu"):
            ours, rival = r[clock]["ours"], r[clock]["rival"]
            row += " " * 9 + "-" * 16 if ours is None else f" {1e3 * ours:8.2f} {1e3 * rival:8.2f} {rival / ours:6.2f}  "
        print(f"{row} {100 * r['gflops_cpu'] / r['peak_gflops']:6.0f} % {r['cost_difference']:10.1e}")
    for beta, r in results.items():
        if race := r.get("race"):
            ours = "not reached" if race["ours"] is None else (
                f"ours {race['ours']:.3f} s ({race['iterations']} iterations), {race['rival'] / race['ours']:.1f} times faster")
            print(f"to the cost of {a.far} iterations, {name_of(beta)}: scikit-learn {race['rival']:.3f} s, {ours}")


def summary(results, arguments):
    keyed = {"ours": {}, "rival": {}}
    for beta, r in results.items():
        for who in keyed:
            keyed[who][name_of(beta)] = r["wall"][who]
            if r["cpu"]["ours"] is not None:
                keyed[who][f"{name_of(beta)}, processor time"] = r["cpu"][who]
            if r.get("race") and r["race"]["ours"] is not None:
                keyed[who][f"{name_of(beta)}, to cost"] = r["race"][who]
    ratio = {name: round(keyed["rival"][name] / seconds, 2) for name, seconds in keyed["ours"].items()}
    a = arguments
    return {
        "what": f"NMF {a.bins} x {a.frames}, K = {a.components}, {a.threads} threads: seconds per iteration; to cost: seconds",
        "ours": keyed["ours"],
        "rivals": {"scikit-learn": keyed["rival"]},
        "ratio": {"scikit-learn": ratio},
        "share_of_peak": {name_of(b): round(r["gflops_cpu"] / r["peak_gflops"], 3) for b, r in results.items()},
    }


if __name__ == "__main__":
    sys.exit(main())
