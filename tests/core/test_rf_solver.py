"""The solvers on flows whose solution is known."""

from __future__ import annotations

import math

import pytest
import torch

from x2edit_core.rf_solver import integrate, nearest, share

GRID = [index / 8 for index in range(9)]


def curved(x, sigma):
    """dx/dsigma = -x · (1 + sigma), whose solution is x0 · exp(-sigma - sigma² / 2)."""
    return -x * (1 + sigma)


def exact(x, sigma):
    return x * math.exp(-sigma - sigma**2 / 2)


@pytest.fixture
def start():
    return torch.randn(2, 3, 4, 4, dtype=torch.float64)


@pytest.mark.parametrize("solver", ["euler", "rf-solver"])
@pytest.mark.parametrize("grid", [GRID, GRID[::-1]])
def test_straight_flows_are_followed_exactly(start, solver, grid):
    direction = torch.randn_like(start)
    found = integrate(lambda x, sigma: direction, start, grid, solver)
    torch.testing.assert_close(found, start + (grid[-1] - grid[0]) * direction)


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("rf-solver", 2)])
def test_halving_the_steps_divides_the_error_by_two_to_the_order(start, solver, order):
    errors = []
    for steps in (64, 128):
        grid = [index / steps for index in range(steps + 1)]
        errors.append((integrate(curved, start, grid, solver) - exact(start, 1.0)).norm())
    assert float(errors[0] / errors[1]) == pytest.approx(2**order, rel=0.05)


def test_up_and_down_again_returns_closer_with_the_second_order(start):
    misses = {}
    for solver in ("euler", "rf-solver"):
        noise = integrate(curved, start, GRID, solver)
        misses[solver] = float((integrate(curved, noise, GRID[::-1], solver) - start).norm() / start.norm())
    assert misses["rf-solver"] < 0.1 * misses["euler"]


@pytest.mark.parametrize(("solver", "calls"), [("euler", 8), ("rf-solver", 16)])
def test_evaluations_and_progress_are_counted(start, solver, calls):
    seen, done = [], []
    integrate(lambda x, sigma: seen.append(sigma) or x * 0, start, GRID, solver, done.append)
    assert len(seen) == calls and set(GRID[:-1]) <= set(seen)
    assert done == list(range(1, 9))


@pytest.mark.parametrize(
    ("count", "start", "end", "expected"),
    [(57, 0.0, 1.0, (0, 57)), (57, 0.65, 1.0, (37, 57)), (10, 0.2, 0.5, (2, 5)), (3, -1.0, 7.0, (0, 3)), (4, 1, 1, (4, 4))],
)  # fmt: skip
def test_shares_become_indices(count, start, end, expected):
    assert share(count, start, end) == range(*expected)


def test_shares_that_meet_cover_everything_once():
    for count in range(1, 60):
        assert [*share(count, 0.0, 0.3), *share(count, 0.3, 0.71), *share(count, 0.71, 1.0)] == list(range(count))


def test_nearest_takes_the_first_of_equals():
    assert nearest([1.0, 0.5, 0.0], 0.6) == 1
    assert nearest([1.0, 0.5, 0.0], 0.75) == 0
