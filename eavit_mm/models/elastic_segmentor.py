"""mmseg's segmentor as a supernet."""

from typing import Any

from mmseg.models.segmentors import EncoderDecoder
from torch import nn

from eavit_mm.models import consumers_seg  # noqa: F401  registers heads
from eavit_mm.models.consumers import Count
from eavit_mm.models.elastic_model import ElasticModelMixin
from eavit_mm.registry import MODELS


@MODELS.register_module()
class ElasticEncoderDecoder(ElasticModelMixin, EncoderDecoder):
    """``EncoderDecoder`` whose training steps train subnets.

    Arguments: those of ``EncoderDecoder`` and of
    :class:`eavit_mm.models.elastic_model.ElasticModelMixin`. The state dict
    is the stock segmentor's.

    Raises:
        ValueError: If the backbone gives no feature maps.

    Example:
        >>> dict(type='eavit_mm.ElasticEncoderDecoder',
        ...      backbone=dict(type='eavit_mm.ElasticVisionTransformer',
        ...                    arch='b', out_type='featmap',
        ...                    final_norm=False),
        ...      decode_head=dict(type='FCNHead', in_channels=768,
        ...                       channels=256, num_classes=19),
        ...      sampler=dict(type='eavit_mm.UniformSampler'))
    """

    head_names = ('decode_head', 'auxiliary_head')

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.backbone.out_type != 'featmap':
            raise ValueError(
                f'backbone.out_type={self.backbone.out_type!r}; must be '
                "'featmap', which necks and heads of segmentation read"
            )

    @property
    def consumers(self) -> dict[str, nn.Module]:
        """Neck, decode head and auxiliary heads, as far as there are any."""
        parts: dict[str, nn.Module] = {}
        for name in ('neck', *self.head_names):
            part = getattr(self, name, None)
            if isinstance(part, nn.ModuleList):
                each = part.named_children()
                parts.update((f'{name}.{i}', head) for i, head in each)
            elif part is not None:
                parts[name] = part
        return parts

    @property
    def logits_module(self) -> nn.Module:
        """The decode head."""
        head: nn.Module = self.decode_head
        return head

    def _count_consumers(self, width: int) -> dict[str, Count]:
        """Auxiliary heads run in training alone: they have no MACs."""
        counts = super()._count_consumers(width)
        return {
            name: count._replace(macs=0) if name.startswith('aux') else count
            for name, count in counts.items()
        }
