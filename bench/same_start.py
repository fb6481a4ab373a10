#!/usr/bin/env python3
"""The same method from the same start: our outputs against ssspy's, by SDR, on recordings.

    $python bench/mixtures.py --data DIR --out FOLDER
    $python bench/same_start.py --mixtures FOLDER [--cases 'speech-4-*'] [--own-starts 20]

ssspy and we get the same X and, where the method has them, the same T and V; W = I; after --iterations both outputs,
projected back onto microphone 1, are compared: the difference of their SDR against the source images (mean over
sources of the absolute difference, and the largest), and the SDR of one against the other. `--own-starts N` adds ILRMA
from each program's own random starts: N seeds, mean difference of the SDR over cases with a bootstrap interval over
cases and seeds; where ssspy ends in a singular matrix it gets noise 60 dB below the mixture. The last line is JSON.

Ours is the example `demix_npy` of demix-spatial: a folder with X.npy (channels, bins, frames), T0.npy (sources, bins,
components), V0.npy (sources, components, frames), and settings NAME=VALUE; it writes Y.npy (sources, bins, frames) at
microphone 1 and prints {"seconds_per_iteration", "cost", "elapsed"}: the cost at the start and after every iteration,
summed over frames, and when each was known, in seconds. Without T0.npy and V0.npy it makes its own start from the
settings `components` and `seed`.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from fnmatch import fnmatch
from pathlib import Path
from types import SimpleNamespace

from rivals import NOISE_LEVEL, set_threads
from separation import COMPONENTS, ROOT, STFT, Results, score, target_folder

NU = 5  # heavy tails, so that t-ILRMA is not ILRMA again
CONTESTS = {  # name: (ours, ssspy's class and settings)
    "ilrma ip1": ({"method": "ilrma", "update": "ip1"}, ("GaussILRMA", {"spatial_algorithm": "IP1"})),
    "ilrma ip2": ({"method": "ilrma", "update": "ip2"}, ("GaussILRMA", {"spatial_algorithm": "IP2"})),
    "ilrma iss1": ({"method": "ilrma", "update": "iss1"}, ("GaussILRMA", {"spatial_algorithm": "ISS1"})),
    "t-ilrma ip1": (
        {"method": "t-ilrma", "update": "ip1", "nu": NU},
        ("TILRMA", {"spatial_algorithm": "IP1", "dof": NU}),
    ),
    "auxiva ip1": ({"method": "auxiva", "update": "ip1"}, ("AuxLaplaceIVA", {"spatial_algorithm": "IP1"})),
}


def main():
    arguments = parse()
    set_threads(arguments.threads)
    build = ["cargo", "build", "--release", "--quiet", "-p"]
    subprocess.run([*build, "demix-eval", "--example", "score"], cwd=ROOT, check=True)
    subprocess.run([*build, "demix-spatial", "--example", "demix_npy"], cwd=ROOT, check=True)
    results = Results(arguments)
    found = {}
    print(f"{'case':34} {'contest':12} {'ours dB':>8} {'ssspy dB':>8} {'largest diff.':>13} {'agree to':>9}")
    for name in arguments.contests:
        for case in recordings(arguments):
            row = contest(case, name, arguments)
            found.setdefault(name, []).append(row["largest_difference"])
            print(
                f"{case.name:34} {name:12} {row['ours']:8.2f} {row['ssspy']:8.2f} {row['largest_difference']:13.1e}"
                f" {row['agreement']:6.0f} dB",
                flush=True,
            )
    summary = {
        "what": f"same start, {arguments.iterations} iterations: largest difference of SDR in dB",
        "largest_difference": {name: max(values) for name, values in found.items()},
        "within_0.05_dB": {name: sum(v <= 0.05 for v in values) / len(values) for name, values in found.items()},
    }
    if arguments.own_starts:
        summary["own_starts"] = own_starts(arguments, results)
    print(json.dumps(summary))


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mixtures", type=Path, required=True, help="what mixtures.py wrote")
    parser.add_argument("--cases", nargs="+", default=["*"], help="names or patterns, of the reported cases")
    parser.add_argument("--contests", nargs="*", choices=[*CONTESTS, []], default=list(CONTESTS))
    parser.add_argument("--iterations", type=int, default=20)
    parser.add_argument("--own-starts", type=int, default=0, help="so many seeds")
    parser.add_argument("--own-iterations", type=int, default=100)
    parser.add_argument("--precision", choices=["double", "single"], default="double", help="of ours")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "demix-bench-cache")
    return parser.parse_args()


def recordings(arguments):
    """One at a time: name, rate, images (microphone 1), X and what turns Y into sound."""
    import soundfile
    from scipy.signal import stft

    for path in sorted(arguments.mixtures.glob("*/case.json")):
        about = json.loads(path.read_text())
        if not about["reported"] or not any(fnmatch(path.parent.name, pattern) for pattern in arguments.cases):
            continue
        mixture, rate = soundfile.read(path.parent / "mixture.wav")
        images = [soundfile.read(image)[0][:, 0] for image in sorted(path.parent.glob("image-*.wav"))]
        window, hop = STFT[about["kind"]]
        x = stft(mixture.T, window="hann", nperseg=window, noverlap=window - hop)[2]
        yield SimpleNamespace(
            name=path.parent.name,
            rate=rate,
            images=images,
            window=window,
            hop=hop,
            components=COMPONENTS[about["kind"]],
            x=scaled(x),
        )


def scaled(x):
    """To unit power: ssspy's floors are absolute."""
    import numpy as np

    return x / np.sqrt(np.mean(np.abs(x) ** 2))


