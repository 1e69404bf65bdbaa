#!/usr/bin/env bash
# Measure ragcore on one GPU, and run the tests that need one; unattended, in eight minutes after
# installing. A bare machine needs Python 3.11 or later with venv, and the driver of its card.
#
#   bash benchmarks/gpu.sh                  packages come from the package index
#   WHEELS=wheels bash benchmarks/gpu.sh    without a network, from a folder that is made by
#                                           bash benchmarks/gpu.sh --wheels wheels
#   bash benchmarks/gpu.sh --dry            tiny models, on any machine: tries the script
#
# VENV=.venv-gpu      where the environment is made, or is found
# PYTHON=python3      what makes it; one in which ragcore can be imported already is used as it is
# OUT=gpu-figures     where output and figures are written
#
# What is installed, all with their own dependencies: the packages of this repository that
# `packages` lists below, and for the tests pytest, hypothesis, accelerate, peft and bitsandbytes.
# torch is the index's build for CUDA: some 3 GB.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(. ./plugins/ragcore-bm25 ./plugins/ragcore-transformers)
further=("pytest>=8.2" "hypothesis>=6.100" "accelerate>=1.0" "peft>=0.13" "tensorboard>=2.14"
         "ir-measures>=0.3.3" "rouge-score>=0.1.2" "sacrebleu>=2.4" "scipy>=1.11"
         "hatchling>=1.24")
# For x86 and ARM with CUDA alone.
optional=("bitsandbytes>=0.43")

python=${PYTHON:-python3}
if [[ ${1:-} == --wheels ]]; then
    folder=${2:?name a folder for the wheels}
    "$python" -m pip wheel -q -c constraints.txt -w "$folder" "${packages[@]}" "${further[@]}"
    "$python" -m pip wheel -q -w "$folder" "${optional[@]}" || echo "without ${optional[*]}"
    du -sh "$folder"
    exit
fi
dry=()
if [[ ${1:-} == --dry ]]; then
    dry=(--dry)
elif [[ -n ${1:-} ]]; then
    echo "unknown option $1: --dry, --wheels FOLDER, or nothing" >&2
    exit 2
fi

if ! "$python" -c "import ragcore_transformers, ragcore, pytest" 2>/dev/null; then
    venv=${VENV:-.venv-gpu}
    [[ -x $venv/bin/python ]] || "$python" -m venv "$venv"
    python=$venv/bin/python
    if ! "$python" -c "import ragcore_transformers, ragcore, pytest" 2>/dev/null; then
        from=(-c constraints.txt)
        [[ -z ${WHEELS:-} ]] || from+=(--no-index --find-links "$WHEELS")
        "$python" -m pip install -q "${from[@]}" "${further[@]}"
        "$python" -m pip install -q "${from[@]}" --no-build-isolation "${packages[@]}"
        "$python" -m pip install -q "${from[@]}" "${optional[@]}" || echo "without ${optional[*]}"
    fi
fi

out=${OUT:-gpu-figures}
mkdir -p "$out"
# No model is fetched: all are made here.
export HF_HUB_OFFLINE=1 RAGCORE_CACHE=off TOKENIZERS_PARALLELISM=false
command -v nvidia-smi >/dev/null && nvidia-smi -L || echo "no nvidia-smi"
status=0
timeout 420 "$python" benchmarks/gpu.py --minutes 5 --json "$out/figures.json" ${dry[@]+"${dry[@]}"} 2>&1 \
    | tee "$out/figures.txt" || status=1
echo "== tests that need a GPU"
# Only the files that have such tests: the others import what is not installed here.
mapfile -t files < <(grep -rl --include="test_*.py" "mark.gpu" tests plugins)
timeout 120 "$python" -m pytest -m gpu -q -rs "${files[@]}" 2>&1 \
    | tee "$out/tests.txt" | tail -25 || status=1
echo "figures and output are in $out"
exit "$status"
