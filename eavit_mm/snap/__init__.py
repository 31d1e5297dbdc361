"""SnapViT: subnets of a pretrained ViT, without training or labels.

Units are scored once, from unlabelled images; any target is then one cut
(arXiv 2510.17700).
"""

from .scores import FisherCriterion

__all__ = ['FisherCriterion']
