#!/usr/bin/env python3
"""Speed of the determined methods: ours, pyroomacoustics and ssspy in turn, in one run.

    $python bench/ilrma.py [--threads 1 2] [--case all] [--rounds 3] [--long]

X is drawn from the model: sources of low rank, mixed by a random matrix in every bin. Seconds per iteration are
differences of a long and a short run, the least of --rounds rounds, ours by the example `demix_npy` of demix-spatial;
processor time is given beside wall time because other work on the machine disturbs it less. The race: the time that
ssspy takes for --far iterations from a start that it shares with us, and the time that we take to its final cost, in
either precision; pyroomacoustics starts from its own factors, we from up to five of ours, all of whose time counts.
`--long` separates ten minutes of stereo at 16 kHz with 100 iterations through `demix separate`. The last line is JSON.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rivals import RIVALS, THREAD_VARIABLES, separate_stft
from same_start import run_ours, run_ssspy
from separation import ROOT, target_folder

BINS = 2049
CASES = {  # channels, frames, components, our settings, rivals
    "ilrma-2ch-150-K10": (2, 150, 10, {"method": "ilrma"}, ["pra-ilrma", "ssspy-ilrma-ip1"]),
    "ilrma-2ch-300-K10": (2, 300, 10, {"method": "ilrma"}, ["pra-ilrma", "ssspy-ilrma-ip1"]),
    "ilrma-2ch-150-K2": (2, 150, 2, {"method": "ilrma"}, ["pra-ilrma", "ssspy-ilrma-ip1"]),
    "ilrma-2ch-300-K2": (2, 300, 2, {"method": "ilrma"}, ["pra-ilrma", "ssspy-ilrma-ip1"]),
    "ilrma-3ch-150-K10": (3, 150, 10, {"method": "ilrma"}, ["pra-ilrma", "ssspy-ilrma-ip1"]),
    "ilrma-3ch-300-K2": (3, 300, 2, {"method": "ilrma"}, ["pra-ilrma", "ssspy-ilrma-ip1"]),
    "auxiva-2ch-150": (2, 150, 0, {"method": "auxiva"}, ["pra-auxiva", "ssspy-auxiva"]),
    "auxiva-2ch-300": (2, 300, 0, {"method": "auxiva"}, ["pra-auxiva", "ssspy-auxiva"]),
    "auxiva-3ch-300": (3, 300, 0, {"method": "auxiva"}, ["pra-auxiva", "ssspy-auxiva"]),
}
RACES = ["ilrma-2ch-300-K10", "ilrma-2ch-300-K2"]
OURS_LONGER = 20  # times as many iterations: they are short
STARTS = 5  # of ours at most, one after another, in the race against a rival that starts by itself
LONG_SECONDS, LONG_RATE = 600, 16000


def main():
    arguments = parse()
    if len(arguments.threads) > 1:
        return by_threads(arguments)
    threads = arguments.threads[0]
    for name in THREAD_VARIABLES:
        os.environ[name] = str(threads)  # before numpy is loaded
    build = ["cargo", "build", "--release", "--quiet", "-p", "demix-spatial", "--example", "demix_npy"]
    subprocess.run(build, cwd=ROOT, check=True)
    results = {name: per_iteration(name, threads, arguments) for name in chosen(arguments)}
    races = {name: race(name, threads, arguments) for name in RACES if name in results and arguments.far}
    long = ten_minutes(threads, arguments.demix) if arguments.long else None
    print_table(results, races, long, threads)
    print(json.dumps(summary(results, races, long, threads)))


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--case", choices=["all", *CASES], default="all")
    parser.add_argument("--iterations", type=int, default=10, help="of which the time is taken")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--far", type=int, default=100, help="iterations to the cost that is raced for; 0: no race")
    parser.add_argument(
        "--precision", choices=["single", "double"], default="single", help="of ours; the rivals have double"
    )
    parser.add_argument("--long", action="store_true", help="also ten minutes of stereo, ours only")
    parser.add_argument("--demix", type=Path, default=target_folder() / "release/demix")
    return parser.parse_args()


def by_threads(arguments):
    """A process for each number of threads: the libraries read it once."""
    found = {}
    for threads in arguments.threads:
        command = [
            sys.executable,
            __file__,
            "--threads",
            str(threads),
            "--case",
            arguments.case,
            "--far",
            str(arguments.far),
        ]
        command += ["--iterations", str(arguments.iterations), "--rounds", str(arguments.rounds)]
        command += [
            "--demix",
            str(arguments.demix),
            "--precision",
            arguments.precision,
            *(["--long"] if arguments.long else []),
        ]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
        print("\n".join(output[:-1]), end="\n\n", flush=True)
        found[threads] = json.loads(output[-1])
    merged = {"what": "determined demixing, seconds per iteration; to cost: seconds"}
    for part in ("ours", "rivals", "ratio"):
        merged[part] = {}
        for threads, one in found.items():
            for name, value in one[part].items():
                if isinstance(value, dict):  # of one rival
                    keyed = {f"{case}, {threads} threads": x for case, x in value.items()}
                    merged[part].setdefault(name, {}).update(keyed)
                else:
                    merged[part][f"{name}, {threads} threads"] = value
    print(json.dumps(merged))


def chosen(arguments):
    return CASES if arguments.case == "all" else [arguments.case]


def draw(n_channels, n_frames, n_components):
    """X (channels, bins, frames) of unit power."""
    import numpy as np

    rng = np.random.default_rng(0)
    k = max(n_components, 2)
    variance = (rng.random((n_channels, BINS, k)) ** 3) @ (rng.random((n_channels, k, n_frames)) ** 3)
    complex_noise = lambda *shape: rng.standard_normal(shape) + 1j * rng.standard_normal(shape)  # noqa: E731
    sources = np.sqrt(variance) * complex_noise(n_channels, BINS, n_frames)
    mixing = np.eye(n_channels) + 0.4 * complex_noise(BINS, n_channels, n_channels)
    x = np.einsum("fmn,nft->mft", mixing, sources)
    return x / np.sqrt(np.mean(np.abs(x) ** 2))


def start(x, n_components):
    import numpy as np

    rng = np.random.default_rng(1)
    n_sources, n_bins, n_frames = x.shape
    return 0.01 + rng.random((n_sources, n_bins, n_components)), 0.01 + rng.random((n_sources, n_components, n_frames))


def per_iteration(name, threads, arguments):
    """{clock: {program: seconds}}: differences of a long and a short run; all take turns in every round."""
    n_channels, n_frames, components, settings, rivals = CASES[name]
    x = draw(n_channels, n_frames, components)
    factors = start(x, components) if components else None
    for rival in rivals:
        separate_stft(RIVALS[rival], x, 0, 1, components)  # loads the library
    mine = {**settings, "precision": arguments.precision, "write": "no"}
    steps = {"ours": OURS_LONGER * arguments.iterations, **dict.fromkeys(rivals, arguments.iterations)}
    best = {}
    for _ in range(arguments.rounds):
        for program, more in steps.items():
            for length, iterations in [("short", 2), ("long", 2 + more)]:
                if program == "ours":
                    ran = run_ours(x, factors, {**mine, "iterations": iterations}, threads)
                    clocks = {"wall": ran["elapsed"][-1], "cpu": ran["cpu"]}
                else:
                    begin = time.perf_counter(), time.process_time()
                    separate_stft(RIVALS[program], x, 0, iterations, components)
                    clocks = {"wall": time.perf_counter() - begin[0], "cpu": time.process_time() - begin[1]}
                for clock, seconds in clocks.items():
                    at = (clock, program, length)
                    best[at] = min(seconds, best.get(at, seconds))
    return {
        clock: {p: (best[clock, p, "long"] - best[clock, p, "short"]) / more for p, more in steps.items()}
        for clock in ("wall", "cpu")
    }


def race(name, threads, arguments):
    """{(rival, our precision): {"rival": seconds, "ours": seconds or None, "iterations" or "short", "starts"}}"""
    n_channels, n_frames, components, settings, _ = CASES[name]
    x = draw(n_channels, n_frames, components)
    factors = start(x, components)
    begin = time.perf_counter()
    run_ssspy(x, factors, "GaussILRMA", {"spatial_algorithm": "IP1"}, arguments.far, components)
    seconds = {"ssspy-ilrma-ip1": time.perf_counter() - begin}
    begin = time.perf_counter()
    separate_stft(RIVALS["pra-ilrma"], x, 0, arguments.far, components)
    seconds["pra-ilrma"] = time.perf_counter() - begin
    targets = {
        "ssspy-ilrma-ip1": ssspy_cost(x, factors, arguments.far),
        "pra-ilrma": pyroomacoustics_cost(x, components, arguments.far),
    }
    found = {}
    for rival, its_start in [("ssspy-ilrma-ip1", factors), ("pra-ilrma", None)]:
        own = {"components": components} if its_start is None else {}
        for precision in ("single", "double"):
            mine = {**settings, **own, "precision": precision, "iterations": 2 * arguments.far}
            n_starts = 1 if its_start else STARTS
            ours = reach(targets[rival], x, its_start, mine, n_starts, threads)
            found[rival, precision] = {"rival": seconds[rival], **ours}
    return found


def reach(target, x, its_start, settings, n_starts, threads):
    """Seconds until our cost is the target, starts that missed it counted, and by how much all missed it."""
    spent, lowest = 0.0, float("inf")
    for seed in range(n_starts):
        ours = run_ours(x, its_start, {**settings, "seed": seed, "write": "no"}, threads)
        reached = [i for i, cost in enumerate(ours["cost"]) if cost <= target]
        if reached:
            return {"ours": spent + ours["elapsed"][reached[0]], "iterations": reached[0], "starts": seed + 1}
        spent += ours["elapsed"][-1]
        lowest = min(lowest, min(ours["cost"]))
    return {"ours": None, "short": (lowest - target) / x.size, "starts": n_starts}


def ssspy_cost(x, factors, iterations):
    """The sum over frames of what it minimises."""
    from ssspy.bss.ilrma import GaussILRMA

    method = GaussILRMA(factors[0].shape[2], spatial_algorithm="IP1", record_loss=False)
    method.scale_restoration = False
    method(x, n_iter=iterations, basis=factors[0], activation=factors[1])
    return x.shape[2] * method.compute_loss()


def pyroomacoustics_cost(x, components, iterations):
    """The same sum; the library does not give its factors away, so its callback looks at the caller's variables."""
    import numpy as np
    from pyroomacoustics import bss

    iterations -= iterations % 10  # it calls back every ten
    seen = {}

    def look(_):
        state = sys._getframe(1).f_locals
        if state["epoch"] == iterations:
            seen.update({name: state[name].copy() for name in ("P", "T", "V", "W")})

    np.random.seed(0)
    bss.ilrma(np.ascontiguousarray(x.transpose(2, 1, 0)), n_iter=iterations + 1, n_components=components, callback=look)
    r = seen["T"] @ seen["V"].swapaxes(1, 2)
    # its W is scaled by columns in place of rows: the same determinant
    log_det = np.linalg.slogdet(seen["W"])[1].sum()
    return float(np.sum(seen["P"] / r + np.log(r)) - 2 * x.shape[2] * log_det)


