"""The affine correction of what a cut leaves, in closed form.

Of a branch only the kept heads or hidden channels remain. What the others
gave is, as far as it is an affine function of what these give, added to the
branch's map out, weight and bias: ridge regression on unlabelled images
(FLAP, arXiv 2312.11983; SnapViT corrects the weight alone).

Letters: B batch, N tokens, n tokens of all images, E open channels of the
residual stream, U open units of a branch.
"""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from eavit_mm.models import ElasticModelMixin
from eavit_mm.models.axes import ffn_linears, parameter_axes
from eavit_mm.models.elastic_layers import (
    BranchSlices,
    LayerSlices,
    layer_norm,
    run_attention,
    run_ffn,
)
from eavit_mm.space import Subnet
from eavit_mm.space.subnet import opened

# Of the mean variance of the units, as SparseGPT damps.
RIDGE = 0.01


def solve_ridge(
    gram: Tensor, units: int, ridge: float = RIDGE, has_bias: bool = True
) -> tuple[Tensor, Tensor | None]:
    """The weight (E, U) and bias (E) that foretell a target best.

    They minimise the mean over tokens of |target - W u - b|^2 plus ``ridge``
    times the mean variance of a unit times |W|^2, and so are never worse
    than none; without a bias its mean square.

    Args:
        gram: (1 + U + E)^2 in float64: the sum over tokens of (1, u, target)
            times itself.
        units: U.
        ridge: See above.
        has_bias: Whether there is one.
    """
    gram = gram / gram[0, 0]
    mean = gram[0, 1:]
    moments = gram[1:, 1:] - (mean.outer(mean) if has_bias else 0)
    damp = ridge * moments.diagonal()[:units].mean()
    # Units that never move would leave nothing to divide by.
    damp = damp.clamp(min=torch.finfo(damp.dtype).tiny)
    among = moments[:units, :units] + damp * torch.eye(units).to(gram)
    weight = torch.linalg.solve(among, moments[units:, :units], left=False)
    bias = mean[units:] - weight @ mean[:units]
    return weight, bias if has_bias else None


@torch.no_grad()
def correct(
    model: ElasticModelMixin,
    subnet: Subnet,
    batches: Sequence[Tensor],
    ridge: float = RIDGE,
) -> tuple[Any, dict[str, Any]]:
    """A copy of a supernet in which one subnet is corrected; see :func:`fit`.

    Returns:
        The copy, whose other subnets are broken, and what was done: how many
        ``images`` there were, and the :func:`features_error` on them,
        ``error_before`` and ``error``. Where the correction would raise it,
        nothing is corrected.
    """
    copy, backbone = fit(model, subnet, batches, ridge), model.backbone
    before = features_error(backbone, backbone, subnet, batches)
    after = features_error(backbone, copy.backbone, subnet, batches)
    if not after <= before:  # nor NaN
        copy, after = deepcopy(model), before
    images = sum(map(len, batches))
    return copy, dict(images=images, error_before=before, error=after)


@torch.no_grad()
def fit(
    model: ElasticModelMixin,
    subnet: Subnet,
    batches: Sequence[Tensor],
    ridge: float = RIDGE,
) -> Any:
    """Corrects, in a copy, weight and bias of the map out of every branch.

    Layer by layer, on what the corrected layers before it give: there a
    branch is to give what all its heads or hidden channels would. Branches
    that are off or whole and what closed channels have lost stay as they
    are. Of the images their residual stream is kept, about as large as they.

    Args:
        model: The supernet, in evaluation mode; not changed.
        subnet: A member of its space.
        batches: Normalised images (B, channels, height, width) each.
        ridge: See :func:`solve_ridge`.
    """
    copy: Any = deepcopy(model)
    vit = copy.backbone
    streams: list[Tensor] = []
    handle = vit.layers[0].register_forward_pre_hook(
        lambda layer, inputs: streams.append(inputs[0])
    )
    with vit.use(subnet):
        for batch in batches:
            vit(batch)
    handle.remove()
    for i in range(len(vit.layers)):
        for name in LayerSlices._fields:
            if _slices(vit, i, name, subnet) is not None:
                _correct_branch(vit, i, name, subnet, streams, ridge)
    return copy


def _slices(vit: Any, i: int, name: str, subnet: Subnet) -> Any:
    """Weights of a branch, 'attention' or 'ffn'; None if it is off."""
    heads, hidden = subnet.num_heads[i], subnet.feedforward_channels[i]
    widths = subnet.embed_dims, heads, hidden, subnet.head_dims, subnet.side
    return getattr(vit.layers[i].slice(*widths), name)


def _correct_branch(
    vit: Any,
    i: int,
    name: str,
    subnet: Subnet,
    streams: list[Tensor],
    ridge: float,
) -> None:
    """Corrects a branch, and then takes the streams (B, N, E) through it."""
    layer = vit.layers[i]
    norm: nn.LayerNorm = layer.ln1
    last: nn.Linear = layer.attn.proj
    run: Callable[[BranchSlices, Tensor], Tensor]
    run = partial(run_attention, layer.attn)
    if name == 'ffn':
        norm, last = layer.ln2, ffn_linears(layer.ffn)[1]
        run = partial(run_ffn, layer.ffn)
    slices = _slices(vit, i, name, subnet)
    # In front of the layer scale, as the map out is.
    kept = slices._replace(scale=None)
    E, U = kept.out_weight.shape
    if last.in_features > U:
        largest = vit.space.largest
        wide = replace(largest, embed_dims=E, side=subnet.side)
        whole = _slices(vit, i, name, wide)._replace(scale=None)
        # Without its map out a branch gives what that would get.
        eye = torch.eye(U).to(kept.out_weight)
        units = kept._replace(out_weight=eye, out_bias=None)
        gram: Any = 0
        for x in streams:
            x = layer_norm(norm, kept.norm, x)
            u, missing = run(units, x), run(whole, x) - run(kept, x)
            rows = torch.cat((torch.ones_like(u[..., :1]), u, missing), -1)
            rows = rows.flatten(0, 1).double()
            gram = gram + rows.T @ rows
        weight, bias = solve_ridge(gram, U, ridge, last.bias is not None)
        _add(vit, last, subnet, weight, bias)
        slices = _slices(vit, i, name, subnet)
    for k, x in enumerate(streams):
        streams[k] = x + run(slices, layer_norm(norm, slices.norm, x))


def _add(
    vit: Any,
    last: nn.Linear,
    subnet: Subnet,
    weight: Tensor,
    bias: Tensor | None,
) -> None:
    """Adds to the open part of a map out."""
    names = {parameter: name for name, parameter in vit.named_parameters()}
    outputs, inputs = parameter_axes(vit)[names[last.weight]].axes
    C, U = last.weight.shape
    rows = outputs.narrow(torch.arange(C), subnet)
    columns = inputs.narrow(torch.arange(U)[None], subnet)[0]
    last.weight[rows[:, None], columns] += weight.to(last.weight)
    if bias is not None:
        last.bias[rows] += bias.to(last.bias)


@torch.no_grad()
def features_error(
    whole: Any, cut: Any, subnet: Subnet, batches: Sequence[Tensor]
) -> float:
    """Squared error of a subnet's features, over the whole network's squares.

    Over open channels and all outputs of the backbone ``cut``; ``whole`` is
    that of the supernet, and both may be one.
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
