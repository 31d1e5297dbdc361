"""The affine correction of what a cut leaves, in closed form.

Of a branch only the kept heads or hidden channels remain. What the others
gave is, as far as it is an affine function of what these give, added to the
branch's map out, weight and bias: ridge regression on unlabelled images
(FLAP, arXiv 2312.11983; CORP; SnapViT corrects the weight alone).

Letters: B batch, N tokens, n all tokens of all images, E open channels of
the residual stream, U open units of a branch.
"""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from eavit_mm.models import ElasticModelMixin
from eavit_mm.models.axes import ffn_linears
from eavit_mm.models.elastic_layers import (
    BranchSlices,
    ElasticEncoderLayer,
    LayerSlices,
    layer_norm,
    run_attention,
    run_ffn,
)
from eavit_mm.space import Subnet
from eavit_mm.space.subnet import opened

# Of the mean square of the units, as SparseGPT damps.
RIDGE = 0.01


class Moments:
    """Sums over tokens, in float64: all that a regression needs of them.

    Args:
        inputs: U, of what is given.
        outputs: E, of what is to be foretold.
        device: Where they lie.
    """

    def __init__(
        self, inputs: int, outputs: int, device: torch.device
    ) -> None:
        zeros = partial(torch.zeros, dtype=torch.float64, device=device)
        self.number = 0
        self.sum, self.target = zeros(inputs), zeros(outputs)
        self.products = zeros(inputs, inputs)
        self.cross = zeros(outputs, inputs)

    def add(self, units: Tensor, target: Tensor) -> None:
        """Adds some tokens: (..., U) and (..., E)."""
        units = units.flatten(0, -2).double()
        target = target.flatten(0, -2).double()
        self.number += len(units)
        self.sum += units.sum(0)
        self.target += target.sum(0)
        self.products += units.T @ units
        self.cross += target.T @ units

    def solve(
        self, ridge: float = RIDGE, has_bias: bool = True
    ) -> tuple[Tensor, Tensor | None]:
        """The weight (E, U) and bias (E) that foretell the target best.

        They minimise the mean over tokens of |target - W u - b|^2, plus
        ``ridge`` times the mean variance of a unit times |W|^2; so they are
        never worse than none. Without a bias, the same of the units as they
        are, in place of those around their mean.
        """
        n = self.number
        products, cross = self.products / n, self.cross / n
        mean, target = self.sum / n, self.target / n
        if has_bias:
            products = products - mean.outer(mean)
            cross = cross - target.outer(mean)
        damp = ridge * products.diagonal().mean()
        # Units that never move would leave nothing to divide by.
        damp = damp.clamp(min=torch.finfo(damp.dtype).tiny)
        products.diagonal().add_(damp)
        weight = torch.linalg.solve(products, cross, left=False)
        return weight, target - weight @ mean if has_bias else None


class Corrected(NamedTuple):
    """A supernet in which one subnet is corrected.

    Attributes:
        model: A copy; other subnets are broken in it.
        images: How many images it was made from.
        before: Squared error of the subnet's features on these images, from
            those of the whole network, over the squares of these.
        after: Likewise, corrected; never above ``before``: where it would be,
            nothing is corrected.
    """

    model: Any
    images: int
    before: float
    after: float


@torch.no_grad()
def correct(
    model: ElasticModelMixin,
    subnet: Subnet,
    batches: Sequence[Tensor],
    ridge: float = RIDGE,
) -> Corrected:
    """Corrects a subnet, unless that would take its features further off.

    Args:
        model: The supernet, in evaluation mode; not changed.
        subnet: A member of its space.
        batches: Normalised images (B, channels, height, width) each.
        ridge: See :meth:`Moments.solve`.
    """
    found = fit(model, subnet, batches, ridge)
    backbone: Any = model.backbone
    before, after = (
        features_error(backbone, cut.backbone, subnet, batches)
        for cut in (model, found)
    )
    if not after <= before:  # nor NaN
        found, after = deepcopy(model), before
    return Corrected(found, sum(map(len, batches)), before, after)


@torch.no_grad()
def fit(
    model: ElasticModelMixin,
    subnet: Subnet,
    batches: Sequence[Tensor],
    ridge: float = RIDGE,
) -> Any:
    """A copy with a subnet corrected: weight and bias of the maps out.

    Layer by layer, on what the corrected layers before it give: there a
    branch is to give what all its heads or hidden channels would. Branches
    that are off or whole and what closed channels have lost stay as they
    are. Besides moments, one number for each channel of each token is kept:
    about as many as the images have. Arguments as of :func:`correct`.
    """
    copy: Any = deepcopy(model)
    streams = _first_inputs(copy.backbone, subnet, batches)
    everything = replace(
        copy.backbone.space.largest,
        embed_dims=subnet.embed_dims,
        side=subnet.side,
    )
    for i, layer in enumerate(copy.backbone.layers):
        for name in LayerSlices._fields:
            branch = _Branch(layer, i, name)
            if branch.slices(subnet) is not None:
                branch.correct(subnet, everything, streams, ridge)
    return copy


