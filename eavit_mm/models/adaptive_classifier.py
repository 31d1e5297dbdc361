"""A supernet that runs each image through the subnet that it needs."""

from typing import Any

from mmengine.model import BaseModel
from mmpretrain.structures import DataSample
from torch import Tensor

from eavit_mm.models.image_router import level_costs, seen_through
from eavit_mm.registry import MODELS
from eavit_mm.space import Budget


@MODELS.register_module()
class AdaptiveClassifier(BaseModel):
    """Groups a batch by the subnets that its router chooses; for inference.

    The budget limits the mean over images, as measured on held-out data;
    one image may cost more, and other data may.

    Args:
        model: An ``ElasticImageClassifier`` of stage 2, trained with
            ``model.router.adaptive``.
        budget: A share of the MACs, or such as '8GMACs'.

    Attributes:
        expected: Price, mean share and accuracy on the held-out data.

    Raises:
        ValueError: If the model has no image router, or the budget is no
            limit of MACs or cannot be reached.
    """

    def __init__(self, model: Any, budget: str | float) -> None:
        router = getattr(model.router, 'images', None)
        if router is None:
            raise ValueError(
                'this network does not route images: train stage 2 with '
                'model.router.adaptive=dict()'
            )
        limit = Budget.parse(budget)
        if limit.kind not in ('share', 'macs'):
            raise ValueError(
                f'budget {limit.text}: a mean over images is one of MACs; '
                "give a share or such as '8GMACs'"
            )
        super().__init__()
        self.data_preprocessor = model.data_preprocessor
        self.module = model
        self.macs_of_largest = model.macs()['total']
        is_share = limit.kind == 'share'
        unit = 1 if is_share else self.macs_of_largest
        self.expected = router.price_for(limit.value / unit)
        self.base, self.extra = level_costs(model)

    def classify(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, classes), and the level of each image (B).

        Args:
            images: (B, channels, height, width), normalised.
        """
        router = self.module.router.images
        scout = router.levels[0]
        inputs, logits = seen_through(self.module, scout, images)
        levels = router.choose(inputs, self.expected.price, self.extra)
        for level in levels.unique().tolist():
            if not level:
                continue  # the scout has answered
            chosen = levels == level
            with self.module.backbone.use(router.levels[level]):
                part = self.module(images[chosen], mode='tensor')
            logits = logits.index_put((chosen,), part)
        return logits, levels

    def forward(
        self,
        inputs: Tensor,
        data_samples: list[DataSample] | None = None,
        mode: str = 'tensor',
    ) -> Any:
        """Logits, or predictions.

        Args:
            inputs: (B, channels, height, width), normalised.
            data_samples: Of these images.
            mode: 'tensor', or 'predict': samples that say in ``macs`` what
                the image cost.

        Raises:
            RuntimeError: If a loss is asked for.
        """
        if mode == 'loss':
            raise RuntimeError(
                'AdaptiveClassifier does not train; train the network in it'
            )
        logits, levels = self.classify(inputs)
        if mode == 'tensor':
            return logits
        samples = self.module.head._get_predictions(logits, data_samples)
        for sample, level in zip(samples, levels.tolist(), strict=True):
            share = self.base + self.extra[level]
            macs = round(share * self.macs_of_largest)
            sample.set_field(macs, 'macs', field_type='metainfo')
        return samples
