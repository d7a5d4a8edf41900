"""The card of a meta-trained θ, written at the end of a run."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from lit_lul.files.atomic import replace_file
from lit_lul.files.hub import THETA, is_reference
from lit_lul.files.theta import described
from lit_lul.learners import LSTMOptimizer
from lit_lul.training.held_out_curve import HeldOutCurve
from lit_lul.training.loggers import run_folder
from lit_lul.training.wandb_logger import RunWandbLogger

TEMPLATE = """\
---
license: unknown
library_name: lit_lul
tags: [meta-learning, {tags}]
datasets: [{datasets}]
metrics: [accuracy]
---

# {learner}, meta-trained with lit_lul

{steps:,} outer steps, {start}. The run's `config.yaml` has all settings of tasks and meta-training.

| setting of the learner | |
| --- | --- |
{settings}

## Usage

```python
{usage}
```

## Numbers

{numbers}

## Limits

Nothing else was measured.
"""

WITHOUT_LABELS = """\
from lit_lul import apply_rule, load_rule

rule = load_rule("{file}")  # or "org/name@commit" of a repository on the Hugging Face hub
u = apply_rule(rule, rows).embeddings  # rows (n, inputs) in [0, 1], without labels"""
WITH_LABELS = """\
import torch
from lit_lul import Batch, load_learner

learner = load_learner("{file}")
state = learner.start(learner.network, 1, torch.Generator())
for _ in range(5):  # inner steps: x (1, n, inputs) in [0, 1], y (1, n, classes) one-hot
    state = learner(learner.network, state, Batch(x, y))
outputs = learner.network.embed(learner.parameters_of(state), queries)"""

OPTIMIZER = """\
from lit_lul.apply.optim import Learned

optimizer = Learned(model.parameters(), rule="{file}")  # a torch.optim.Optimizer for any module"""


class RuleCard(Callback):
    """Writes the card of θ at the end of `fit`, and gives both to W&B, where it logs the run.

    W&B also gets to know which rule the run started from.

    Args:
        curves: the held-out curves that the card reports.
        datasets: references of the datasets that meta-training uses.
        source: θ, checkpoint or reference that the run starts from; None if it is new, or resumed
            in its own folder.
    """

    def __init__(
        self,
        curves: Sequence[HeldOutCurve] = (),
        datasets: Collection[str] = (),
        source: str | None = None,
    ) -> None:
        self.curves, self.datasets, self.source = curves, datasets, source

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Agree with all ranks on the folder, and record the source."""
        self.theta = run_folder(trainer) / "checkpoints" / THETA
        for logger in trainer.loggers if self.source and trainer.is_global_zero else []:
            if isinstance(logger, RunWandbLogger):
                logger.use_rule(str(self.source))

    @property
    def path(self) -> Path:
        """The card."""
        return self.theta.with_suffix(".md")

    def state_dict(self) -> dict[str, Any]:
        """The source, which the card of a resumed run names too."""
        return {"source": self.source}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load the source of a resumed run."""
        self.source = self.source or state_dict["source"]

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the card, and log it."""
        if not trainer.is_global_zero:
            return
        with replace_file(self.path) as temporary:
            temporary.write_text(self._text(trainer, pl_module), encoding="utf-8")
        for logger in trainer.loggers:
            if isinstance(logger, RunWandbLogger):
                logger.log_rule(self.theta, self.path, {"outer_steps": trainer.global_step})

    def _text(self, trainer: Trainer, pl_module: Any) -> str:
        learner, settings = described(pl_module.learner)
        numbers = "\n\n".join(curve.numbers() for curve in self.curves)
        tags, usage = "unsupervised-learning, learning-rules", WITHOUT_LABELS
        if isinstance(pl_module.learner, LSTMOptimizer):
            tags, usage = "learned-optimizer", OPTIMIZER
        elif pl_module.learner.learns_from != "unlabelled":
            tags, usage = "few-shot-learning", WITH_LABELS
        return TEMPLATE.format(
            tags=tags,
            usage=usage.format(file=self.theta),
            datasets=", ".join(sorted(filter(is_reference, self.datasets))),
            learner=learner,
            steps=trainer.global_step,
            start=f"from {self.source}" if self.source else "from newly initialised θ",
            settings="\n".join(f"| {name} | {value} |" for name, value in settings.items()),
            numbers=f"```\n{numbers}\n```" if numbers else "None were measured.",
        )
