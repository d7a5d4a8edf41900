"""A learned optimizer for any module, as a `torch.optim.Optimizer`."""

from collections.abc import Callable, Iterable
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from lit_lul.errors import InvalidInput
from lit_lul.files.theta import load_learner
from lit_lul.learners.lstm_optimizer import LSTMOptimizer


class Learned(Optimizer):
    """Updates parameters by a meta-trained `LSTMOptimizer`, from their gradients alone.

    Every coordinate has a state of its own: with the default settings 80 numbers for each. θ itself
    is fixed. Updates are computed in float64 for parameters in float64, else in float32.

    Args:
        params: parameters or groups of them, as for any optimizer.
        rule: a shipped learner by name, a file of θ, or the learner itself.
        lr: factor of the updates, 1 as in meta-training; schedulers and groups may change it.

    Raises:
        InvalidInput: when the rule is missing, or of another kind of learner; or for a negative
            factor.
    """

    def __init__(
        self,
        params: Iterable[Any],
        rule: LSTMOptimizer | Path | str = "lstm_quadratics",
        lr: float = 1.0,
    ) -> None:
        learner = rule if isinstance(rule, LSTMOptimizer) else load_learner(rule)
        if not isinstance(learner, LSTMOptimizer):
            name = type(learner).__name__
            raise InvalidInput(f"rule {rule}: holds θ of {name}, expected one of LSTMOptimizer")
        if not lr >= 0:
            raise InvalidInput(f"lr {lr}: expected zero or more")
        self._learner = deepcopy(learner).requires_grad_(False)
        self._placed: dict[tuple[torch.device, torch.dtype], LSTMOptimizer] = {}
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update all parameters that have gradients.

        Args:
            closure: computes the loss again, with gradients, and returns it.

        Returns:
            The loss from the closure, None without one.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group["lr"])
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load groups and states; states keep their precision, whatever the parameters have."""
        super().load_state_dict(state_dict)
        saved = [number for group in state_dict["param_groups"] for number in group["params"]]
        own = [parameter for group in self.param_groups for parameter in group["params"]]
        for number, parameter in zip(saved, own, strict=True):
            if number in state_dict["state"]:
                self.state[parameter] = {
                    name: tuple(m.to(parameter.device, copy=True) for m in memory)
                    for name, memory in state_dict["state"][number].items()
                }

    def _update(self, parameter: Tensor, gradient: Tensor, factor: float) -> None:
        """Update one parameter."""
        if gradient.is_sparse or gradient.is_complex():
            raise InvalidInput("gradient: expected one that is dense and real")
        learner = self._learner_for(parameter)
        state = self.state[parameter]
        if not state:
            state["hidden"], state["cell"] = learner.start_memory((parameter.numel(),))
        flat = gradient.to(next(learner.parameters()).dtype).flatten()
        change, state["hidden"], state["cell"] = learner.update(
            flat, state["hidden"], state["cell"]
        )
        parameter.add_((factor * change).view(parameter.shape).to(parameter.dtype))

    def _learner_for(self, parameter: Tensor) -> LSTMOptimizer:
        """The learner on a parameter's device, in the dtype that its updates are computed in."""
        dtype = torch.float64 if parameter.dtype == torch.float64 else torch.float32
        key = parameter.device, dtype
        if key not in self._placed:
            self._placed[key] = deepcopy(self._learner).to(*key)
        return self._placed[key]