class _Branch:
    """Attention or FFN of a layer; it is run in parts of several widths."""

    def __init__(self, layer: ElasticEncoderLayer, i: int, name: str) -> None:
        self.layer, self.i, self.name = layer, i, name
        self.run: Callable[[BranchSlices, Tensor], Tensor]
        if name == 'attention':
            self.norm, self.last = layer.ln1, layer.attn.proj
            self.run = partial(run_attention, layer.attn)
        else:
            _, self.last = ffn_linears(layer.ffn)
            self.norm, self.run = layer.ln2, partial(run_ffn, layer.ffn)

    def slices(self, subnet: Subnet) -> Any:
        """The open weights; None if the branch is off."""
        heads = subnet.num_heads[self.i]
        hidden = subnet.feedforward_channels[self.i]
        slices = self.layer.slice(
            subnet.embed_dims, heads, hidden, subnet.head_dims, subnet.side
        )
        return getattr(slices, self.name)

    def columns(self, subnet: Subnet, largest: Subnet) -> Tensor:
        """Which inputs of the map out are open (U)."""
        side, i = subnet.side, self.i
        if self.name != 'attention':
            hidden = torch.arange(largest.feedforward_channels[i])
            return hidden[opened(subnet.feedforward_channels[i], side)]
        heads, D = largest.num_heads[i], largest.head_dims
        units = torch.arange(heads * D).view(heads, D)
        return units[
            opened(subnet.num_heads[i], side), opened(subnet.head_dims, side)
        ].flatten()

    def correct(
        self,
        subnet: Subnet,
        largest: Subnet,
        streams: list[Tensor],
        ridge: float,
    ) -> None:
        """Corrects the map out; the streams, then, go through the branch."""
        columns = self.columns(subnet, largest)
        if len(columns) < self.last.in_features:
            weight, bias = self._fit(subnet, largest, streams, ridge)
            E = opened(subnet.embed_dims, subnet.side)
            self.last.weight[E][:, columns] += weight.to(self.last.weight)
            if bias is not None:
                self.last.bias[E] += bias.to(self.last.bias)
        slices = self.slices(subnet)
        for k, x in enumerate(streams):
            normed = layer_norm(self.norm, slices.norm, x)
            streams[k] = x + self.run(slices, normed)

    def _fit(
        self,
        subnet: Subnet,
        largest: Subnet,
        streams: list[Tensor],
        ridge: float,
    ) -> tuple[Tensor, Tensor | None]:
        """What the map out lacks, by what it gets."""
        # In front of the layer scale, as the map is.
        kept = self.slices(subnet)._replace(scale=None)
        whole = self.slices(largest)._replace(scale=None)
        E, U = kept.out_weight.shape
        # The branch without its map out: what comes out is what that gets.
        eye = torch.eye(U).to(kept.out_weight)
        units = kept._replace(out_weight=eye, out_bias=None)
        moments = Moments(U, E, eye.device)
        for x in streams:
            x = layer_norm(self.norm, kept.norm, x)
            moments.add(
                self.run(units, x), self.run(whole, x) - self.run(kept, x)
            )
        return moments.solve(ridge, self.last.bias is not None)


def _first_inputs(
    backbone: Any, subnet: Subnet, batches: Sequence[Tensor]
) -> list[Tensor]:
    """The residual stream in front of the first layer: (B, N, E) each."""
    streams: list[Tensor] = []

    def keep(layer: nn.Module, args: tuple[Tensor, ...]) -> None:
        streams.append(args[0])

    handle = backbone.layers[0].register_forward_pre_hook(keep)
    with backbone.use(subnet):
        for batch in batches:
            backbone(batch)
    handle.remove()
    return streams


@torch.no_grad()
def features_error(
    whole: Any, cut: Any, subnet: Subnet, batches: Sequence[Tensor]
) -> float:
    """Squared error of a subnet's features, over the whole network's squares.

    Over the open channels, and all outputs of the backbone.

    Args:
        whole: The backbone of a supernet, run as the largest subnet.
        cut: Likewise, run as the subnet.
        subnet: The subnet.
        batches: Normalised images.
    """
    E = opened(subnet.embed_dims, subnet.side)
    error = squares = 0.0
    for batch in batches:
        with whole.use(None):
            expected = whole(batch)
        with cut.use(subnet):
            found = cut(batch)
        for theirs, ours in zip(expected, found, strict=True):
            is_map = whole.out_type == 'featmap'
            theirs = theirs[:, E] if is_map else theirs[..., E]
            error += (ours - theirs).double().square().sum().item()
            squares += theirs.double().square().sum().item()
    return error / squares