def ten_minutes(threads, demix):
    """Seconds of `demix separate`, in all and of the separation alone."""
    import numpy as np
    import soundfile
    from scipy.signal import fftconvolve, lfilter

    rng = np.random.default_rng(0)
    n_samples = LONG_SECONDS * LONG_RATE
    seconds = np.arange(n_samples) / LONG_RATE
    mixture = 0.0
    for n in range(2):
        source = lfilter([1], [1, -0.9], rng.standard_normal(n_samples)) * (0.1 + (np.sin((2 + n) * seconds) > 0))
        room = rng.standard_normal((2400, 2)) * np.exp(-np.arange(2400) / 400)[:, None]
        room[0] += [3, 2] if n == 0 else [2, -3]
        mixture = mixture + 0.01 * fftconvolve(source[:, None], room, axes=0)[:n_samples]
    with tempfile.TemporaryDirectory() as folder:
        soundfile.write(Path(folder) / "mixture.wav", mixture, LONG_RATE, subtype="FLOAT")
        command = [demix, "separate", Path(folder) / "mixture.wav", "--method", "ilrma", "--quiet", "-o", folder]
        command += ["--set", "iterations=100", "--set", "tolerance=0"]
        begin, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, check=True, env={**os.environ, "RAYON_NUM_THREADS": str(threads)})
        whole, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
        report = json.loads((Path(folder) / "mixture/report.json").read_text())
    return {"whole": whole, **report["seconds"], "processor time": cpu}


