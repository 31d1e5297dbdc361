"""Spaces, costs and metrics of which a search needs no network."""

import numpy as np
from test_space.strategies import costs_of

from eavit_mm.search.algorithms import run_search
from eavit_mm.search.evaluations import Evaluations
from eavit_mm.search.objectives import Objectives
from eavit_mm.search.problem import SubnetProblem
from eavit_mm.space import SearchSpace
from eavit_mm.space.cost_table import CostTable
from eavit_mm.space.pareto import Member

WIDTHS = dict(
    embed_dims=[8, 16, 24, 32],
    num_heads=[1, 2, 3, 4],
    feedforward_channels=[8, 16, 24, 32],
    num_layers=3,
    head_dims=8,
)
SPACES = dict(
    free=SearchSpace(**WIDTHS, max_off=2),
    rigid=SearchSpace(**WIDTHS, max_off=0),
    all_off=SearchSpace(**WIDTHS, max_off=6),
    tied=SearchSpace(
        **WIDTHS, max_off=3, ties=[['num_heads', 'feedforward_channels']]
    ),
    shared=SearchSpace(**WIDTHS, max_off=2, shared=['num_heads']),
    hydra=SearchSpace(
        **WIDTHS,
        max_off=1,
        ties=[['embed_dims', 'num_heads', 'feedforward_channels']],
    ),
)
TINY = SearchSpace([8, 16], [1], [4, 8], 1, 8, max_off=0)
ONE = SearchSpace([8], [1], [4], 1, 8)
DEEP = SearchSpace(
    list(range(64, 385, 64)),
    [1, 2, 3, 4, 5, 6],
    list(range(192, 1537, 192)),
    6,
    64,
    max_off=3,
)


def tables_of(space, costs):
    return {name: CostTable(space, cost) for name, cost in costs.items()}


def saturating(space, seed=0):
    """A metric in per cent: layers differ in what they are worth."""
    worth = np.random.default_rng(seed).exponential(size=(2, space.num_layers))
    worth /= worth.sum()
    largest = space.largest

    def metric(subnet):
        heads = np.divide(subnet.num_heads, largest.num_heads)
        ffn = np.divide(
            subnet.feedforward_channels, largest.feedforward_channels
        )
        depth = (worth * np.sqrt([heads, ffn])).sum()
        share = (subnet.embed_dims / largest.embed_dims) ** 0.5
        return float(100 * (1 - np.exp(-3 * depth * share)))

    return metric


def keeps_costs(objectives, subnet):
    """Whether a subnet keeps the limits on cost, by their definition."""
    costs = costs_of(objectives.space)
    for name, (low, high) in objectives.limits.items():
        if name in costs:
            cost = costs[name](subnet)
            if (low is not None and cost < low) or (
                high is not None and cost > high
            ):
                return False
    return True


class Search:
    """A search of a space, and what it measured, in order.

    Args:
        space: What is searched.
        names: The objectives.
        constraints: As in a config.
        rule: Of the metric; 'less' takes 100 minus the metric.
        metric: Of a subnet.
        known: What was evaluated earlier.
    """

    def __init__(
        self,
        space,
        names=('metric', 'macs'),
        constraints=None,
        rule='greater',
        metric=None,
        known=(),
    ):
        self.space = space
        self.costs = costs_of(space)
        plain = saturating(space) if metric is None else metric
        self.metric = plain if rule == 'greater' else lambda s: 100 - plain(s)
        self.objectives = Objectives(
            space,
            tables_of(space, self.costs),
            names,
            'top1',
            rule,
            worst=None if rule == 'greater' else 100.0,
            constraints=constraints,
        )
        self.measured = []
        self.evaluations = Evaluations(self.measure, known)
        self.problem = SubnetProblem(self.objectives, self.evaluations)

    def member(self, subnet):
        costs = {name: cost(subnet) for name, cost in self.costs.items()}
        return Member(subnet, dict(top1=self.metric(subnet)), **costs)

    def measure(self, subnets):
        self.measured += subnets
        return [self.member(subnet) for subnet in subnets]

    def run(self, algorithm, seed=0, number=60):
        return run_search(
            self.problem, algorithm, self.evaluations, seed, number
        )

    def volume(self, members):
        return self.objectives.volume(self.objectives.front(members))
