"""Measurements of the neural baselines."""

from collections.abc import Sequence

from lit_lul.evaluation.held_out import describe
from lit_lul.report.stored_rows import DEVICE, Row, digest
from studies.figures.context import RIDGE, Context
from studies.figures.panel import Measurement
from studies.networks.supervised import MINIBATCH, train_supervised
from studies.networks.training import NeuralCurve
from studies.networks.vae import train_vae

ELBO = "bound"
"""The name under which a VAE's row has its bound."""
VAE_SECONDS, SUPERVISED_SECONDS = 1.5e-4, 1e-4
"""About how long a step takes, per draw and row of a minibatch."""


def vae_curve(context: Context, name: str, dataset: str, steps: Sequence[int]) -> Measurement[Row]:
    """A measurement of a VAE's accuracy, and of its bound as another probe.

    Args:
        context: the data.
        name: of the measurement.
        dataset: name of the data.
        steps: gradient steps to probe at.
    """
    entry = context.entry(dataset)
    key = digest([entry.describe(), describe(RIDGE), list(steps), "vae"])

    def measure() -> Row:
        data = context.load(dataset)
        found = train_vae(RIDGE, data, entry, range(entry.draws), steps, DEVICE)
        assert found.elbo is not None  # it is a VAE
        by_probe = dict(zip(entry.probes, found.accuracy.tolist(), strict=True))
        return Row(key, list(steps), by_probe | {ELBO: found.elbo.tolist()})

    seconds = entry.draws * steps[-1] * entry.batch_size * VAE_SECONDS
    return Measurement(name, key, seconds, measure)


def supervised_curve(
    context: Context, name: str, dataset: str, steps: Sequence[int], rate: float
) -> Measurement[Row]:
    """A measurement of the network that is trained on the labels alone, as the probe "ridge".

    Args:
        context: the data.
        name: of the measurement.
        dataset: name of the data.
        steps: gradient steps to test at.
        rate: the learning rate.
    """
    entry, units = context.entry(dataset), context.embedding_units
    key = digest([entry.describe(), list(steps), rate, units, "supervised"])

    def measure() -> Row:
        data = context.load(dataset)
        found: NeuralCurve = train_supervised(
            data, entry, units, range(entry.draws), steps, rate, DEVICE
        )
        return Row(key, list(steps), {"ridge": found.accuracy[0].tolist()})

    seconds = entry.draws * steps[-1] * MINIBATCH * SUPERVISED_SECONDS
    return Measurement(name, key, seconds, measure)
