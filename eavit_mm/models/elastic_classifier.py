"""mmpretrain's image classifier as a supernet."""

from collections.abc import Sequence
from typing import Any

from mmengine.model import BaseModule
from mmpretrain.models import ImageClassifier
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from eavit_mm.models import consumers_cls  # noqa: F401  registers heads
from eavit_mm.models.consumers import Reading, register_consumer
from eavit_mm.models.elastic_model import ElasticModelMixin
from eavit_mm.registry import MODELS


@MODELS.register_module()
class EmbeddingHead(BaseModule):
    """Stands where a classifier has no head, and hands on its embedding."""

    def forward(self, feats: Sequence[Tensor]) -> Tensor:
        """The last level: (B, E), or the mean of maps (B, E, h, w)."""
        last = feats[-1]
        return last.mean((2, 3)) if last.ndim == 4 else last

    pre_logits = forward

    def predict(
        self,
        feats: Sequence[Tensor],
        data_samples: Sequence[DataSample] | None = None,
    ) -> list[DataSample]:
        """Samples whose ``embedding`` is (E)."""
        embeddings = self(feats)
        samples = data_samples or [DataSample() for _ in embeddings]
        for sample, embedding in zip(samples, embeddings, strict=True):
            sample.set_field(embedding, 'embedding')
        return list(samples)

    def loss(self, feats: Any, data_samples: Any) -> Any:
        """Nothing.

        Raises:
            ValueError: There is nothing to learn a class with.
        """
        raise ValueError('a model without a head has no loss; give it one')


register_consumer(EmbeddingHead, lambda head, live: Reading({}))


@MODELS.register_module()
class ElasticImageClassifier(ElasticModelMixin, ImageClassifier):
    """``ImageClassifier`` whose training steps train subnets.

    Arguments: those of ``ImageClassifier`` and of
    :class:`eavit_mm.models.elastic_model.ElasticModelMixin`. The state dict
    is the stock classifier's. With ``head=None`` it predicts embeddings.

    Example:
        >>> dict(type='eavit_mm.ElasticImageClassifier',
        ...      backbone=dict(type='eavit_mm.ElasticVisionTransformer',
        ...                    arch='b'),
        ...      head=dict(type='LinearClsHead', num_classes=10,
        ...                in_channels=768),
        ...      sampler=dict(type='eavit_mm.UniformSampler'))
    """

    head_names = ('head',)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.head is None:
            if self.backbone.out_type == 'raw':
                raise ValueError(
                    "head=None, backbone.out_type='raw': which token is the "
                    "embedding? must be 'cls_token', 'avg_featmap' or "
                    "'featmap', or have a head"
                )
            self.head: Any = EmbeddingHead()

    @property
    def consumers(self) -> dict[str, nn.Module]:
        """Neck and head, as far as there are any."""
        parts = dict(neck=self.neck, head=self.head)
        return {name: part for name, part in parts.items() if part is not None}

    @property
    def logits_module(self) -> nn.Module | None:
        """The head, if it classifies."""
        is_one = not isinstance(self.head, EmbeddingHead | None)
        head: nn.Module | None = self.head if is_one else None
        return head
