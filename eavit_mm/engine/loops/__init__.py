"""Loops over several subnets: evaluation and search."""

from .cascade_test_loop import CascadeTestLoop
from .pareto_search_loop import ParetoSearchLoop
from .subnet_loops import SubnetTestLoop, SubnetValLoop

__all__ = [
    'CascadeTestLoop',
    'ParetoSearchLoop',
    'SubnetTestLoop',
    'SubnetValLoop',
]
