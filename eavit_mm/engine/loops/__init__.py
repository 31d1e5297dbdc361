"""Loops over several subnets: evaluation and search."""

from .adaptive_test_loop import AdaptiveTestLoop
from .pareto_search_loop import ParetoSearchLoop
from .subnet_loops import SubnetTestLoop, SubnetValLoop

__all__ = [
    'AdaptiveTestLoop',
    'ParetoSearchLoop',
    'SubnetTestLoop',
    'SubnetValLoop',
]
