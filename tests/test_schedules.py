"""The curricula of appendix H.2, rounds, and weights."""

import numpy as np
import pytest
import torch

from lit_lul.errors import InvalidInput
from lit_lul.tasks.schedules import (
    THE_END,
    ProblemLength,
    Rounds,
    UnrollLength,
    WeightSchedule,
    is_drawn,
    weight_at,
)
from lit_lul.training.schedules import PiecewiseConstantLR

RNG = np.random.default_rng


@pytest.mark.parametrize(
    ("outer_step", "low", "high"), [(0, 2, 4), (25_000, 5, 10), (50_000, 8, 15), (10**6, 8, 15)]
)
def test_unroll_length_is_uniform_between_moving_bounds(
    outer_step: int, low: int, high: int
) -> None:
    rng, schedule = RNG(0), UnrollLength()
    drawn = {schedule.sample(outer_step, rng) for _ in range(1000)}
    assert drawn == set(range(low, high + 1))


@pytest.mark.parametrize(("outer_step", "mean"), [(0, 20), (2_500, 10_010), (5_000, 20_000)])
def test_problem_length_is_a_shifted_normal(outer_step: int, mean: int) -> None:
    rng, schedule = RNG(0), ProblemLength()
    drawn = np.array([schedule.sample(outer_step, rng) for _ in range(4000)])
    assert drawn.min() == 1
    assert np.median(drawn) == pytest.approx(mean, rel=0.1)
    above = drawn[drawn > mean] - mean
    assert np.sqrt(np.mean(above**2)) == pytest.approx(mean, rel=0.1)


def test_constant_problem_length() -> None:
    assert {ProblemLength(24, 24, 1, 0).sample(3, RNG(i)) for i in range(9)} == {24}


@pytest.mark.parametrize(("outer_step", "longest"), [(0, 30), (500, 515), (1000, 1000)])
def test_log_uniform_problem_lengths_have_a_moving_upper_bound(
    outer_step: int, longest: int
) -> None:
    rng, schedule = RNG(0), ProblemLength(30, 1000, 1000, distribution="log-uniform")
    drawn = np.array([schedule.sample(outer_step, rng) for _ in range(4000)])
    assert drawn.min() == 30
    assert longest * 0.98 < drawn.max() <= longest or longest == 30
    assert np.median(drawn) == pytest.approx(np.sqrt(30 * longest), rel=0.05)


def test_rounds_move_and_are_counted() -> None:
    assert [Rounds().at(step) for step in (0, 9)] == [1, 1]
    assert [Rounds(last=4).at(step) for step in (0, 9)] == [4, 4]
    for rounds, expected in (
        (Rounds(1, 4, 6), [1, 2, 2, 2, 3, 4, 4, 4]),
        (Rounds(3, 1, 2), [3, 2, 1, 1, 1, 1, 1, 1]),
    ):
        assert [rounds.at(step) for step in range(8)] == expected
        assert [rounds.before(step) for step in range(9)] == [sum(expected[:n]) for n in range(9)]


def test_weights_move() -> None:
    weight = WeightSchedule(0.8, 0.2, 300) / 2
    steps = (0, 100, 300, THE_END)
    assert [weight_at(weight, step) for step in steps] == pytest.approx([0.4, 0.3, 0.1, 0.1])
    assert [weight_at(0.7, step) for step in steps] == [0.7] * 4
    assert [is_drawn(number) for number in (0.0, 0.1)] == [False, True]
    moving = [WeightSchedule(first, last, 9) for first, last in ((0, 0), (0, 1), (1, 0))]
    assert [is_drawn(schedule) for schedule in moving] == [False, True, True]


def test_learning_rate_of_the_paper() -> None:
    optimizer = torch.optim.Adam([torch.zeros(1, requires_grad=True)], lr=3e-4)
    schedule = PiecewiseConstantLR(optimizer, [2, 4], [1 / 3, 1 / 15])
    rates = []
    for _ in range(6):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx([3e-4, 3e-4, 1e-4, 1e-4, 2e-5, 2e-5])


def test_bad_schedules_are_named() -> None:
    optimizer = torch.optim.Adam([torch.zeros(1, requires_grad=True)])
    with pytest.raises(InvalidInput, match=r"UnrollLength\.first must be in order, got \(4, 2\)"):
        UnrollLength(first=(4, 2))
    with pytest.raises(InvalidInput, match=r"milestones \[4, 2\]"):
        PiecewiseConstantLR(optimizer, [4, 2], [0.1, 0.1])
