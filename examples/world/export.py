"""Write a trained reader in the shipped format: int8 rows, at most 30 MiB, and a tokenizer.

python export.py runs/reader ../../plugins/ragcore-world/src/ragcore_world/reader
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from ragcore_transformers.weights import save_int8_rows
from transformers import AutoTokenizer, BertForQuestionAnswering

LIMIT_MIB = 30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    model = BertForQuestionAnswering.from_pretrained(arguments.checkpoint, dtype=torch.float32)
    save_int8_rows(model, arguments.folder)
    AutoTokenizer.from_pretrained(arguments.checkpoint).save_pretrained(arguments.folder)
    size = (arguments.folder / "model.safetensors").stat().st_size / 2**20
    if size > LIMIT_MIB:
        raise SystemExit(f"the weights take {size:.1f} MiB: at most {LIMIT_MIB} may be shipped")
    print(f"{size:.1f} MiB, {sum(p.numel() for p in model.parameters()):,} parameters")


if __name__ == "__main__":
    main()
