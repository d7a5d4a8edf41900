"""Supervised baseline: the same network trained on the few labels (section 5.3, figure 4)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from lit_lul.evaluation.draws import Draws
from lit_lul.evaluation.held_out import HeldOut
from lit_lul.evaluation.held_out_data import HeldOutData
from studies.networks.training import new_linear, noise_generators, rescaled, train

RATES = (3e-4, 1e-3, 3e-3, 1e-2)
MINIBATCH = 32


def train_supervised(
    data: HeldOutData,
    held_out: HeldOut,
    embedding_units: int,
    numbers: Sequence[int],
    probe_steps: Sequence[int],
    rate: float,
    device: torch.device = torch.device("cpu"),
) -> dict[str, Tensor]:
    """Train the network of each draw, with a linear layer on top, on the draw's labelled rows.

    It begins as the network that rules train. Batch statistics are those of the training rows,
    in minibatches of 32 while training; by the transductive protocol test rows share theirs with
    the training rows. Unlabelled rows are not used.

    Args:
        data: labelled rows to train on and to test on.
        held_out: the network, the draws and the protocol.
        embedding_units: E of the network.
        numbers: numbers of the draws.
        probe_steps: gradient steps to test at.
        rate: learning rate; the paper took the best on the test rows, of `RATES` here.
        device: where to train.

    Returns:
        Accuracy of the network's own classification at every probe, (steps, T), as "accuracy".

    Raises:
        InvalidInput: when a class has too few examples.
    """
    draws = Draws(data, held_out, numbers, torch.empty(0, device=device))
    network = held_out.networks.at(0.5, data.x.shape[1], embedding_units)
    params = rescaled(draws.random_networks(network))
    top = draws.from_seeds(lambda g: new_linear(embedding_units, data.n_classes, g))
    support, query = draws.labelled.support_x[0], draws.labelled.query_x[0]
    known = draws.support_labels.to(device)
    generators = noise_generators(draws.seeds)

    def loss() -> Tensor:
        size = min(MINIBATCH, support.shape[1])
        order = [torch.randperm(support.shape[1], generator=g)[:size] for g in generators]
        rows = torch.stack(order).to(device)
        x = support.gather(1, rows.unsqueeze(-1).expand(-1, -1, support.shape[-1]))
        scores = top(network.embed(params, x))
        return F.cross_entropy(scores.mT, known.gather(1, rows), reduction="none").mean(-1)

    def accuracy() -> dict[str, Tensor]:
        if held_out.protocol == "inductive":
            u = network.embed(params, query, network.statistics(params, support))
        else:
            together = network.embed(params, torch.cat([support, query], 1))
            u = together[:, support.shape[1] :]
        hits = top(u).argmax(-1).cpu() == draws.query_labels
        return {"accuracy": hits.double().mean(-1)}

    return train((params, top), loss, rate, probe_steps, accuracy)