def contest(case, name, arguments):
    import numpy as np

    settings, (rival, rival_settings) = CONTESTS[name]
    start = None if settings["method"] == "auxiva" else random_start(case, seed=0)
    settings = {**settings, "iterations": arguments.iterations, "precision": arguments.precision}
    ours = sound(case, run_ours(case.x, start, settings, arguments.threads)["y"])
    theirs = sound(case, run_ssspy(case.x, start, rival, rival_settings, arguments.iterations, case.components))
    a, b = (score(case.images, signals, case.rate)["sdr"] for signals in (ours, theirs))
    error = np.sum((ours - theirs) ** 2) / np.sum(theirs**2)
    return {
        "ours": float(np.mean(a)),
        "ssspy": float(np.mean(b)),
        "largest_difference": float(np.max(np.abs(np.subtract(a, b)))),
        "agreement": float(-10 * np.log10(max(error, 1e-32))),
    }


def random_start(case, seed):
    """T and V above ssspy's floor."""
    import numpy as np

    rng = np.random.default_rng(seed)
    n_sources, n_bins, n_frames = case.x.shape
    t = 0.01 + rng.random((n_sources, n_bins, case.components))
    return t, 0.01 + rng.random((n_sources, case.components, n_frames))


def run_ours(x, start, settings, threads):
    """What the program prints, its processor time (cpu), and y at microphone 1 unless write=no.

    Without a start it makes its own, from the setting seed.
    """
    import numpy as np

    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        np.save(folder / "X.npy", np.ascontiguousarray(x))
        for name, factor in zip(["T0", "V0"], start or []):
            np.save(folder / f"{name}.npy", factor)
        command = [target_folder() / "release/examples/demix_npy", folder]
        command += [f"{name}={value}" for name, value in settings.items()]
        environment = {**os.environ, "RAYON_NUM_THREADS": str(threads)}
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.returncode != 0:
            sys.exit(f"demix_npy: {done.stderr.strip()}")
        found = {**json.loads(done.stdout), "cpu": after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime}
        return found if settings.get("write") == "no" else {**found, "y": np.load(folder / "Y.npy")}


def run_ssspy(x, start, rival, settings, iterations, components, seed=0):
    import numpy as np
    from ssspy.bss import ilrma, iva

    if rival == "AuxLaplaceIVA":
        return iva.AuxLaplaceIVA(record_loss=False, **settings)(x, n_iter=iterations)
    rng = np.random.default_rng(seed)
    method = getattr(ilrma, rival)(components, record_loss=False, rng=rng, **settings)
    given = dict(zip(["basis", "activation"], start or []))
    return method(x, n_iter=iterations, **given)


def sound(case, y):
    from scipy.signal import istft

    signals = istft(y, window="hann", nperseg=case.window, noverlap=case.window - case.hop)[1]
    return signals[:, : len(case.images[0])]


def own_starts(arguments, results):
    """ILRMA with IP1 from the programs' own starts: {"mean_difference", "interval", "cases", "seeds"}."""
    import numpy as np

    seeds = range(arguments.own_starts)
    differences = []  # [case][program][seed]
    for case in recordings(arguments):
        gains = [[own_start(case, who, seed, arguments, results) for seed in seeds] for who in ("ours", "ssspy")]
        differences.append(gains)
        print(f"{case.name:34} own starts   {np.mean(gains[0]):8.2f} {np.mean(gains[1]):8.2f}", flush=True)
    gains = np.array(differences)
    rng = np.random.default_rng(0)
    n_cases, _, n_seeds = gains.shape
    draws = []
    for _ in range(10_000):
        of_case = gains[rng.integers(n_cases, size=n_cases)]
        ours, theirs = (of_case[:, who][:, rng.integers(n_seeds, size=n_seeds)].mean() for who in (0, 1))
        draws.append(ours - theirs)
    return {
        "mean_difference": float((gains[:, 0] - gains[:, 1]).mean()),
        "interval_95": [float(np.percentile(draws, q)) for q in (2.5, 97.5)],
        "cases": n_cases,
        "seeds": n_seeds,
    }


def own_start(case, who, seed, arguments, results):
    """Mean SDR of the sources; ssspy's are kept."""
    import numpy as np

    iterations = arguments.own_iterations
    if who == "ours":
        settings = {
            "method": "ilrma",
            "update": "ip1",
            "components": case.components,
            "iterations": iterations,
            "precision": arguments.precision,
            "seed": seed,
        }
        y = run_ours(case.x, None, settings, arguments.threads)["y"]
        return np.mean(score(case.images, sound(case, y), case.rate)["sdr"])
    key = f"own start, {case.name}, {case.window}:{case.hop}, K {case.components}, {iterations} iterations, seed {seed}"
    if key not in results.rows:
        settings = ("GaussILRMA", {"spatial_algorithm": "IP1"}, iterations, case.components, seed)
        try:
            y = run_ssspy(case.x, None, *settings)
        except np.linalg.LinAlgError:
            # a second attempt, as in separation.py
            noise = np.random.default_rng(seed).standard_normal((2, *case.x.shape))
            y = run_ssspy(case.x + NOISE_LEVEL * (noise[0] + 1j * noise[1]) / np.sqrt(2), None, *settings)
            print(f"{case.name}, seed {seed}: ssspy ends in a singular matrix, without noise", file=sys.stderr)
        results.add({"key": key, **score(case.images, sound(case, y), case.rate)})
    return np.mean(results.rows[key]["sdr"])


if __name__ == "__main__":
    sys.exit(main())
