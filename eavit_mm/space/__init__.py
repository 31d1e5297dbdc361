"""What a subnet is, which subnets exist, what they cost (no torch modules)."""

from .budget import Budget
from .cost import Geometry
from .curriculum import Curriculum, Level
from .samplers import (
    FixedListSampler,
    LadderSampler,
    LargestSampler,
    MixedSampler,
    SandwichSampler,
    SharedSampler,
    StableSampler,
    StratifiedSampler,
    SubnetSampler,
    UniformSampler,
)
from .search_space import SearchSpace
from .subnet import Subnet

__all__ = [
    'Budget',
    'Curriculum',
    'FixedListSampler',
    'Geometry',
    'LadderSampler',
    'LargestSampler',
    'Level',
    'MixedSampler',
    'SandwichSampler',
    'SearchSpace',
    'SharedSampler',
    'StableSampler',
    'StratifiedSampler',
    'Subnet',
    'SubnetSampler',
    'UniformSampler',
]
