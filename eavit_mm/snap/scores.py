"""How much a ViT's embedding changes with each of its units, without labels.

Letters: B images, V views of one, N tokens, C channels of the residual
stream, R rows of a linear map, h and w the size of an image.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from math import log, prod
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseModel
from torch import Tensor, nn

from eavit_mm.models.axes import CHANNELS, Units, ffn_linears
from eavit_mm.models.elastic_vit import ElasticVisionTransformer
from eavit_mm.options import check_count, check_flag
from eavit_mm.rearrange.criteria import (
    Criterion,
    Scores,
    evaluation_data,
    zero_scores,
)
from eavit_mm.registry import TASK_UTILS
from eavit_mm.space.cells import FFN, HEADS

# Views of an image: their number and the share of its area that one shows.
GLOBAL, LOCAL = (2, (0.25, 1.0)), (10, (0.05, 0.25))
# Height and width of a crop as torchvision draws them.
_RATIO, _TRIES = (3 / 4, 4 / 3), 10


@TASK_UTILS.register_module()
class FisherCriterion(Criterion):
    """Squared gradients of a self-distillation (SnapViT, arXiv 2510.17700).

    The loss of an image compares the embeddings of its crops. A neuron's
    score is the mean squared gradient of its row of the FFN's first map (of a
    SwiGLU its gate's), a head's that of its rows of the map to the values:
    mean over the row, then over images. A channel's is the sum over its
    columns of these maps, which the paper does not cut.

    Args:
        seed: Decides the crops.
        released: As the paper's code: the gradient of all images together is
            squared, and the large views of an image are one crop, as are the
            small ones.

    Example:
        >>> dict(type='eavit_mm.RearrangeHook', num_batches=60, batch_size=16,
        ...      criterion=dict(type='eavit_mm.FisherCriterion'))
    """

    needs_data = True

    def __init__(self, seed: int = 0, released: bool = False) -> None:
        check_count('seed', seed)
        check_flag('released', released)
        self.seed, self.released = seed, released

    def score(self, model: BaseModel, batches: Iterable[Any]) -> Scores:
        """See the base class."""
        with evaluation_data(self, model, batches) as calibration:
            images = (data['inputs'] for data in calibration)
            how = self.seed, self.released
            return fisher_scores(model.backbone, images, *how)


def fisher_scores(
    vit: ElasticVisionTransformer,
    batches: Iterable[Tensor],
    seed: int = 0,
    released: bool = False,
) -> Scores:
    """Scores of all units, in float64.

    Args:
        vit: In evaluation mode.
        batches: Images as it gets them (B, channels, h, w).
        seed: As of :class:`FisherCriterion`.
        released: Likewise.
    """
    sums = FisherScores(vit, seed, released)
    for images in batches:
        sums.add(images)
    return sums.scores()


class FisherScores:
    """Scores of the images so far; the next may come another day.

    Args:
        vit: In evaluation mode.
        seed: As of :class:`FisherCriterion`.
        released: Likewise.
    """

    def __init__(
        self,
        vit: ElasticVisionTransformer,
        seed: int = 0,
        released: bool = False,
    ) -> None:
        self.vit, self.released, self.number = vit, released, 0
        self._generator = torch.Generator().manual_seed(seed)
        # Layers behind the last output have no gradient: no score.
        self._squares = {u: z.double() for u, z in zero_scores(vit).items()}
        self._gradients: dict[Units, Tensor] = {}  # of released ones

    def state(self) -> dict[str, Any]:
        """What :meth:`load` goes on from; of released ones there is none."""
        assert not self.released, 'it would be as large as the network'
        return dict(
            number=self.number,
            squares=self._squares,
            generator=self._generator.get_state(),
        )

    def load(self, state: Mapping[str, Any]) -> None:
        """Goes on where another stood, to the same bits."""
        check_count('number', state['number'])
        self.number = state['number']
        self._squares = {u: state['squares'][u] for u in self._squares}
        self._generator.set_state(state['generator'])

    def add(self, images: Tensor) -> None:
        """Adds images (B, channels, h, w)."""

        def receive(units: Units, gradients: Tensor) -> None:
            if self.released:
                mean = gradients.sum(0).double() / len(images)
                self._gradients[units] = self._gradients.get(units, 0) + mean
            else:
                squares = gradients.square().sum(0).double()
                add_squares(self._squares, units, squares)

        views = crop_views(images, self._generator, self.released)
        differentiate(self.vit, views, receive)
        self.number += len(images)

    def scores(self) -> Scores:
        """Those of all units, in float64."""
        sums = dict(self._squares)
        for units, gradients in self._gradients.items():
            add_squares(sums, units, gradients.square())
        number = 1 if self.released else max(self.number, 1)
        return {units: sum_ / number for units, sum_ in sums.items()}


def add_squares(sums: Scores, units: Units, squares: Tensor) -> None:
    """Adds squared gradients of a map's weight, by unit and by channel."""
    sums[units] = sums[units] + squares.mean((1, 2)).cpu()
    sums[CHANNELS] = sums[CHANNELS] + squares.sum((0, 1)).cpu()


