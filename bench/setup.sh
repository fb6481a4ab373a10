#!/usr/bin/env bash
# Makes the virtual environment of the rivals, outside the repository.
# The place is DEMIX_BENCH_VENV, /tmp/demix-bench-venv unless told otherwise.
set -euo pipefail

venv="${DEMIX_BENCH_VENV:-/tmp/demix-bench-venv}"
test -x "$venv/bin/python" || python3 -m venv "$venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check \
    numpy scipy scikit-learn mir_eval museval fast_bss_eval soundfile \
    pyroomacoustics ssspy packaging  # ssspy imports packaging without saying so
echo "$venv"
