"""Elastic networks and what consumes their features."""

from .budget_solver import BudgetSolver, cost_of
from .consumers import Reading, register_consumer
from .distillation import (
    FrozenDistillation,
    InPlaceDistillation,
    ProgressiveDistillation,
    distillation_loss,
)
from .elastic_classifier import ElasticImageClassifier
from .elastic_ddp import ElasticDistributedDataParallel
from .elastic_model import ElasticModelMixin
from .elastic_step import elastic_step
from .elastic_vit import ElasticVisionTransformer
from .leaves import OPEN, Leaf
from .router import RouterHead
from .slim_vit import SlimVisionTransformer
from .surrogate import SurrogateRouter

__all__ = [
    'BudgetSolver',
    'ElasticDistributedDataParallel',
    'ElasticImageClassifier',
    'ElasticModelMixin',
    'ElasticVisionTransformer',
    'FrozenDistillation',
    'InPlaceDistillation',
    'ProgressiveDistillation',
    'OPEN',
    'Leaf',
    'Reading',
    'RouterHead',
    'SlimVisionTransformer',
    'SurrogateRouter',
    'cost_of',
    'distillation_loss',
    'elastic_step',
    'register_consumer',
]