# The loss of an image


def crop_views(
    images: Tensor, generator: torch.Generator, shared: bool = False
) -> Tensor:
    """Crops of each image, of its size: (B, C, h, w) -> (B, V, C, h, w).

    Args:
        images: As the network gets them.
        generator: Draws them as torchvision's ``RandomResizedCrop`` does.
        shared: All large ones of an image are one crop, and all small ones.
    """
    size: Any = images.shape[-2:]
    boxes = torch.cat(
        [
            draw_boxes(
                (1 if shared else number,), size, scale, generator
            ).expand(number, -1)
            for _ in images  # one by one: batches do not matter
            for number, scale in (GLOBAL, LOCAL)
        ]
    ).to(images)
    boxes = torch.unflatten(boxes, 0, (len(images), -1))
    # Where the pixels of a view lie in its image, from -1 to 1.
    places = []
    for axis, length in enumerate(size):
        steps = (torch.arange(length).to(images) + 0.5) / length
        start, width = boxes[..., axis], boxes[..., axis + 2]
        points = start[..., None] + width[..., None] * steps
        places.append(2 / length * points - 1)
    y, x = places  # (B, V, h), (B, V, w)
    V, (h, w) = boxes.shape[1], size
    grid = torch.stack(
        (
            x[:, :, None].expand(-1, -1, h, -1),
            y[..., None].expand(-1, -1, -1, w),
        ),
        dim=-1,
    )
    views = F.grid_sample(
        images,
        grid.flatten(1, 2),  # all views of an image below each other
        padding_mode='border',
        align_corners=False,
    )
    return torch.unflatten(views, 2, (V, h)).transpose(1, 2)


def draw_boxes(
    shape: tuple[int, ...],
    size: tuple[int, int],
    scale: tuple[float, float],
    generator: torch.Generator,
) -> Tensor:
    """Random crops: top, left, height and width in pixels (shape, 4)."""

    def draw(low: float, high: float, *tries: int) -> Tensor:
        drawn = torch.rand(*tries, *shape, generator=generator)
        return low + (high - low) * drawn

    limits = torch.tensor(size).view(2, *[1] * len(shape))
    area = size[0] * size[1] * draw(*scale, _TRIES)
    ratio = draw(log(_RATIO[0]), log(_RATIO[1]), _TRIES).exp()
    lengths = torch.stack(((area / ratio).sqrt(), (area * ratio).sqrt()))
    lengths = lengths.round()  # (2, tries, shape)
    fits = (lengths <= limits[:, None]).all(0)
    first = fits.int().argmax(0).expand(2, 1, *shape)
    lengths = lengths.gather(1, first)[:, 0].clamp(min=1).minimum(limits)
    room = limits - lengths + 1
    starts = (room * draw(0, 1, 2)).floor()
    return torch.cat((starts, lengths)).movedim(0, -1)


