"""From a supernet and a subnet to a dense network, and its files."""

from .dense import dense_classifier, dense_config, dense_state

__all__ = ['dense_classifier', 'dense_config', 'dense_state']