def print_table(results, races, long, threads):
    print(f"{threads} threads, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors, {BINS} bins")
    rival = f"{'ratio':>6} {'by cpu':>6}"
    print(f"{'ms per iteration':20} {'ours':>8}  {'pra':>8} {rival}  {'ssspy':>8} {rival}")
    for name, result in results.items():
        row = f"{name:20} {1e3 * result['wall']['ours']:8.2f}"
        for rival in list(result["wall"])[1:]:
            ratios = (result[clock][rival] / result[clock]["ours"] for clock in ("wall", "cpu"))
            row += f"  {1e3 * result['wall'][rival]:8.2f}" + "".join(f" {ratio:6.1f}" for ratio in ratios)
        print(row)
    for name, its in races.items():
        for (rival, precision), r in its.items():
            if r["ours"] is None:
                ours = f"short of it by {r['short']:.0e} nats a slot after {r['starts']} starts"
            else:
                times = r["rival"] / max(r["ours"], 1e-9)
                starts = f"start {r['starts']}, " if r["starts"] > 1 else ""
                ours = f"{r['ours']:.2f} s ({starts}{r['iterations']} iterations), {times:.1f} times faster"
            print(f"{name}, to the final cost of {rival}: {r['rival']:.2f} s, ours in {precision} precision {ours}")
    if long:
        print(
            f"{LONG_SECONDS // 60} minutes of stereo at {LONG_RATE} Hz, 100 iterations: "
            + ", ".join(f"{part} {seconds:.2f} s" for part, seconds in long.items())
        )


def summary(results, races, long, threads):
    ours, rivals, ratio = {}, {}, {}
    for name, result in results.items():
        for clock, label in [("wall", name), ("cpu", f"{name}, processor time")]:
            ours[label] = result[clock]["ours"]
            for rival in list(result[clock])[1:]:
                rivals.setdefault(rival, {})[label] = result[clock][rival]
                ratio.setdefault(rival, {})[label] = round(result[clock][rival] / result[clock]["ours"], 2)
    for name, its in races.items():
        for (rival, precision), r in its.items():
            ours[f"{name}, to the cost of {rival}, {precision}"] = r["ours"]
            rivals.setdefault(rival, {})[f"{name}, to cost"] = r["rival"]
            ratio.setdefault(rival, {})[f"{name}, to cost, {precision}"] = r["ours"] and round(r["rival"] / r["ours"], 2)
    for part, seconds in (long or {}).items():
        ours[f"10 minutes of stereo, {part}"] = seconds
    what = f"determined demixing, {BINS} bins, {threads} threads: seconds per iteration; to cost: seconds"
    return {"what": what, "ours": ours, "rivals": rivals, "ratio": ratio}


if __name__ == "__main__":
    sys.exit(main())
