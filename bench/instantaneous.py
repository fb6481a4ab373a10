#!/usr/bin/env python3
"""Instantaneous mixtures: our methods against scikit-learn's FastICA, quality and time in one run.

    bench/setup.sh                                     # once: the rival
    /tmp/demix-bench-venv/bin/python bench/instantaneous.py [--data DIR] [--threads 2] [--seeds 3]

Mixtures are random gains (columns at least 15 degrees apart) of synthetic sources (coloured, with pauses) and,
with --data, of the speakers and of the stems of the Test songs in that folder, as many channels as sources. The
figure is the signal-to-interference ratio of the outputs in dB, from the gains W A and the powers of the sources:
median and quartiles over all mixtures. Both sides see the same single precision samples, take turns with the same
number of threads, and stop at 1e-6; scikit-learn's starts are seeded. The time is that of ten minutes of stereo at
44.1 kHz (--minutes), the least of --repeat runs. The last line is JSON: seconds, and ratios rival / ours.
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
OURS = ["amuse", "sobi", "jade", "fastica"]
RIVAL = "scikit-learn FastICA"


def main():
    arguments = parse()
    for name in ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"]:
        os.environ[name] = str(arguments.threads)  # before numpy is loaded
    example = ["-p", "demix-spatial", "--example", "time_instantaneous"]
    subprocess.run(["cargo", "build", "--release", "--quiet", *example], cwd=ROOT, check=True)
    print(f"{arguments.threads} threads, load {os.getloadavg()[0]:.1f}\n")
    quality = {}
    for kind, cases in materials(arguments).items():
        quality[kind] = compare_quality(kind, cases, arguments)
    seconds = compare_time(arguments)
    print(json.dumps(summary(quality, seconds, arguments)))


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with speech/ and DSD100like/")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--seeds", type=int, default=3, help="mixtures of each set of sources")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--repeat", type=int, default=3)
    return parser.parse_args()


def materials(arguments):
    """Sets of sources, (sources, samples) at 16 kHz, by kind."""
    import numpy as np

    kinds = {"synthetic": [synthetic(n, 10 * 16000, seed) for n in (2, 3, 4) for seed in range(4)]}
    if not arguments.data:
        return kinds
    speakers = sorted((arguments.data / "speech").glob("librispeech_*0000.flac"))
    kinds["speech"] = [join(speakers[k : k + n]) for n in (2, 3) for k in range(0, 12, n)]
    stems = ["vocals.wav", "drums.wav", "bass.wav", "other.wav"]
    songs = sorted((arguments.data / "DSD100like/Sources/Test").iterdir())
    kinds["music"] = [join([song / stem for stem in stems[:n]]) for song in songs for n in (2, 3, 4)]
    assert all(np.isfinite(s).all() for sets in kinds.values() for s in sets)
    return kinds


def join(paths):
    """Recordings, as long as the shortest, at one power."""
    import numpy as np
    import soundfile

    sounds = [soundfile.read(path)[0] for path in paths]
    length = min(map(len, sounds))
    s = np.array([sound[:length] for sound in sounds])
    return s / s.std(axis=1, keepdims=True)


def synthetic(n, samples, seed):
    """Noise through random resonances, in bursts."""
    import numpy as np
    from scipy.signal import lfilter

    rng = np.random.default_rng(seed)
    s = []
    for _ in range(n):
        angle, radius = rng.uniform(0.02, 1.5), rng.uniform(0.9, 0.99)
        x = lfilter([1.0], [1.0, -2 * radius * np.cos(angle), radius**2], rng.standard_normal(samples))
        loud = np.repeat(rng.exponential(1, samples // 2000 + 1), 2000)[:samples]
        s.append(x * loud)
    s = np.array(s)
    return s / s.std(axis=1, keepdims=True)


def gains(n, rng):
    """Columns of length one, pairwise at least 15 degrees apart."""
    import numpy as np

    while True:
        a = rng.standard_normal((n, n))
        a /= np.linalg.norm(a, axis=0)
        if np.abs(a.T @ a - np.eye(n)).max() < np.cos(np.radians(15)):
            return a


def compare_quality(kind, cases, arguments):
    import numpy as np

    names = [*OURS, RIVAL]
    scores = {name: [] for name in names}
    for case, s in enumerate(cases):
        for seed in range(arguments.seeds):
            rng = np.random.default_rng([case, seed])
            a = gains(len(s), rng)
            x = (0.05 * a @ s).astype("f4")
            for name, found in run_ours(x, 16000, OURS, arguments, 1).items():
                scores[name].append(sir(np.array(found["demixing"]) @ a))
            scores[RIVAL].append(sir(scikit_learn(x, seed)[0] @ a))
    print(f"{kind}: SIR (dB) of {len(scores[RIVAL])} mixtures: median, quartiles, worst")
    for name in names:
        low, middle, high = np.percentile(scores[name], [25, 50, 75])
        print(f"  {name:22} {middle:6.1f}  ({low:.1f} to {high:.1f})  {min(scores[name]):6.1f}")
    print()
    return {name: float(np.median(scores[name])) for name in names}


def sir(g):
    """Mean over outputs of own power over that of all others, in dB; each source belongs to one output."""
    import numpy as np
    from scipy.optimize import linear_sum_assignment

    p = np.asarray(g) ** 2
    db = 10 * np.log10((p + 1e-15) / (p.sum(axis=1, keepdims=True) - p + 1e-15))
    rows, columns = linear_sum_assignment(-db)
    return float(db[rows, columns].mean())


def run_ours(x, rate, methods, arguments, repeat):
    import numpy as np

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "X.npy"
        np.save(path, np.ascontiguousarray(x, dtype="f4"))
        target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
        program = target / "release/examples/time_instantaneous"
        command = [program, path, rate, len(x), arguments.threads, repeat, *methods]
        done = subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def scikit_learn(x, seed):
    """W and the seconds."""
    import warnings

    from sklearn.decomposition import FastICA

    warnings.filterwarnings("ignore")  # that it did not converge
    ica = FastICA(len(x), fun="logcosh", tol=1e-6, max_iter=200, whiten="unit-variance", random_state=seed)
    clock = time.perf_counter()
    ica.fit(x.T)
    return ica.components_, time.perf_counter() - clock


def compare_time(arguments):
    import numpy as np

    rate, rng = 44100, np.random.default_rng(0)
    samples = int(arguments.minutes * 60 * rate)
    x = (0.05 * gains(2, rng) @ synthetic(2, samples, 1)).astype("f4")
    methods = [*OURS, "fastica-all-samples"]
    ours = run_ours(x, rate, methods, arguments, arguments.repeat)
    rival = min(scikit_learn(x, 0)[1] for _ in range(arguments.repeat))
    print(f"{arguments.minutes:g} minutes of stereo at {rate} Hz: seconds, and scikit-learn's over ours")
    for name in methods:
        print(f"  {name:22} {ours[name]['seconds']:8.3f} {rival / ours[name]['seconds']:8.1f}")
    print(f"  {RIVAL:22} {rival:8.3f}")
    return {**{name: ours[name]["seconds"] for name in methods}, RIVAL: rival}


def summary(quality, seconds, arguments):
    rival = seconds[RIVAL]
    ours = {name: value for name, value in seconds.items() if name != RIVAL}
    return {
        "what": f"demixing {arguments.minutes:g} minutes of stereo at 44.1 kHz, {arguments.threads} threads",
        "ours": ours,
        "rivals": {RIVAL: rival},
        "ratio": {name: rival / value for name, value in ours.items()},
        "sir_db": quality,
    }


if __name__ == "__main__":
    sys.exit(main())
