#!/usr/bin/env python3
"""Supervised separation of bass and drums with dictionaries learned from other songs.

For a DSD100-shaped folder (Mixtures, Sources / Dev, Test / song / stem.wav): learns a bass and a drums dictionary
from all Dev songs, mixes bass and drums of every Test song, separates, and prints the SI-SDR improvement of each
song and of two halves (songs whose name says 'Mismatched' apart).

    python bench/supervised.py --data DIR [--components 10 25 50] [--seeds 0 1 2] [--demix target/release/demix]

Needs numpy and soundfile (bench/setup.sh installs them). The last line is one JSON object.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
import soundfile

STEMS = ("bass", "drums")


def main():
    options = arguments()
    with tempfile.TemporaryDirectory() as folder:
        tests = make_mixtures(options.data, folder)
        improvements = {}
        for components in options.components:
            for seed in options.seeds:
                dictionaries = learn(options, folder, components, seed)
                for song in tests:
                    gains = separate(options, folder, song, dictionaries, seed)
                    improvements.setdefault((components, song), []).append(gains)
        report(options, tests, improvements)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--components", type=int, nargs="+", default=[10, 25, 50])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--demix", default="target/release/demix")
    parser.add_argument("--set", action="append", default=[], help="a setting for dictionaries and separation")
    return parser.parse_args()


def demix(options, *words):
    done = subprocess.run([options.demix, *words], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"demix {' '.join(words)}: {done.stderr}")
    return done.stdout


def settings(options):
    return [word for pair in options.set for word in ("--set", pair)]


def make_mixtures(data, folder):
    root = os.path.join(data, "Sources", "Test")
    tests = {}
    for song in sorted(os.listdir(root)):
        stems = [soundfile.read(os.path.join(root, song, f"{stem}.wav")) for stem in STEMS]
        path = os.path.join(folder, f"{song[:3]}.wav")
        soundfile.write(path, sum(x for x, _ in stems), stems[0][1], subtype="FLOAT")
        tests[song] = (path, [os.path.join(root, song, f"{stem}.wav") for stem in STEMS])
    return tests


def learn(options, folder, components, seed):
    root = os.path.join(options.data, "Sources", "Dev")
    dictionaries = []
    for stem in STEMS:
        path = os.path.join(folder, f"{stem}.dict")
        audio = [os.path.join(root, song, f"{stem}.wav") for song in sorted(os.listdir(root))]
        demix(options, "dictionary", *audio, "--name", stem, "-o", path, "--overwrite", "--seed", str(seed),
              "--set", f"components={components}", *settings(options))
        dictionaries += ["--dictionary", path]
    return dictionaries


def separate(options, folder, song, dictionaries, seed):
    tests = os.path.join(folder, "out")
    mixture = os.path.join(folder, f"{song[:3]}.wav")
    chosen = [pair for pair in settings(options) if not pair.startswith(("fft", "hop", "window", "spectrum"))]
    chosen = [w for k, w in enumerate(chosen) if not (w == "--set" and (k + 1 == len(chosen) or chosen[k + 1] == "--set"))]
    demix(options, "separate", mixture, *dictionaries, "-o", tests, "--overwrite", "--seed", str(seed), *chosen)
    root = os.path.join(options.data, "Sources", "Test", song)
    scores = demix(options, "evaluate", "--json", "--keep-order", "--metrics", "si-sdr", "--mixture", mixture,
                   "--reference", *[os.path.join(root, f"{stem}.wav") for stem in STEMS],
                   "--estimate", *[os.path.join(tests, song[:3], f"{stem}.wav") for stem in STEMS])
    return json.loads(scores)["metrics"]["si-sdr"]["sdr_improvement"]


def report(options, tests, improvements):
    print(f"SI-SDR improvement in dB, mean over bass and drums and over {len(options.seeds)} seeds "
          "(+- largest distance of a seed from the mean)")
    print(f"{'song':42}" + "".join(f"{f'K={k}':>16}" for k in options.components))
    result = {}
    for song in tests:
        cells = []
        for k in options.components:
            means = np.mean(improvements[k, song], axis=1)
            cells.append(f"{means.mean():7.2f} +-{np.abs(means - means.mean()).max():5.2f}")
        print(f"{song:42}" + "".join(f"{cell:>16}" for cell in cells))
    for half, chosen in (("matched", [s for s in tests if "Mismatched" not in s]),
                         ("mismatched", [s for s in tests if "Mismatched" in s])):
        if not chosen:
            continue
        cells = []
        for k in options.components:
            values = np.array([improvements[k, s] for s in chosen])  # songs, seeds, stems
            by_seed = values.mean(axis=(0, 2))
            result[f"{half}, K={k}"] = {"mean": values.mean(), "by_seed": by_seed.tolist(),
                                        **dict(zip(STEMS, values.mean(axis=(0, 1)).tolist()))}
            cells.append(f"{by_seed.mean():7.2f} +-{np.abs(by_seed - by_seed.mean()).max():5.2f}")
        print(f"{half + ', mean of ' + str(len(chosen)):42}" + "".join(f"{cell:>16}" for cell in cells))
        for n, stem in enumerate(STEMS):
            by_stem = [np.array([improvements[k, s] for s in chosen])[:, :, n].mean() for k in options.components]
            print(f"{'  ' + stem:42}" + "".join(f"{x:16.2f}" for x in by_stem))
    print(json.dumps({"what": "supervised NMF, bass + drums, SI-SDR improvement (dB)", "ours": result}))


if __name__ == "__main__":
    main()
