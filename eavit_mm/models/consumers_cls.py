"""How mmpretrain's necks and heads of classification read the backbone."""

from mmpretrain.models.heads import (
    LinearClsHead,
    MultiLabelLinearClsHead,
    StackedLinearClsHead,
    VisionTransformerClsHead,
)
from mmpretrain.models.necks import GlobalAveragePooling
from torch import nn

from eavit_mm.models.consumers import Reading, register_consumer
from eavit_mm.models.leaves import Leaf


def _first_linear(head: nn.Module) -> str:
    """Path of the linear map that a head begins with."""
    if isinstance(head, StackedLinearClsHead):
        return 'layers.0.fc'
    if isinstance(head, VisionTransformerClsHead):
        is_single = head.hidden_dim is None
        return 'layers.head' if is_single else 'layers.pre_logits'
    return 'fc'


def _describe_head(head: nn.Module, live: tuple[bool, ...]) -> Reading:
    """A head classifies the last level."""
    return Reading({_first_linear(head): Leaf()} if live[-1] else {})


for _kind in (
    LinearClsHead,
    MultiLabelLinearClsHead,
    StackedLinearClsHead,
    VisionTransformerClsHead,
):
    register_consumer(_kind, _describe_head)
# Averages each channel by itself.
register_consumer(GlobalAveragePooling, lambda neck, live: Reading({}, live))
