"""Loops that evaluate several subnets."""

from .subnet_loops import SubnetTestLoop, SubnetValLoop

__all__ = ['SubnetTestLoop', 'SubnetValLoop']
