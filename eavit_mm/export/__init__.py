"""From a supernet and a subnet to a dense network, and its files."""

from .dense import dense_network

__all__ = ['dense_network']
