#!/usr/bin/env python3
"""Demixing with as many microphones as sources: our methods beside pyroomacoustics and ssspy, by SDR.

    bench/setup.sh                                                          # once: the rivals
    python=/tmp/demix-bench-venv/bin/python
    $python bench/mixtures.py --data DIR --out FOLDER                       # the cases
    $python bench/separation.py --mixtures FOLDER --seeds 5 --markdown docs/separation-quality.md

Every method gets the mixture; a source counts as microphone 1 hears it. The score is the SDR of BSS Eval version 3
(filters of 512 taps) against the image at microphone 1, less that of the unseparated mixture, mean over the sources.
`ours:NAME,noise=DB` hears the mixture with white noise so many dB below it, another one for each seed: how far a result
that no seed changes depends on what nobody hears.
Rivals: Hann windows and the settings named in the report, X scaled to unit power, their own random start, one seed
where nothing is random. Ours: `demix separate --method NAME --seed N`, nothing else set. All results are kept in
--cache by settings, recording and (ours) program, so the script goes on where it stopped. `--report` runs nothing.
What rivals gave lies in bench/results/ as well, one line for each run, so that hours of theirs are not run again;
`--keep` adds what is new, `--afresh` does not look there. Rows with `gain` instead of scores were read off an earlier
report of this script, which has the improvement of each case to 0.1 dB; they give way to a run.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from fnmatch import fnmatch
from pathlib import Path

from rivals import RIVALS, separate, set_threads, version
from separation_report import markdown, text

ROOT = Path(__file__).resolve().parent.parent
KEPT = ROOT / "bench/results/rivals.jsonl"
OURS = ["auto", "ilrma", "auxiva", "fdica", "t-ilrma"]
STFT = {"speech": (4096, 1024), "music": (4096, 1024)}  # window, hop of the rivals
COMPONENTS = {"speech": 2, "music": 10}


def main():
    arguments = parse()
    set_threads(arguments.threads)
    results = Results(arguments)
    if not arguments.report:
        build = ["cargo", "build", "--release", "--quiet", "-p", "demix-eval", "--example", "score"]
        subprocess.run(build, cwd=ROOT, check=True)
        run_all(arguments, results)
    if arguments.keep:
        results.keep()
    print(text(collected(arguments, results)))
    if arguments.markdown:
        arguments.markdown.write_text(markdown(collected(arguments, results), settings_of_rivals(arguments)))


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mixtures", type=Path, required=True, help="what mixtures.py wrote")
    parser.add_argument("--cases", nargs="+", default=["*"], help="names or patterns")
    parser.add_argument(
        "--choosing", action="store_true", help="the cases for choosing settings, not the reported ones"
    )
    methods = [*RIVALS, *(f"ours:{name}" for name in OURS)]
    parser.add_argument(
        "--methods", nargs="+", default=methods, help="ours:NAME or ours:NAME,KEY=VALUE,... is ours; KEY noise: dB"
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop after so many")
    parser.add_argument("--stft", nargs="+", default=[], help="of the rivals: speech=4096:1024 music=2048:512")
    parser.add_argument("--components", nargs="+", default=[], help="of the rivals: speech=2 music=10")
    parser.add_argument("--demix", type=Path, default=target_folder() / "release/demix")
    parser.add_argument("--known", action="store_true", help="tell ours the number of sources")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "demix-bench-cache")
    parser.add_argument("--refresh", action="store_true", help="forget what is cached of the methods named")
    parser.add_argument("--keep", action="store_true", help="write what rivals gave to bench/results")
    parser.add_argument("--afresh", action="store_true", help="run rivals again whose results lie in bench/results")
    parser.add_argument("--report", action="store_true", help="only from the cache")
    parser.add_argument("--summary", type=Path, help="a text file with the table so far, kept up to date")
    parser.add_argument("--markdown", type=Path, help="write the report there")
    arguments = parser.parse_args()
    arguments.stft = STFT | {k: tuple(map(int, v.split(":"))) for k, v in (pair.split("=") for pair in arguments.stft)}
    arguments.components = COMPONENTS | {k: int(v) for k, v in (pair.split("=") for pair in arguments.components)}
    return arguments


def target_folder():
    return Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))


class Results:
    """One line of JSON for each run, by key; later lines win."""

    def __init__(self, arguments):
        arguments.cache.mkdir(parents=True, exist_ok=True)
        self.path = arguments.cache / "separation.jsonl"
        paths = [self.path] if getattr(arguments, "afresh", False) else [KEPT, self.path]
        lines = [line for path in paths if path.exists() for line in path.read_text().splitlines()]
        self.rows = {row["key"]: row for row in map(json.loads, lines)}

    def add(self, row):
        self.rows[row["key"]] = row
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")

    def keep(self):
        """Writes the rivals' runs to the folder of results: their keys name no program of ours."""
        rows = [row for row in self.rows.values() if row.get("method") in RIVALS]
        rows.sort(key=lambda row: (list(RIVALS).index(row["method"]), row["case"], row["seed"]))
        KEPT.parent.mkdir(exist_ok=True)
        KEPT.write_text("".join(json.dumps(row) + "\n" for row in rows))


