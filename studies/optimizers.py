"""The command `report optimizers`: learned optimizers beside tuned ones, loss against steps.

Shapes: T draws of a problem.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from math import inf, isfinite
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.optim import SGD, Adam, Optimizer, RMSprop

from lit_lul.apply.optim import Learned
from lit_lul.errors import InvalidInput
from lit_lul.estimators.estimator import Truncation, seeded
from lit_lul.evaluation.curve import Curve
from lit_lul.files.theta import load_learner
from lit_lul.learners import LSTMOptimizer
from lit_lul.networks import Networks, Params
from lit_lul.objectives.objective import Objective
from lit_lul.objectives.supervised import LOSSES, predict
from lit_lul.report.page import Cell, Check, Page, Picture, Table
from lit_lul.report.plots import lines
from lit_lul.report.rows import DEVICE, Numbers, RowFile, digest, rule_key
from lit_lul.report.study import (
    Measurement,
    Part,
    Study,
    initial_theta,
    page_path,
    parse,
    read_values,
    spell,
)
from lit_lul.tasks import Source, TaskSource
from lit_lul.tasks.schedules import ProblemLength, UnrollLength
from lit_lul.tasks.sizes import Sizes
from lit_lul.tasks.source import Seeds
from lit_lul.tasks.stream import TaskStream
from lit_lul.training.truncations import Needs, realise
from lit_lul.trees import map_tensors, tensors_of
from studies.checks import over_draws

LEARNED, INITIAL = "learned", "learned, initial θ"
TUNED: dict[str, Callable[..., Optimizer]] = {
    "SGD": SGD,
    "momentum": partial(SGD, momentum=0.9),
    "RMSprop": RMSprop,
    "Adam": Adam,
}
"""Each takes parameters and a rate `lr`; all of them treat coordinates, and so tasks, alike."""
TUNING_SEED, REPORT_SEED = 1, 2
CLAIMS = {"best": "is below every tuned one", "fails": "fails"}


@dataclass(frozen=True)
class Problem:
    """A problem for optimizers: to train new networks on the tasks of a source."""

    learner: str
    """The learned optimizer: a shipped one by name, or a file of θ."""
    source: Source
    """Where the tasks are from."""
    networks: Networks
    """A set of one network."""
    objective: Objective
    """The loss that is reported."""
    steps: int = 100
    """Steps of an optimizer."""
    batch_size: int = 128
    """B."""
    labels_per_class: int = 50
    """Examples of each class that the loss is measured on."""
    draws: int = 8
    """Tasks, with initial φ and minibatches of their own, that are reported."""
    tuning_draws: int = 4
    """Other tasks, on which rates are chosen."""
    claim: Literal["best", "fails"] | None = None
    """What the paper says of the learned optimizer: below every tuned one, or not."""

    def __post_init__(self) -> None:
        least = {"steps": 1, "batch_size": 1, "labels_per_class": 1, "tuning_draws": 1, "draws": 2}
        for name, lowest in least.items():
            if getattr(self, name) < lowest:
                raise InvalidInput(f"{name} must be at least {lowest}, got {getattr(self, name)}")


@dataclass
class Curves(Part[Numbers]):
    """The optimizers on one problem."""

    name: str
    problem: Problem
    rates: Sequence[float]
    """Each tuned optimizer chooses from them."""
    data_root: str | None
    kind = Numbers

    def file(self, out: Path) -> RowFile[Numbers]:
        """The stored rows; the name of the file has no spaces."""
        stem = self.name.replace(", ", "_").replace(" ", "_")
        return RowFile(self.name, out.with_suffix("") / f"{stem}.json", Numbers)

    def protocol(self) -> object:
        """The settings."""
        return repr(self.problem)

    def measurements(self) -> list[Measurement[Numbers]]:
        """The learned optimizer, the same with initial θ, and the tuned ones."""
        # the claim and the name of the learner's file do not change numbers
        protocol = repr(replace(self.problem, learner="", claim=None))
        found = []
        initial = initial_theta(self._learner)
        assert isinstance(initial, LSTMOptimizer)
        for name, learner in {LEARNED: self._learner, INITIAL: initial}.items():
            key = rule_key(protocol, "float32", learner)
            make = partial(Learned, rule=learner)
            found.append(Measurement(name, key, 3.0, partial(self._curve, key, make)))
        for name, tuned in TUNED.items():
            key = digest([protocol, self._learner.settings.loss, name, list(self.rates)])
            measure = partial(self._tuned, key, tuned)
            found.append(Measurement(name, key, float(len(self.rates)), measure))
        return found

    @cached_property
    def _learner(self) -> LSTMOptimizer:
        learner, name = load_learner(self.problem.learner), self.problem.learner
        if not isinstance(learner, LSTMOptimizer):
            held = type(learner).__name__
            raise InvalidInput(f"{name}: holds θ of {held}, expected LSTMOptimizer")
        return learner

    @cached_property
    def _tasks(self) -> TaskSource:
        return self.problem.source.load(self.name, self.data_root)[0]

    def _tuned(self, key: str, make: Callable[..., Optimizer]) -> Numbers:
        """The curve with the rate whose mean loss after the last step is lowest on other draws."""
        truncation = self._draw(TUNING_SEED, self.problem.tuning_draws)
        of_rates = [self._last(partial(make, lr=rate), truncation) for rate in self.rates]
        best = self.rates[of_rates.index(min(of_rates))]
        values = {"rates": list(self.rates), "tuning": of_rates}
        return Numbers(key, values | self._curve(key, partial(make, lr=best)).values)

    def _curve(self, key: str, make: Callable[..., Optimizer]) -> Numbers:
        """Loss after every step: its mean and standard error; after the last one of every draw."""
        truncation = self._draw(REPORT_SEED, self.problem.draws)
        trained = self._train(make, truncation)
        losses = torch.stack([self._loss(params, truncation) for params in trained])
        curve = Curve.of((), losses)
        values = {"mean": list(curve.mean), "standard_error": list(curve.standard_error)}
        return Numbers(key, values | {"last": losses[-1].tolist()})

    def _last(self, make: Callable[..., Optimizer], truncation: Truncation) -> float:
        """Mean loss after the last step; infinite if it is undefined."""
        *_, params = self._train(make, truncation)
        mean = float(self._loss(params, truncation).mean())
        return mean if mean < inf else inf  # NaN too

    def _draw(self, seed: int, draws: int) -> Truncation:
        """Draws of the problem, all steps of them."""
        problem = self.problem
        sizes = Sizes(1, draws, problem.batch_size, problem.labels_per_class, draws=1)
        outputs, lengths = self._learner.embedding_units, (UnrollLength(), ProblemLength())
        stream = TaskStream([self._tasks], problem.networks, sizes, *lengths, outputs, seed)
        seeds = Seeds([seed, 0], [seed, 1])
        plan = stream.plan(0, stream.families[0], problem.steps, seeds).to(DEVICE)
        return realise(plan, Needs(DEVICE, torch.float32, learns_from="labelled"))

    def _train(self, make: Callable[..., Optimizer], truncation: Truncation) -> Iterator[Params]:
        """Yields φ of T tasks, before the first step and after each one; it changes in place."""
        network, loss = truncation.network, LOSSES[self._learner.settings.loss]
        params = network.init(truncation.tasks, seeded(truncation.start_seed, DEVICE))
        params = map_tensors(Tensor.requires_grad_, params)
        optimizer = make([tensor for _, tensor in tensors_of(params)])
        yield params
        for batch in truncation.batches:
            assert batch.y is not None
            optimizer.zero_grad()
            loss(predict(network, params, batch.x, batch.y), batch.y).sum().backward()
            optimizer.step()
            yield params

    @torch.no_grad()
    def _loss(self, params: Params, truncation: Truncation) -> Tensor:
        """The loss of T tasks, (T,), float64 on the CPU."""
        score = self.problem.objective(truncation.network, params, truncation.labelled)
        return score.loss.double().cpu()


def optimizers(
    only: list[str] | None = None,
    config: Path = Path("configs/optimizers.yaml"),
    out: Path = Path("docs/optimizers.md"),
    quick: bool = False,
) -> None:
    """Measure learned optimizers beside SGD, momentum, RMSprop and Adam with tuned rates.

    Beside the page a folder of its name gets a JSON file per problem and a picture. Numbers in
    these files are not measured again while settings and θ are the same, so an interrupted run
    resumes. Problems without data or learner are left out.

    Args:
        only: measure only these problems; the page has all that are measured.
        config: the problems.
        out: the page, a markdown file.
        quick: few draws, steps and rates, in files of their own, to see that everything works.

    Raises:
        InvalidInput: for an invalid option or file.
    """
    out = page_path(out, quick)
    values = read_values(config, {"problems", "rates", "data_root"}, quick)
    problems = parse(config, dict[str, Problem], values.get("problems"), "problems")
    rates = parse(config, list[float], values.get("rates"), "rates")
    if not problems or not rates:
        raise InvalidInput(f"{config}: expected problems and rates")
    parts = [Curves(name, one, rates, values.get("data_root")) for name, one in problems.items()]
    command = spell("optimizers", config=config, out=out, quick=quick)
    Study("optimizers", parts, partial(optimizers_page, command, problems)).run(out, only)


def optimizers_page(
    command: str, problems: Mapping[str, Problem], rows: Mapping[str, Mapping[str, Numbers]]
) -> Page:
    """The page: curves, losses after the last step, chosen rates and the paper's claims."""
    measured = {
        name: {method: row.values for method, row in of_problem.items()}
        for name, of_problem in rows.items()
        if {LEARNED, *TUNED} <= of_problem.keys()
    }
    beaten = {
        name: {o: below(of_problem[LEARNED], of_problem[o]) for o in TUNED}
        for name, of_problem in measured.items()
    }
    best = [name for name, found in beaten.items() if all(found.values())]
    methods = (LEARNED, INITIAL, *TUNED)
    losses = {m: [last_loss(one.get(m)) for one in measured.values()] for m in methods}
    rates = {m: [chosen_rate(one[m]) for one in measured.values()] for m in TUNED}
    checks = []
    for name, found in beaten.items():
        if claim := problems[name].claim:
            said = f"on {name} the learned optimizer {CLAIMS[claim]}"
            checks.append(Check(said, numbers_of(found), holds(claim, found)))
    sections: dict[str, Sequence[Any]] = {
        "The paper's claims": checks,
        "Loss after the last step": [
            Table([*measured], {"": losses}, form=".3g", best="low", mean=False)
        ],
        "Chosen rates": [Table([*measured], {"": rates}, mean=False)],
    }
    learners = sorted({Path(problems[name].learner).stem for name in measured})
    return Page(
        "Learned optimizers, beside tuned ones",
        f"The learned optimizer is below every tuned one on {len(best)} of {len(measured)} "
        f"problems{': ' * bool(best)}{'; '.join(best)}.",
        command,
        [Picture("curves", draw(measured), "Mean loss over the draws")] if measured else [],
        sections if measured else {},
        f"""The experiments of Andrychowicz et al. 2016 (arXiv:1606.04474) on quadratics and MNIST.
A learned optimizer was meta-trained on the first problem of its kind
({", ".join(f"`{name}`" for name in learners)}); the others show what it does elsewhere. Each tuned
optimizer takes the rate whose mean loss after the last step is lowest on other draws; *edge* marks
a rate at the end of the list. All start from the same networks and see the same minibatches. The
loss is that of fresh rows, or on quadratics that of the function itself, over its number of
dimensions. Claims compare last losses on the same draws; a difference counts beyond two standard
errors. Standard errors and losses of every draw are in the JSON files.""",
    )


