#!/usr/bin/env python3
"""The mixtures of the separation tables: which files, from which angles, in which room.

    python bench/mixtures.py --data DIR --out FOLDER [--demix target/release/demix] [--cases 'speech-*']

DIR holds speech/, rir/ and DSD100like/. Each case becomes a folder of FOLDER with `mixture.wav` and `image-1.wav`...
(every source on all microphones, in single precision; images sum to the mixture) and `case.json`. Nothing is random.

Speech: 16 kHz, cut to the shortest speaker, all at the same level before the room. Pairs 1-3 serve to choose
settings, pairs 4-6 and the triples are reported; they share neither speaker nor recording with pairs 1-3. Music: stems
at their own level, first recording condition (-50, +50 degrees; three sources -50, 0, +50), mixed at 16 kHz and
resampled to 8 kHz. Test songs are reported. The room of T60 150 ms is made by `demix simulate`; these cases are left
out, with a word, without it. Needs numpy, scipy, soundfile.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from fnmatch import fnmatch
from pathlib import Path

SPEECH = {  # recordings, angles in degrees
    "1": (["1034_M_121119-0000", "1088_F_129236-0000"], [-50, 50]),
    "2": (["163_M_121908-0000", "196_M_122150-0000"], [-30, 70]),
    "3": (["125_F_121124-0000", "226_F_122538-0000"], [-50, 10]),
    "4": (["1688_M_142285-0000", "1998_F_15444-0000"], [-50, 50]),
    "5": (["233_M_134440-0000", "2033_M_164914-0000"], [-30, 70]),
    "6": (["250_F_140277-0000", "3080_F_5032-0002"], [-50, 10]),
    "triple1": (["1688_M_142285-0001", "1998_F_15444-0001", "233_M_134440-0000"], [-50, 0, 50]),
    "triple2": (["2033_M_164914-0001", "3080_F_5032-0001", "250_F_140277-0000"], [-50, 0, 50]),
    "triple3": (["1688_M_142285-0000", "2033_M_164914-0000", "3080_F_5032-0002"], [-70, -10, 40]),
    "triple4": (["233_M_134440-0000", "250_F_140277-0000", "1998_F_15444-0002"], [-70, -10, 40]),
}
CHOOSING = {"1", "2", "3"}
ROOMS = {  # name: folder of impulse responses by the number of sources; none: simulated
    "t150": {2: None, 3: None},
    "t300": {2: "ism_T300_2mic_5.66cm_2m", 3: "ism_T300_3mic_5.66cm_2m"},
    "t470": {2: "ism_T470_2mic_5.66cm_2m"},
    "measured": {2: "measured_surrey_roomA"},
}
MUSIC = [["bass", "drums"], ["vocals", "bass"], ["vocals", "drums"], ["vocals", "bass", "drums"]]
MUSIC_ANGLES = {2: [-50, 50], 3: [-50, 0, 50]}
TEST_SONGS = ["013", "014", "015", "016", "017", "018", "019", "020"]
DEV_SONGS = ["002", "011", "023"]
RATE = 16000
MUSIC_RATE = 8000
SPEECH_LEVEL = 0.05  # root mean square of every dry speaker
SIMULATED = {  # the geometry of the ism_* folders between softer walls
    "room": "6.0,4.4,2.5",
    "t60": "0.15",
    "centre": "3.12,1.58,1.2",
    "distance": "2.0",
    "spacing": "0.0566",
}


def cases():
    """name: {group, kind, reported, sources, angles, rir (None: simulated), condition}"""
    found = {}
    for room, folders in ROOMS.items():
        for key, (sources, angles) in SPEECH.items():
            if len(sources) in folders:
                found[f"speech-{key}-{room}"] = {
                    "condition": f"speech {len(sources)} {room}",
                    "kind": "speech",
                    "reported": key not in CHOOSING,
                    "sources": [f"speech/librispeech_{name}.flac" for name in sources],
                    "angles": angles,
                    "rir": folders[len(sources)],
                }
    for split, songs in [("Test", TEST_SONGS), ("Dev", DEV_SONGS)]:
        for song in songs:
            for stems in MUSIC:
                found[f"music-{song}-{'-'.join(stems)}"] = {
                    "condition": f"music {'/'.join(stems)}",
                    "kind": "music",
                    "reported": split == "Test",
                    "sources": [f"DSD100like/Sources/{split}/{song} - */{stem}.wav" for stem in stems],
                    "angles": MUSIC_ANGLES[len(stems)],
                    "rir": ROOMS["t300"][len(stems)],
                }
    return found


def main():
    arguments = parse()
    missing = []
    for name, case in cases().items():
        if any(fnmatch(name, pattern) for pattern in arguments.cases):
            folder = arguments.out / name
            if (folder / "case.json").exists() and not arguments.again:
                continue
            if not make(folder, case, arguments):
                missing.append(name)
    if missing:
        print(f"left out, no working 'demix simulate' at {arguments.demix}: {' '.join(missing)}", file=sys.stderr)


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--demix", default="target/release/demix")
    parser.add_argument("--cases", nargs="+", default=["*"], help="names or patterns")
    parser.add_argument("--again", action="store_true", help="also what is there already")
    return parser.parse_args()


def make(folder, case, arguments):
    import numpy as np
    import soundfile

    sources = dry(case, arguments.data)
    images = (
        simulate(sources, case, arguments.demix) if case["rir"] is None else convolve(sources, case, arguments.data)
    )
    if images is None:
        return False
    rate = RATE
    if case["kind"] == "music":
        from scipy.signal import resample_poly

        images, rate = resample_poly(images, MUSIC_RATE, RATE, axis=1), MUSIC_RATE
    images = images.astype("f4")
    folder.mkdir(parents=True, exist_ok=True)
    for n, image in enumerate(images):
        soundfile.write(folder / f"image-{n + 1}.wav", image, rate, subtype="FLOAT")
    soundfile.write(folder / "mixture.wav", images.sum(0, dtype=np.float64), rate, subtype="FLOAT")
    (folder / "case.json").write_text(json.dumps({**case, "rate": rate}, indent=1))
    return True


def dry(case, data):
    """(sources, samples) at 16 kHz."""
    import numpy as np
    import soundfile

    sounds = []
    for pattern in case["sources"]:
        paths = sorted(data.glob(pattern))
        if len(paths) != 1:
            sys.exit(f"{len(paths)} files match {pattern} in {data}, one is needed")
        sound, rate = soundfile.read(paths[0])
        if rate != RATE or sound.ndim != 1:
            sys.exit(f"{paths[0]}: {rate} Hz, {sound.ndim} channels; {RATE} Hz and one channel are needed")
        sounds.append(sound)
    length = min(map(len, sounds))
    sounds = np.stack([sound[:length] for sound in sounds])
    if case["kind"] == "speech":
        sounds *= SPEECH_LEVEL / np.sqrt(np.mean(sounds**2, axis=1, keepdims=True))
    return sounds


def convolve(sources, case, data):
    """(sources, samples, microphones), cut to the length of the sources."""
    import numpy as np
    import soundfile
    from scipy.signal import fftconvolve

    images = []
    for source, angle in zip(sources, case["angles"]):
        response, rate = soundfile.read(data / "rir" / case["rir"] / f"az{angle:+04d}.wav")
        assert rate == RATE
        images.append(fftconvolve(source[:, None], response, axes=0)[: len(source)])
    return np.stack(images)


def simulate(sources, case, demix):
    """By the program itself; none where it cannot."""
    import numpy as np
    import soundfile

    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        dry_files = [folder / f"dry-{n + 1}.wav" for n in range(len(sources))]
        for path, source in zip(dry_files, sources):
            soundfile.write(path, source, RATE, subtype="FLOAT")
        command = [demix, "simulate", *dry_files, "--room", SIMULATED["room"], "--t60", SIMULATED["t60"]]
        command += ["--array", f"line:{len(sources)}:{SIMULATED['spacing']}"]
        command += [f"--angles={','.join(map(str, case['angles']))}"]
        command += ["--centre", SIMULATED["centre"], "--distance", SIMULATED["distance"], "--cut-tail"]
        try:
            done = subprocess.run([*command, "--seed", "0", "-o", folder / "scene"], capture_output=True, text=True)
        except FileNotFoundError:
            return None
        if done.returncode != 0:
            print(f"demix simulate: {done.stderr.strip()}", file=sys.stderr)
            return None
        images = [soundfile.read(folder / "scene" / f"image-{n + 1}.wav")[0] for n in range(len(sources))]
        return np.stack([image[: sources.shape[1]] for image in images])


if __name__ == "__main__":
    sys.exit(main())
