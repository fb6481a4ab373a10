#!/usr/bin/env python3
"""BSS Eval on recordings: our judge against mir_eval, museval and fast_bss_eval, in one run.

    bench/setup.sh                                     # once: the rivals
    /tmp/demix-bench-venv/bin/python bench/bss_eval_real.py FOLDER [--threads 2] [--repeat 3]

FOLDER holds sound files (WAV, FLAC), at any depth: one source each. Ten sets of 2 to 4 of them, 1 s to 30 s
long, are mixed and taken apart by masks that are half right, which leaves the interference and artifacts of
real separations; every program scores the same single precision samples. The table gives the largest
difference of any score in dB and the times; the last line is JSON.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

from bss_eval import ROOT, load, run_ours, run_rival

RATE = 16000
SETS = [(2, 1), (3, 1), (2, 2), (4, 3), (2, 5), (3, 8), (4, 10), (2, 15), (3, 20), (4, 30)]  # sources, seconds
CONTESTS = [("sources", "mir_eval"), ("sources", "fast_bss_eval"), ("si-sdr", "fast_bss_eval"), ("v4", "museval")]


def main():
    arguments = parse()
    for name in ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"]:
        os.environ[name] = str(arguments.threads)  # before numpy is loaded
    build = ["cargo", "build", "--release", "--quiet", "-p", "demix-eval", "--example", "score"]
    subprocess.run(build, cwd=ROOT, check=True)
    files = sorted(path for path in arguments.folder.rglob("*") if path.suffix.lower() in {".wav", ".flac"})
    chance = random.Random(arguments.seed)
    chance.shuffle(files)
    print(f"{arguments.threads} threads, {RATE} Hz, load {os.getloadavg()[0]:.1f}")
    print(f"{'set':8} {'measure':8} {'rival':14} {'ours (s)':>9} {'rival (s)':>10} {'ratio':>7} {'difference (dB)':>16}")
    rows = []
    for n_sources, seconds in SETS:
        with tempfile.TemporaryDirectory() as folder:
            paths = write_set(Path(folder), files, n_sources, seconds, chance)
            for measure, rival in CONTESTS:
                rows.append(compare(f"{n_sources}x{seconds}s", paths, measure, rival, arguments.repeat))
    print(json.dumps(summary(rows, arguments.threads)))


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="sound files, one source each")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def write_set(folder, files, n_sources, seconds, chance):
    """The next files that are long enough, their loudest stretch, and what masks make of their mixture."""
    import numpy as np
    from scipy.signal import istft, stft

    references = []
    for path in list(files):
        sound = loudest(read(path), seconds * RATE)
        if sound is not None:
            files.remove(path)
            files.append(path)  # to the end: the next set takes others
            references.append(sound)
            if len(references) == n_sources:
                break
    if len(references) < n_sources:
        sys.exit(f"{len(references)} files are {seconds} s or longer, {n_sources} are needed")
    references = np.stack(references)
    rng = np.random.default_rng(chance.randrange(1 << 30))
    powers = np.abs(stft(references, nperseg=1024)[2]) ** 2
    mixture = stft(references.sum(0), nperseg=1024)[2]
    wrong = powers * rng.gamma(0.5, size=powers.shape) + 0.05 * powers.sum(0)
    estimates = istft(mixture * wrong / wrong.sum(0), nperseg=1024)[1][:, : references.shape[1]]
    paths = {}
    for group, signals in [("references", references), ("estimates", estimates)]:
        paths[group] = [folder / f"{group}-{n}.f32" for n in range(n_sources)]
        for path, signal in zip(paths[group], signals):
            path.write_bytes(signal.astype("<f4").tobytes())
    return paths


def read(path):
    import soundfile
    from scipy.signal import resample_poly

    sound, rate = soundfile.read(path, always_2d=True)
    sound = sound[:, 0]
    return sound if rate == RATE else resample_poly(sound, RATE, rate)


def loudest(sound, length):
    """The stretch with the most energy, of whole seconds' beginnings; none in a file that is too short."""
    import numpy as np

    if len(sound) < length:
        return None
    starts = range(0, len(sound) - length + 1, RATE)
    start = max(starts, key=lambda start: np.square(sound[start : start + length]).sum())
    part = sound[start : start + length]
    level = np.sqrt(np.mean(part**2))
    return 0.05 * part / level if level > 1e-4 else None


def compare(name, paths, measure, rival, repeat):
    import numpy as np

    # the order must be found, but in version 4, which the rival takes as given
    given = {**paths, "estimates": paths["estimates"] if measure == "v4" else paths["estimates"][::-1]}
    repeat = 10 * repeat if measure == "si-sdr" else repeat  # milliseconds
    ours = run_ours(given, RATE, 1, measure, repeat, stream=False)
    references, estimates = (load(given[group], 1) for group in ("references", "estimates"))
    if measure == "v4":
        references, estimates = references[:, :, None], estimates[:, :, None]
    scores, seconds = run_rival(rival, measure, references, estimates, RATE, repeat)
    pairs = [(np.array(ours[key], float), np.array(scores[key], float)) for key in scores]
    both = [np.isfinite(a) & np.isfinite(b) for a, b in pairs]
    if not all(((np.isnan(a) & np.isnan(b)) | (a == b))[~finite].all() for (a, b), finite in zip(pairs, both)):
        print(f"{name}: not finite in one program only: {pairs}", file=sys.stderr)
    difference = max(np.abs(a - b)[finite].max(initial=0.0) for (a, b), finite in zip(pairs, both))
    row = {"set": name, "measure": measure, "rival": rival, "ours": min(ours["seconds"]), "seconds": seconds}
    row["difference"] = float(difference)
    ratio = seconds / row["ours"]
    print(
        f"{name:8} {measure:8} {rival:14} {row['ours']:9.4f} {seconds:10.4f} {ratio:7.1f} {difference:16.1e}", flush=True
    )
    return row


def summary(rows, threads):
    key = lambda row: f"{row['set']}/{row['measure']}/{row['rival']}"  # noqa: E731
    largest = {}
    for row in rows:
        contest = f"{row['measure']}/{row['rival']}"
        largest[contest] = max(largest.get(contest, 0.0), row["difference"])
    return {
        "what": f"BSS Eval on recordings, seconds, {threads} threads",
        "ours": {key(row): round(row["ours"], 5) for row in rows},
        "rivals": {key(row): round(row["seconds"], 5) for row in rows},
        "ratio": {key(row): round(row["seconds"] / row["ours"], 2) for row in rows},
        "largest_difference_db": largest,
    }


if __name__ == "__main__":
    sys.exit(main())