def chosen_cases(arguments):
    found = {}
    for path in sorted(arguments.mixtures.glob("*/case.json"), reverse=True):  # speech first, it is quicker
        case = json.loads(path.read_text())
        name = path.parent.name
        if case["reported"] != arguments.choosing and any(fnmatch(name, pattern) for pattern in arguments.cases):
            digest = hashlib.sha1((path.parent / "mixture.wav").read_bytes()).hexdigest()[:12]
            found[name] = {**case, "folder": path.parent, "digest": digest}
    return found


def jobs(arguments):
    """(case name, case, method, seed): all methods once before the next seed, so that a table stands early."""
    cases = chosen_cases(arguments)
    for seed in range(arguments.seeds):
        for method in ["mixture", *arguments.methods]:
            if seed < seeds_of(method):
                for name, case in cases.items():
                    yield name, case, method, seed


def seeds_of(method):
    if method in RIVALS:
        return sys.maxsize if RIVALS[method].random else 1
    return 1 if method == "mixture" else sys.maxsize


def key_of(case, method, seed, arguments):
    """Names everything that the result depends on."""
    parts = [case["digest"], method, f"seed {seed}"]
    if method in RIVALS:
        rival, kind = RIVALS[method], case["kind"]
        components = rival.components or arguments.components[kind]
        parts += [version(rival), f"stft {arguments.stft[kind]}", f"{rival.iterations} iterations", f"K {components}"]
        parts += [f"{name} {value}" for name, value in rival.settings.items()]
    elif method != "mixture":
        parts += [binary_digest(arguments.demix), f"known {arguments.known}"]
    return ", ".join(parts)


def binary_digest(path, known={}):
    if path not in known:
        known[path] = hashlib.sha1(path.read_bytes()).hexdigest()[:12] if path.exists() else "none"
    return known[path]


def run_all(arguments, results):
    end = time.monotonic() + 60 * arguments.minutes
    todo = list(jobs(arguments))
    done = set()
    last_summary = 0.0
    for number, (name, case, method, seed) in enumerate(todo):
        key = key_of(case, method, seed, arguments)
        fresh = arguments.refresh and method != "mixture" and key not in done
        if key in results.rows and "gain" not in results.rows[key] and not fresh:
            continue
        if time.monotonic() > end:
            print(
                f"stopped after {arguments.minutes:g} minutes, {len(todo) - number} of {len(todo)} left",
                file=sys.stderr,
            )
            break
        row = {"key": key, "case": name, "method": method, "seed": seed, **run(case, method, seed, arguments)}
        results.add(row)
        done.add(key)
        print(f"{number + 1}/{len(todo)} {name} {method} {seed}: {row.get('error') or row['sdr']}", file=sys.stderr)
        if arguments.summary and time.monotonic() - last_summary > 60:
            arguments.summary.write_text(text(collected(arguments, results)) + "\n")
            last_summary = time.monotonic()
    if arguments.summary:
        arguments.summary.write_text(text(collected(arguments, results)) + "\n")


def run(case, method, seed, arguments):
    """Scores and seconds, or an error."""
    import soundfile

    mixture, rate = soundfile.read(case["folder"] / "mixture.wav")
    images = [soundfile.read(path)[0][:, 0] for path in sorted(case["folder"].glob("image-*.wav"))]
    begin, attempt = time.perf_counter(), 1
    if method == "mixture":
        estimates = [mixture[:, 0]] * len(images)
    elif method in RIVALS:
        window, hop = arguments.stft[case["kind"]]
        components = arguments.components[case["kind"]]
        estimates, attempt = separate(RIVALS[method], mixture, seed, window, hop, components)
        if estimates is None:
            return {"error": "singular matrix or not a number", "seconds": time.perf_counter() - begin}
    else:
        try:
            estimates = separate_ours(case, method, seed, arguments)
        except RuntimeError as error:
            return {"error": str(error), "seconds": time.perf_counter() - begin}
    seconds, n_found = time.perf_counter() - begin, len(estimates)
    if n_found > len(images):
        return {"error": f"{n_found} sources found, {len(images)} are there", "seconds": seconds}
    estimates = [*estimates, *[mixture[:, 0]] * (len(images) - n_found)]  # the mixture stands for what was not found
    return {**score(images, estimates, rate), "found": n_found, "attempt": attempt, "seconds": seconds}


