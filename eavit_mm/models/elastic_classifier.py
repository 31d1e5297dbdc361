"""mmpretrain's image classifier as a supernet."""

from mmpretrain.models import ImageClassifier
from torch import nn

from eavit_mm.models import consumers_cls  # noqa: F401  registers heads
from eavit_mm.models.elastic_model import ElasticModelMixin
from eavit_mm.registry import MODELS


@MODELS.register_module()
class ElasticImageClassifier(ElasticModelMixin, ImageClassifier):
    """``ImageClassifier`` whose training steps train subnets.

    Arguments: those of ``ImageClassifier`` and of
    :class:`eavit_mm.models.elastic_model.ElasticModelMixin`. The state dict
    is the stock classifier's.

    Example:
        >>> dict(type='eavit_mm.ElasticImageClassifier',
        ...      backbone=dict(type='eavit_mm.ElasticVisionTransformer', ...),
        ...      head=dict(type='LinearClsHead', ...),
        ...      sampler=dict(type='eavit_mm.UniformSampler'))
    """

    head_names = ('head',)

    @property
    def consumers(self) -> dict[str, nn.Module]:
        """Neck and head, as far as there are any."""
        parts = dict(neck=self.neck, head=self.head)
        return {name: part for name, part in parts.items() if part is not None}

    @property
    def logits_module(self) -> nn.Module | None:
        """The head."""
        head: nn.Module | None = self.head
        return head
