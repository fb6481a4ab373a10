#!/usr/bin/env python3
"""BSS Eval: our judge against mir_eval, fast_bss_eval and museval, in one run.

    bench/setup.sh                                     # once: the rivals
    /tmp/demix-bench-venv/bin/python bench/bss_eval.py [--threads 2] [--case all] [--repeat 5]

Every program scores the same synthetic sound (single precision, seeded) with the same number of
threads; times are the best of the repeats, measured inside each process, reading left out. The last
line is JSON: seconds, and ratios rival / ours for each case.
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

CASES = {  # sources, seconds, rate, channels, measure, rivals
    "v3-2x30s": (2, 30, 16000, 1, "sources", ["mir_eval", "fast_bss_eval"]),
    "v3-4x30s": (4, 30, 16000, 1, "sources", ["mir_eval", "fast_bss_eval"]),
    "images-2x10s": (2, 10, 16000, 2, "images", ["mir_eval"]),
    "si-sdr-2x30s": (2, 30, 16000, 1, "si-sdr", ["fast_bss_eval"]),
    "v4-4x240s": (4, 240, 44100, 2, "v4", ["museval"]),
    "v3-4x1h": (4, 3600, 44100, 1, "sources", []),
}
SCORES = ["sdr", "isr", "sir", "sar"]


def main():
    arguments = parse()
    threads = str(arguments.threads)
    for name in ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"]:
        os.environ[name] = threads  # before numpy is loaded
    subprocess.run(
        ["cargo", "build", "--release", "--quiet", "-p", "demix-eval", "--example", "score"], cwd=ROOT, check=True
    )
    names = list(CASES)[:-1] if arguments.case == "all" else [arguments.case]
    results = {}
    for name in names:
        with tempfile.TemporaryDirectory(dir=arguments.work) as folder:
            results[name] = run_case(name, Path(folder), arguments.repeat)
    print_table(results, arguments.threads)
    print(json.dumps(summary(results, arguments.threads)))


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--case", choices=["all", *CASES], default="all", help="all leaves out the hour")
    parser.add_argument("--repeat", type=int, default=5, help="of cases shorter than a minute")
    parser.add_argument("--work", default=None, help="folder for the sound; an hour takes 5 GB")
    return parser.parse_args()


def run_case(name, folder, repeat):
    n_sources, seconds, rate, n_channels, measure, rivals = CASES[name]
    long = seconds * n_sources * n_channels > 1000
    repeat = 1 if long else repeat
    paths = write_sound(folder, n_sources, seconds, rate, n_channels)
    ours = run_ours(paths, rate, n_channels, measure, repeat, stream=seconds > 1000)
    result = {"ours": min(ours["seconds"]), "peak_mib": ours["peak_mib"], "rivals": {}, "difference": {}}
    for rival in rivals:
        references, estimates = (load(paths[group], n_channels) for group in ("references", "estimates"))
        scores, best = run_rival(rival, measure, references, estimates, rate, repeat)
        result["rivals"][rival] = best
        result["difference"][rival] = max(largest_difference(ours[key], scores[key]) for key in scores)
    return result


def write_sound(folder, n_sources, seconds, rate, n_channels):
    """Coloured noises that come and go, and estimates with an echo, interference and artifacts."""
    import numpy as np
    from scipy.signal import lfilter

    rng = np.random.default_rng(0)
    paths = {group: [folder / f"{group}-{n}.f32" for n in range(n_sources)] for group in ("references", "estimates")}
    files = {group: [path.open("wb") for path in some] for group, some in paths.items()}
    n_samples, block = int(seconds * rate), 1 << 20
    for start in range(0, n_samples, block):
        length = min(block, n_samples - start)
        t = np.arange(start, start + length) / rate
        sources = []
        for n in range(n_sources):
            loudness = 0.03 + 0.07 * (np.sin((n + 1) * t) > 0)
            noise = lfilter([1], [1, -0.9], rng.standard_normal((length, n_channels)), axis=0)
            sources.append(noise * loudness[:, None])
        for n, source in enumerate(sources):
            others = sum(sources) - source
            artifacts = rng.standard_normal(source.shape)
            estimate = source + 0.3 * np.roll(source, 20, axis=0) + 0.1 * others + 0.002 * artifacts
            files["references"][n].write(source.astype("<f4").tobytes())
            files["estimates"][n].write(estimate.astype("<f4").tobytes())
    for file in files["references"] + files["estimates"]:
        file.close()
    return paths


def load(paths, n_channels):
    import numpy as np

    signals = np.stack([np.fromfile(path, "<f4").reshape(-1, n_channels) for path in paths]).astype("f8")
    return signals[:, :, 0] if n_channels == 1 else signals


def run_ours(paths, rate, n_channels, measure, repeat, stream):
    command = [ROOT / "target/release/examples/score", measure, "--rate", str(rate), "--channels", str(n_channels)]
    command += ["--repeat", str(repeat), *(["--stream"] if stream else [])]
    command += ["--references", *paths["references"], "--estimates", *paths["estimates"]]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def run_rival(rival, measure, references, estimates, rate, repeat):
    import warnings

    import numpy as np

    warnings.filterwarnings("ignore")
    if rival == "mir_eval":
        from mir_eval import separation

        function = {"sources": separation.bss_eval_sources, "images": separation.bss_eval_images}[measure]
        keys = {"sources": ["sdr", "sir", "sar"], "images": SCORES}[measure]
        call = lambda: function(references, estimates)  # noqa: E731
    elif rival == "fast_bss_eval":
        import fast_bss_eval.numpy
        import fast_bss_eval

        keys = ["sdr", "sir", "sar"]
        if measure == "sources":
            call = lambda: fast_bss_eval.bss_eval_sources(references, estimates, load_diag=None)  # noqa: E731
        else:
            call = lambda: fast_bss_eval.numpy.si_bss_eval_sources(references, estimates)  # noqa: E731
    else:
        from museval.metrics import bss_eval

        keys = SCORES

        def call():
            frames = bss_eval(references, estimates, window=rate, hop=rate, compute_permutation=False)
            return [np.nanmedian(table, axis=1) for table in frames[:4]]

    best = float("inf")
    for _ in range(repeat):
        begin = time.perf_counter()
        scores = call()
        best = min(best, time.perf_counter() - begin)
    return dict(zip(keys, (list(map(float, some)) for some in scores))), best


def largest_difference(ours, rival):
    return max(abs(a - b) for a, b in zip(ours, rival))


def print_table(results, threads):
    print(f"{threads} threads")
    print(f"{'case':14} {'program':14} {'seconds':>10} {'ratio':>8} {'difference (dB)':>16}")
    for name, result in results.items():
        print(f"{name:14} {'ours':14} {result['ours']:10.4f} {'':8} {result['peak_mib']:10.0f} MiB")
        for rival, seconds in result["rivals"].items():
            ratio = seconds / result["ours"]
            print(f"{name:14} {rival:14} {seconds:10.4f} {ratio:8.1f} {result['difference'][rival]:16.1e}")


def summary(results, threads):
    keyed = lambda value: {  # noqa: E731
        f"{name}/{rival}": value(result, rival) for name, result in results.items() for rival in result["rivals"]
    }
    return {
        "what": f"BSS Eval, seconds, {threads} threads",
        "ours": {name: round(result["ours"], 5) for name, result in results.items()},
        "rivals": keyed(lambda result, rival: round(result["rivals"][rival], 5)),
        "ratio": keyed(lambda result, rival: round(result["rivals"][rival] / result["ours"], 2)),
    }


if __name__ == "__main__":
    sys.exit(main())