def separate_ours(case, method, seed, arguments):
    import soundfile

    name, *settings = method.removeprefix("ours:").split(",")
    below = [float(pair.removeprefix("noise=")) for pair in settings if pair.startswith("noise=")]
    settings = [pair for pair in settings if not pair.startswith("noise=")]
    with tempfile.TemporaryDirectory() as folder:
        heard = case["folder"] / "mixture.wav"
        if below:
            heard = with_noise(heard, below[0], seed, Path(folder) / "noisy")
        command = [arguments.demix, "separate", heard, "--method", name, "--quiet"]
        command += ["--seed", str(seed), "-o", folder, *(word for pair in settings for word in ("--set", pair))]
        command += ["--sources", str(len(case["sources"]))] if arguments.known else []
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(done.stderr.strip())
        report = json.loads((Path(folder) / "mixture/report.json").read_text())
        files = [Path(folder) / "mixture" / source["file"] for source in report["sources"]]
        return [soundfile.read(file, always_2d=True)[0][:, 0] for file in files]


def with_noise(mixture, below, seed, folder):
    """The mixture with white noise `below` dB under its mean power, as a file of the same name in `folder`."""
    import numpy
    import soundfile

    samples, rate = soundfile.read(mixture)
    noise = numpy.random.default_rng(seed).standard_normal(samples.shape)
    noise *= numpy.sqrt((samples**2).mean()) * 10 ** (-below / 20)
    folder.mkdir()
    soundfile.write(folder / mixture.name, samples + noise, rate, subtype="FLOAT")
    return folder / mixture.name


def score(images, estimates, rate):
    """By our judge, which equals mir_eval; {"sdr", "sir", "sar"}, one number for each source."""
    with tempfile.TemporaryDirectory() as folder:
        paths = {"references": [], "estimates": []}
        for group, signals in [("references", images), ("estimates", estimates)]:
            for n, signal in enumerate(signals):
                paths[group].append(Path(folder) / f"{group}-{n}.f32")
                paths[group][-1].write_bytes(signal.astype("<f4").tobytes())
        command = [target_folder() / "release/examples/score", "sources", "--rate", str(rate), "--channels", "1"]
        command += ["--references", *paths["references"], "--estimates", *paths["estimates"]]
        scores = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return {
        name: [round(value, 4) if isinstance(value, float) else value for value in scores[name]]
        for name in ("sdr", "sir", "sar")
    }


def collected(arguments, results):
    """{"cases": {name: condition}, "gains": {method: {case: [SDR improvement of each seed]}}, "errors", "helped", "earlier"}"""
    found = {"cases": {}, "gains": {}, "errors": [], "helped": {}, "earlier": {}}
    baseline = {}
    for name, case, method, seed in jobs(arguments):
        row = results.rows.get(key_of(case, method, seed, arguments))
        if row is None:
            continue
        if method == "mixture":
            baseline[name] = sum(row["sdr"]) / len(row["sdr"])
            found["cases"][name] = case["condition"]
            continue
        if "error" in row:
            found["errors"].append(f"{name} {method} seed {seed}: {row['error']}")
            gain = 0.0  # as good as the mixture that went in
        elif "gain" in row:
            gain = row["gain"]  # of an earlier report, to 0.1 dB
            found["earlier"][method] = found["earlier"].get(method, 0) + 1
        else:
            gain = sum(row["sdr"]) / len(row["sdr"]) - baseline[name]
        found["gains"].setdefault(method, {}).setdefault(name, []).append(gain)
        if row.get("attempt", 1) > 1:
            found["helped"][method] = found["helped"].get(method, 0) + 1
    found["cases"] = dict(sorted(found["cases"].items(), key=lambda item: (item[1], item[0])))
    return found


def settings_of_rivals(arguments):
    """{"stft", "components", "rivals": {name: one line}}"""
    lines = {}
    for name, rival in RIVALS.items():
        settings = [f"{key} {value}" for key, value in rival.settings.items()]
        settings += [f"{rival.components} components"] if rival.components else []
        start = "random start" if rival.random else "one start, W = I"
        lines[name] = ", ".join([version(rival), *settings, f"{rival.iterations} iterations", start])
    return {"stft": arguments.stft, "components": arguments.components, "rivals": lines}


if __name__ == "__main__":
    sys.exit(main())
