"""The rivals of the separation benches behind one call, with the settings that they get.

A rival takes X (channels, bins, frames), complex, and gives Y of the same shape: the sources as microphone 1 hears
them. X is divided by its root mean square before and Y multiplied after: starts and floors of these libraries are
absolute. Their random start is theirs, from the seed.
"""

import os
import warnings
from dataclasses import dataclass, field
from typing import Callable

THREAD_VARIABLES = ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"]

NOISE_LEVEL = 1e-3  # of the mixture's root mean square
FEW_ITERATIONS = 20


@dataclass(frozen=True)
class Rival:
    """`run(X, seed, iterations, components, **settings)`, all in the library's way but for the shape."""

    library: str
    run: Callable
    iterations: int
    settings: dict = field(default_factory=dict)
    random: bool = True  # starts from random factors; else from W = I, always the same
    components: int | None = None  # where it is not the setting of the whole bench


def pyroomacoustics(x, seed, iterations, components, function):
    import numpy as np
    from pyroomacoustics import bss

    np.random.seed(seed)
    factors = {} if function == "auxiva" else {"n_components": components}
    return getattr(bss, function)(frames_first(x), n_iter=iterations, **factors).transpose(2, 1, 0)


def ssspy(x, seed, iterations, components, name, **settings):
    import numpy as np
    from ssspy.bss import fdica, ilrma, iva

    if name.endswith("ILRMA"):
        settings = {"n_basis": components, "rng": np.random.default_rng(seed), **settings}
    room = ilrma if name.endswith("ILRMA") else iva if name.endswith("IVA") else fdica
    return getattr(room, name)(record_loss=False, **settings)(x, n_iter=iterations)


def by_ssspy(name, iterations, update="IP1", random=True, **settings):
    settings = {"name": name, "spatial_algorithm": update, **settings}
    return Rival("ssspy", ssspy, iterations, settings, random=random)


def by_pyroomacoustics(function, iterations, **more):
    return Rival("pyroomacoustics", pyroomacoustics, iterations, {"function": function}, **more)


RIVALS = {  # the order in which a round of seeds takes them
    "pra-auxiva": by_pyroomacoustics("auxiva", 50, random=False),
    "ssspy-auxiva": by_ssspy("AuxLaplaceIVA", 50, random=False),
    "ssspy-fdica": by_ssspy("AuxLaplaceFDICA", 50, random=False),
    "pra-ilrma": by_pyroomacoustics("ilrma", 100),
    "ssspy-ilrma-ip1": by_ssspy("GaussILRMA", 100),
    "ssspy-t-ilrma": by_ssspy("TILRMA", 100, dof=1000),
    "ssspy-ilrma-iss1": by_ssspy("GaussILRMA", 100, "ISS1"),
    "ssspy-ilrma-ip2": by_ssspy("GaussILRMA", 100, "IP2"),
    "pra-fastmnmf2": by_pyroomacoustics("fastmnmf2", 100, components=8),  # 8 is its default
}


def frames_first(x):
    import numpy as np

    return np.ascontiguousarray(x.transpose(2, 1, 0))


def separate_stft(rival, x, seed, iterations, components):
    """(channels, bins, frames) to the same shape, at microphone 1."""
    import numpy as np

    warnings.filterwarnings("ignore")  # divisions by zero in bins where nothing is
    scale = np.sqrt(np.mean(np.abs(x) ** 2))
    return scale * rival.run(x / scale, seed, iterations, rival.components or components, **rival.settings)


def separate(rival, mixture, seed, window, hop, components):
    """(samples, channels) to (sources, samples) at microphone 1, and the attempt (1..) that gave them.

    Some end in a singular matrix or in no number on bins where little is. So that this does not decide the table they
    get a second attempt with white noise 60 dB below the mixture, and a third with noise and few iterations.
    None, 4 where nothing helped.
    """
    import numpy as np
    from scipy.signal import istft, stft

    noise = np.random.default_rng(seed).standard_normal(mixture.shape)
    noise *= NOISE_LEVEL * np.sqrt(np.mean(mixture**2))
    attempts = [(mixture, rival.iterations), (mixture + noise, rival.iterations), (mixture + noise, FEW_ITERATIONS)]
    for attempt, (sound, iterations) in enumerate(attempts, 1):
        x = stft(sound.T, window="hann", nperseg=window, noverlap=window - hop)[2]
        try:
            y = separate_stft(rival, x, seed, iterations, components)
        except np.linalg.LinAlgError:
            continue
        if np.isfinite(y).all():
            return istft(y, window="hann", nperseg=window, noverlap=window - hop)[1][:, : len(mixture)], attempt
    return None, len(attempts) + 1


def version(rival):
    from importlib.metadata import version

    return f"{rival.library} {version(rival.library)}"


def set_threads(threads):
    """Before numpy is loaded."""
    for name in THREAD_VARIABLES:
        os.environ[name] = str(threads)
