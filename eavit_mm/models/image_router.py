"""Input-adaptive routing: images of one batch get subnets of their own.

Letters: B images, C channels, D inputs, K levels.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from eavit_mm.models.extra_state import packed, unpacked
from eavit_mm.options import check_count, check_number
from eavit_mm.space import SearchSpace, Subnet

# Of the scout's prediction, the highest scores; a low one says no more.
_SCORES, _LOWEST_SCORE = 5, -10.0


class Held(NamedTuple):
    """What a price gave on the held-out data.

    Attributes:
        price: Of the whole of the largest subnet's MACs, in accuracy.
        share: Mean MACs of an image, of the largest subnet's.
        metric: Accuracy (0..1).
    """

    price: float
    share: float
    metric: float


class ImageRouter(BaseModule):
    """Chooses for each image one of a few subnets, the levels.

    Every image first runs through the cheapest level, the scout. From what
    its head reads and the highest scores of its prediction a two-layer MLP
    foretells how probable each level makes the right class. An image goes to
    the level of the greatest ``probability - price * cost``; a price for each
    mean cost is known from held-out data. Trained after stage 2, whose
    weights it does not change. A scout that costs next to nothing tells
    little: the fit tries each of the subnets as one, and drops the cheaper.

    Args:
        space: The model's.
        num_levels: At most; spread evenly over the logarithm of the cost.
        hidden: Units of the MLP's hidden layer.
        num_images: Training images, at most, that it is fitted to.
        epochs: Of the fit.
        lr: Of its Adam.

    Raises:
        ValueError: If an option is not valid; names it.
    """

    def __init__(
        self,
        space: SearchSpace,
        num_levels: int = 6,
        hidden: int = 64,
        num_images: int = 20000,
        epochs: int = 20,
        lr: float = 1e-3,
    ) -> None:
        super().__init__()
        check_count('router.adaptive.num_levels', num_levels, least=2)
        check_number('router.adaptive.lr', lr, positive=True)
        for name, value in dict(
            hidden=hidden, num_images=num_images, epochs=epochs
        ).items():
            check_count(f'router.adaptive.{name}', value, least=1)
        self.space = space
        self.num_levels = num_levels
        self.num_images = num_images
        self.epochs = epochs
        self.lr = lr
        inputs = space.largest.embed_dims + _SCORES
        self.mlp = nn.Sequential(
            nn.Linear(inputs, hidden), nn.GELU(), nn.Linear(hidden, num_levels)
        )
        # Stage 2 leaves it alone.
        self.mlp.requires_grad_(False)
        self.levels: tuple[Subnet, ...] = ()
        self.held_out: tuple[Held, ...] = ()

    @property
    def macs(self) -> int:
        """Of the MLP, for one image."""
        return sum(p.numel() for p in self.mlp.parameters() if p.ndim == 2)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (B, K) of the right class's probability at each level.

        Args:
            inputs: (B, D), see :func:`image_inputs`.
        """
        logits: Tensor = self.mlp(inputs)[:, : len(self.levels)]
        return logits

    def choose(
        self, inputs: Tensor, price: float, extra: Sequence[float]
    ) -> Tensor:
        """The level of each image, (B).

        Args:
            inputs: (B, D).
            price: Of the whole of the largest subnet's MACs, in accuracy.
            extra: (K), share of the MACs that a level costs beyond the scout.
        """
        costs = inputs.new_tensor(extra)
        value = self(inputs).sigmoid() - price * costs
        return value.argmax(dim=1)

    def price_for(self, share: float) -> Held:
        """The best price whose mean cost on held-out data fits a budget.

        Args:
            share: Of the largest subnet's MACs.

        Raises:
            ValueError: If it cannot be reached, or nothing was fitted.
        """
        if not self.held_out:
            raise ValueError(
                'this network does not route images: train stage 2 with '
                'model.router.adaptive=dict()'
            )
        fits = [held for held in self.held_out if held.share <= share]
        if not fits:
            low, high = (f(h.share for h in self.held_out) for f in (min, max))
            raise ValueError(
                f'a mean of {share:.1%} of the MACs cannot be reached: with a '
                f'network for each image {low:.1%} to {high:.1%} can'
            )
        return max(fits, key=lambda held: (held.metric, -held.share))

    # In checkpoints

    def get_extra_state(self) -> Tensor:
        """Levels and prices as bytes of JSON."""
        levels = [level.to_dict() for level in self.levels]
        return packed(dict(levels=levels, held_out=self.held_out))

    def set_extra_state(self, state: Tensor) -> None:
        """The inverse.

        Raises:
            ValueError: If it is broken, or of another space.
        """
        try:
            values = unpacked(state)
            levels = tuple(map(Subnet.from_dict, values['levels']))
            for level in levels:
                self.space.check(level)
            held_out = tuple(
                Held(*map(float, held)) for held in values['held_out']
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f'the levels beside the router are broken: {error!r:.200}; '
                'the checkpoint is damaged, take an earlier one'
            ) from error
        self.levels, self.held_out = levels, held_out


def image_inputs(features: Tensor, logits: Tensor) -> Tensor:
    """What the image router sees of images, (B, D).

    Args:
        features: (B, C, ...) that the scout's head reads.
        logits: (B, classes), the scout's.
    """
    pooled = features.flatten(2).mean(dim=2) if features.ndim > 2 else features
    number = min(_SCORES, logits.shape[1])
    scores = logits.log_softmax(dim=1).topk(number, dim=1).values
    scores = F.pad(
        scores.clamp(min=_LOWEST_SCORE),
        (0, _SCORES - number),
        value=_LOWEST_SCORE,
    )
    return torch.cat([F.layer_norm(pooled, pooled.shape[1:]), scores], dim=1)


def seen_through(
    model: Any, subnet: Subnet, images: Tensor
) -> tuple[Tensor, Tensor]:
    """What the image router sees with a scout, and the scout's logits.

    Args:
        model: An elastic classifier.
        subnet: The scout.
        images: (B, channels, height, width), normalised.
    """
    with model.backbone.use(subnet):
        features = model.extract_feat(images)
        logits = model.head(features)
    return image_inputs(features[-1], logits), logits


def level_costs(model: Any) -> tuple[float, list[float]]:
    """Shares of the largest subnet's MACs.

    Returns:
        What every image costs, scout and MLP; and what each level costs
        beyond that.
    """
    router = model.router.images
    largest = model.macs()['total']
    scout, *others = (model.macs(s)['total'] for s in router.levels)
    extra = [0.0, *(macs / largest for macs in others)]
    return (scout + router.macs) / largest, extra


def build_image_router(
    space: SearchSpace, cfg: Mapping[str, Any] | None
) -> ImageRouter | None:
    """The image router of a config; None for none.

    Raises:
        ValueError: If the config is no dict, or has an unknown option.
    """
    if cfg is None:
        return None
    try:
        return ImageRouter(space, **cfg)
    except TypeError as error:
        raise ValueError(
            f'router.adaptive={cfg!r}; must be None or a dict of options of '
            f'ImageRouter ({error})'
        ) from error
