"""The tables of separation.py, from {"cases": {name: condition}, "gains": {method: {case: [dB of each seed]}}, ...}."""

from statistics import median

PREFACE = """# Separation with as many microphones as sources: measured

Made by `bench/separation.py` from the mixtures of `bench/mixtures.py`, which lists recordings, rooms and angles.
SDR improvement in dB (BSS Eval version 3, filters of 512 taps, microphone 1) over the unseparated mixture, mean over
the sources; the table holds the median over cases of the median over seeds. Spread: largest less smallest improvement
over the seeds of a case. Settings were chosen on speech pairs 1-3 and songs of the Dev half, none of which is reported
here ([how](separation-settings.md)). Ours: `demix separate --method NAME --seed N`, nothing else set, but where a setting
stands beside the name. `noise=60` hears the mixture with white noise 60 dB below it, another one for each seed: `auto` draws
nothing, so a seed alone changes nothing, and this row says how far its results depend on what nobody hears.
"""
HELP = """X is scaled to unit power, the result projected back onto
microphone 1. Where a rival ends in a singular matrix or in numbers that are not finite, it gets white noise 60 dB below
the mixture, then 20 iterations; where nothing helps, its result counts as 0 dB, as does any refusal of ours."""


def text(found):
    """For a terminal: medians by condition, and what `auto` is asked to reach."""
    header, rows = table(found)
    widths = [max(len(str(row[column])) for row in [header, *rows]) for column in range(len(header))]
    lines = ["  ".join(str(cell).rjust(width) for cell, width in zip(row, widths)) for row in [header, *rows]]
    lines.append(
        "SDR improvement in dB: median over cases of the median over seeds (number of cases where some are missing)"
    )
    lines += [f"failed, counted as 0 dB: {error}" for error in found["errors"]]
    lines += [f"{method}: {count} runs failed until helped" for method, count in found["helped"].items()]
    return "\n".join(lines + goals(found))


def table(found):
    conditions = list(dict.fromkeys(found["cases"].values()))
    header = ["method", *conditions, "all", "spread: median", "90 %", "max", "seeds"]
    rows = []
    for method, gains in found["gains"].items():
        row = [method]
        for condition in [*conditions, None]:
            names = [name for name, its in found["cases"].items() if condition in (None, its)]
            row.append(cell([median(gains[name]) for name in names if name in gains], len(names)))
        row += spreads(gains)
        row.append(span([len(some) for some in gains.values()]))
        rows.append(row)
    return header, rows


def cell(values, wanted):
    if not values:
        return "-"
    return f"{median(values):.2f}" + ("" if len(values) == wanted else f" ({len(values)}/{wanted})")


def spreads(gains):
    """Over seeds, of the cases that have several."""
    ranges = sorted(max(some) - min(some) for some in gains.values() if len(some) > 1)
    if not ranges:
        return ["-", "-", "-"]
    return [f"{value:.2f}" for value in (median(ranges), ranges[int(0.9 * (len(ranges) - 1) + 0.5)], ranges[-1])]


def span(counts):
    return str(min(counts)) if min(counts) == max(counts) else f"{min(counts)}-{max(counts)}"


def goals(found):
    """`auto` against the best single rival, and against the best of each case in hindsight; rivals that have not run
    on every case are left out, and named."""
    rivals = {method: gains for method, gains in found["gains"].items() if not method.startswith("ours:")}
    names = list(found["cases"])
    partial = [method for method, gains in rivals.items() if len(gains) < len(names)]
    rivals = {method: gains for method, gains in rivals.items() if method not in partial}
    if not rivals:
        return []
    whole = {method: median(median(gains[name]) for name in names) for method, gains in rivals.items()}
    best = max(whole, key=whole.get)
    lines = [f"best single rival over {len(names)} cases: {best}, {whole[best]:.2f} dB"]
    hindsight = {name: max(median(gains[name]) for gains in rivals.values()) for name in names}
    lines.append(f"best rival of each case in hindsight: {median(hindsight.values()):.2f} dB")
    if partial:
        lines.append(f"not compared, cases are missing: {', '.join(partial)}")
    for method, gains in [*found["gains"].items()]:
        mine = {name: median(gains[name]) for name in names if name in gains}
        if len(mine) < len(names):
            continue
        close = sum(gain > hindsight[name] - 1 for name, gain in mine.items()) / len(mine)
        spread = [max(gains[name]) - min(gains[name]) for name in mine if len(gains[name]) > 1]
        steady = f"{100 * sum(width < 1 for width in spread) / len(spread):.0f} %" if spread else "-"
        lines.append(
            f"{method}: {median(mine.values()):.2f} dB,"
            f" within 1 dB of the best rival of each case on {100 * close:.0f} %,"
            f" spread over seeds below 1 dB on {steady}"
        )
    return lines


def markdown(found, settings):
    header, rows = table(found)
    windows = ", ".join(f"{window} samples, hop {hop} ({kind})" for kind, (window, hop) in settings["stft"].items())
    components = ", ".join(f"{k} ({kind})" for kind, k in settings["components"].items())
    lines = [PREFACE, f"Rivals: Hann windows of {windows}; components per source: {components}. {HELP}", ""]
    lines += [f"- `{name}`: {line}" for name, line in settings["rivals"].items() if name in found["gains"]]
    lines += ["", *markdown_table(header, rows), ""]
    lines += [f"- {line}" for line in goals(found)]
    lines += [f"- `{method}`: {count} runs failed until helped" for method, count in found["helped"].items()]
    lines += [
        f"- `{method}`: {count} cases stand as an earlier report of this script had them, to 0.1 dB"
        for method, count in found["earlier"].items()
    ]
    lines += [f"- failed, counted as 0 dB: {error}" for error in found["errors"]]
    lines += ["", "## Each case", "", "Median over seeds, and smallest to largest.", ""]
    methods = list(found["gains"])
    each = [[name, *(one(found["gains"][method].get(name)) for method in methods)] for name in found["cases"]]
    return "\n".join(lines + markdown_table(["case", *methods], each)) + "\n"


def one(values):
    if not values:
        return "-"
    some = f" ({min(values):.1f} to {max(values):.1f})" if len(values) > 1 else ""
    return f"{median(values):.1f}{some}"


def markdown_table(header, rows):
    lines = [header, ["---"] * len(header), *rows]
    return ["| " + " | ".join(map(str, line)) + " |" for line in lines]
