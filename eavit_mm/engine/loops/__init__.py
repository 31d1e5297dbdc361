"""Loops over several subnets: evaluation and search."""

from .pareto_search_loop import ParetoSearchLoop
from .subnet_loops import SubnetTestLoop, SubnetValLoop

__all__ = [
    'ParetoSearchLoop',
    'SubnetTestLoop',
    'SubnetValLoop',
]
