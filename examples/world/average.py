"""Average the weights of checkpoints that come from one another, to start a training from there.

    python average.py runs/first runs/second runs/fourth --out runs/average

Fine-tuned from the same weights, they lie in one valley of the loss, where their average often
reads better than each of them (Wortsman et al., Model soups, 2022).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from transformers import AutoTokenizer, BertForQuestionAnswering


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoints", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    models = [
        BertForQuestionAnswering.from_pretrained(folder, dtype=torch.float32)
        for folder in arguments.checkpoints
    ]
    states = [model.state_dict() for model in models]
    average = {
        name: torch.stack([state[name] for state in states]).mean(dim=0) for name in states[0]
    }
    models[0].save_pretrained(arguments.out, state_dict=average)
    AutoTokenizer.from_pretrained(arguments.checkpoints[0]).save_pretrained(arguments.out)


if __name__ == "__main__":
    main()