def draw(measured: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Figure:
    """Loss against steps, without the parts of curves above the start."""
    curves: dict[str, dict[str, Curve]] = {name: {} for name in measured}
    for name, of_problem in measured.items():
        for method, values in of_problem.items():
            mean, error = (tuple(values[which]) for which in ("mean", "standard_error"))
            curves[name][method] = Curve(tuple(range(len(mean))), mean, error)
    figure = lines(curves, "steps", "loss", log=("y",))
    for axes, of in zip(figure.axes, curves.values(), strict=False):
        finite = [loss for curve in of.values() for loss in curve.mean if isfinite(loss)]
        axes.set_ylim(min(finite) / 1.3, 1.3 * of[LEARNED].mean[0])
    return figure


def last_loss(values: Mapping[str, Any] | None) -> Cell:
    """Mean loss after the last step."""
    if values is None:
        return None
    last = float(values["mean"][-1])
    return last if isfinite(last) else "diverges"


def chosen_rate(values: Mapping[str, Any]) -> str:
    """The chosen rate, and whether it is at the end of the list."""
    place = int(np.argmin(values["tuning"]))
    edge = ", edge" * (place in (0, len(values["rates"]) - 1))
    return f"{values['rates'][place]:g}{edge}"


def below(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool | None:
    """Whether one's last losses are below the other's on the same draws; None if not resolved."""
    diverged = [not np.isfinite(values["last"]).all() for values in (one, other)]
    if any(diverged):
        return None if all(diverged) else diverged[1]
    return over_draws(np.subtract(other["last"], one["last"])).held


def holds(claim: str, found: Mapping[str, bool | None]) -> bool | None:
    """Whether the claim holds: below all tuned optimizers, or above one."""
    wrong = False in found.values()
    right = all(found.values())
    if not wrong and not right:
        return None
    return right if claim == "best" else wrong


def numbers_of(found: Mapping[str, bool | None]) -> str:
    """The tuned optimizers that the learned one is below or above."""
    said = []
    for held, word in ((True, "below"), (None, "not resolved beside"), (False, "above")):
        if names := [name for name, is_below in found.items() if is_below is held]:
            said.append(f"{word} {', '.join(names)}")
    return "; ".join(said)
