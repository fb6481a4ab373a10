#!/usr/bin/env python3
"""What a rumble below the voices costs where little echoes: mixtures as they are, and without what is below 120 Hz.

    python=/tmp/demix-bench-venv/bin/python
    $python bench/rumble.py --data DIR --out FOLDER            # 15 pairs and 4 triples of talkers, T60 150 ms

The six talkers of speech pairs 1-3 of mixtures.py in other pairs and at other angles. SDR improvement as in separation.py,
in dB; images and mixture are filtered alike (Butterworth, order 6), so the second column judges what is left of both.
"""

import argparse
import itertools
import json
import statistics
import subprocess
import tempfile
from pathlib import Path
from types import SimpleNamespace

from mixtures import CHOOSING, SPEECH, make
from separation import score

ANGLES = [[-50, 50], [-30, 70], [-50, 10], [-20, 40], [-70, 20]]
OTHER_ANGLES = [[-20, 40], [-60, 30], [20, 70]]  # of the pairs that mixtures.py has
TRIPLES = [([0, 2, 4], [-50, 0, 50]), ([1, 3, 5], [-70, -10, 40]), ([0, 3, 5], [-60, 10, 60]), ([1, 2, 4], [-50, 0, 50])]
CUT = 120.0  # Hz


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--demix", default="target/release/demix")
    parser.add_argument("--method", default="ilrma")
    parser.add_argument("--set", nargs="*", default=[], help="settings of the method")
    arguments = parser.parse_args()
    gains = []
    for name, case in cases().items():
        folder = arguments.out / name
        if not (folder / "mixture.wav").exists():
            make(folder, case, SimpleNamespace(data=arguments.data, demix=arguments.demix))
        gains.append([improvement(folder, len(case["sources"]), cut, arguments) for cut in (None, CUT)])
        print(f"{name:12} {gains[-1][0]:6.2f} {gains[-1][1]:6.2f}", flush=True)
    means = [statistics.mean(column) for column in zip(*gains)]
    print(f"{'mean':12} {means[0]:6.2f} {means[1]:6.2f}")


def cases():
    talkers = [name for key in sorted(CHOOSING) for name in SPEECH[key][0]]
    angles = itertools.cycle(ANGLES)
    known = {(2 * k, 2 * k + 1): OTHER_ANGLES[k] for k in range(len(OTHER_ANGLES))}
    groups = [(pair, known.get(pair) or next(angles)) for pair in itertools.combinations(range(len(talkers)), 2)]
    return {
        "".join(map(str, group)): {
            "condition": f"speech {len(group)} t150",
            "kind": "speech",
            "reported": False,
            "sources": [f"speech/librispeech_{talkers[k]}.flac" for k in group],
            "angles": at,
            "rir": None,
        }
        for group, at in [*groups, *TRIPLES]
    }


def improvement(folder, n, cut, arguments):
    """Mean SDR improvement at microphone 1."""
    import soundfile
    from scipy.signal import butter, sosfilt

    def read(path):
        samples, rate = soundfile.read(path, always_2d=True)
        filtered = samples if cut is None else sosfilt(butter(6, cut, "high", fs=rate, output="sos"), samples, axis=0)
        return filtered, rate

    mixture, rate = read(folder / "mixture.wav")
    images = [read(path)[0][:, 0] for path in sorted(folder.glob("image-*.wav"))]
    with tempfile.TemporaryDirectory() as work:
        heard = Path(work) / "mixture.wav"
        soundfile.write(heard, mixture, rate, subtype="FLOAT")
        command = [arguments.demix, "separate", heard, "--method", arguments.method, "--sources", str(n), "--quiet"]
        command += ["-o", work, *(word for pair in arguments.set for word in ("--set", pair))]
        subprocess.run(command, check=True)
        report = json.loads((Path(work) / "mixture/report.json").read_text())
        files = [Path(work) / "mixture" / source["file"] for source in report["sources"]]
        estimates = [soundfile.read(file, always_2d=True)[0][:, 0] for file in files]
    before, after = (score(images, sounds, rate)["sdr"] for sounds in ([mixture[:, 0]] * n, estimates))
    return statistics.mean(a - b for a, b in zip(after, before))


if __name__ == "__main__":
    main()