def embed(vit: ElasticVisionTransformer, images: Tensor) -> Tensor:
    """The class token, or the mean over the patches: (B, C)."""
    features = vit(images)[-1]
    if features.ndim == 4:  # (B, C, h, w)
        return features.mean((2, 3))
    if features.ndim == 3:  # (B, N, C)
        if vit.with_cls_token:
            return features[:, 0]
        return features[:, vit.num_extra_tokens :].mean(1)
    return features


def view_losses(embeddings: Tensor) -> Tensor:
    """Cross-entropies of each large view with all others: (B, V, C) -> (B).

    Of the softmax over the embedding at length 1, without a temperature;
    large views teach, and have no gradient as teachers.
    """
    unit = F.normalize(embeddings, dim=-1)
    taught = unit[:, : GLOBAL[0]].detach().softmax(-1)
    terms = -taught @ unit.log_softmax(-1).transpose(1, 2)  # (B, global, V)
    itself = torch.eye(*terms.shape[1:], dtype=torch.bool, device=terms.device)
    return terms.masked_fill(itself, 0).sum((1, 2))


# Its gradient

Receive = Callable[[Units, Tensor], None]


@torch.enable_grad()
def differentiate(
    vit: ElasticVisionTransformer, views: Tensor, receive: Receive
) -> None:
    """Hands over each image's gradients of its loss.

    Args:
        vit: In evaluation mode; no gradient of a parameter is kept.
        views: (B, V, C, h, w).
        receive: Gets a kind of unit and its gradients (B, units, rows of one,
            C), those of the last layer first.
    """
    with _gradients_of_maps(vit, len(views), receive) as outputs:
        embeddings = embed(vit, views.flatten(0, 1))
        embeddings = torch.unflatten(embeddings, 0, views.shape[:2])
        loss = view_losses(embeddings).sum()
        # All other maps lie between this one and the loss.
        torch.autograd.grad(loss, outputs[0])


@contextmanager
def _gradients_of_maps(
    vit: ElasticVisionTransformer, number: int, receive: Receive
) -> Iterator[list[Tensor]]:
    """While it lasts, gradients of the maps are made of their outputs'.

    A row's is the sum over the tokens of an image of what comes in times the
    gradient of what goes out: a product of matrices for each image, in place
    of the one for all of them that the gradient of a weight is.

    Args:
        vit: The network.
        number: B; its batch has B V images.
        receive: As of :func:`differentiate`.

    Yields:
        The outputs of the maps so far.
    """
    outputs: list[Tensor] = []
    handles = []

    def watch(
        linear: nn.Module, units: Units, part: int, shape: tuple[int, ...]
    ) -> None:
        def hook(
            module: nn.Module, inputs: tuple[Tensor], output: Any
        ) -> Tensor:
            if not output.requires_grad:  # behind frozen stages
                output = output.detach().requires_grad_()
            x = inputs[0].detach().reshape(number, -1, inputs[0].shape[-1])

            def add(gradient: Tensor) -> None:
                parts = torch.unflatten(gradient, -1, (-1, prod(shape)))
                rows = parts[..., part, :].reshape(number, x.shape[1], -1)
                receive(units, torch.unflatten(rows.mT @ x, 1, shape))

            output.register_hook(add)
            outputs.append(output)
            return output

        handles.append(linear.register_forward_hook(hook))

    for i, layer in enumerate(vit.layers):
        attn = layer.attn
        # Values come last of an attention, gates first of a SwiGLU.
        heads = attn.num_heads, attn.head_dims
        watch(attn.qkv, (HEADS, i), -1, heads)
        first, last = ffn_linears(layer.ffn)
        watch(first, (FFN, i), 0, (last.in_features, 1))
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()
