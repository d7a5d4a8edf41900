"""A picture of prototypes that the rule `competitive` finds in digits, and of their neighbours.

python examples/prototypes.py --out docs/competitive.png
"""

import argparse
from pathlib import Path

import torch
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

from lit_lul import apply_rule, load_rule

ROWS, COLUMNS, SIDE = 5, 8, 8


def main() -> None:
    """Train a network on digits without labels, and draw pairs of prototypes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("prototypes.png"))
    options = parser.parse_args()
    digits = torch.from_numpy(load_digits().data).float() / 16
    params = apply_rule(load_rule("competitive"), digits).params
    prototypes = params["prototypes"][0].T.reshape(-1, SIDE, SIDE)
    connections = params["lateral"][0].clone().fill_diagonal_(0)
    strongest = connections.argmax(-1)
    figure = Figure(figsize=(COLUMNS * 1.5, ROWS * 0.75), layout="constrained")
    for place, axes in enumerate(figure.subplots(ROWS, COLUMNS).flat):
        pair = torch.cat([prototypes[place], torch.zeros(SIDE, 1), prototypes[strongest[place]]], 1)
        axes.imshow(1 - pair.clamp(0, 1).numpy(), cmap="gray", vmin=0, vmax=1)
        axes.axis("off")
    figure.savefig(options.out, dpi=100)
    print(options.out)


if __name__ == "__main__":
    main()
