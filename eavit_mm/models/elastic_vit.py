"""The supernet: mmpretrain's Vision Transformer and parts of itself.

Letters: B batch, N tokens, C all channels of the residual stream, E open
ones.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import isqrt
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from mmengine.model import ModuleList
from mmpretrain.models.utils import resize_pos_embed
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from eavit_mm.models.axes import count_parameters, parameter_terms
from eavit_mm.models.elastic_build import (
    build_space,
    check_drop_path,
    check_sliceable,
    end_norms,
    geometry_of,
    warn_of_stock_model,
)
from eavit_mm.models.elastic_layers import (
    ElasticEncoderLayer,
    LayerSlices,
    NormSlices,
    gate_norm,
    layer_norm,
    shares_of,
    slice_norm,
)
from eavit_mm.models.gates import Gates, check_gates
from eavit_mm.models.register_vit import RegisterVisionTransformer
from eavit_mm.models.slim_vit import channels_last
from eavit_mm.registry import MODELS
from eavit_mm.space import Subnet
from eavit_mm.space.subnet import PREFIX, opened
from eavit_mm.weights import resolve_pretrained
from eavit_mm.weights.state_dict import (
    CheckpointError,
    adapt_vit_state,
    check_state_dict,
)


class BackboneSlices(NamedTuple):
    """Every open weight of a subnet.

    Attributes:
        projection: Weight and bias of the patch embedding.
        cls_token: (1, 1 + registers, E) or None.
        pos_embed: (1, N, E).
        norms: Those outside of the layers, by name.
        layers: Empty where each layer slices itself.
        gates: In a gated network one per channel (C), else None.
        narrowed: Inside a block of ``frozen``, leaves of necks and heads and
            their mode -> the narrow module that runs in their place.
    """

    projection: tuple[Tensor, Tensor | None]
    cls_token: Tensor | None
    pos_embed: Tensor
    norms: Mapping[str, NormSlices]
    layers: tuple[LayerSlices, ...] = ()
    gates: Tensor | None = None
    narrowed: dict[tuple[nn.Module, bool], nn.Module] | None = None


class ActiveSubnet:
    """Which subnet a network runs: all the state that there is.

    The backbone alone changes it; its necks and heads hold the same object,
    so that a copy of the whole model has one of its own.

    Attributes:
        subnet: None is the largest.
        slices: Weights sliced ahead, inside the blocks of
            :meth:`ElasticVisionTransformer.frozen` and ``gated``.
    """

    def __init__(self) -> None:
        self.subnet: Subnet | None = None
        self.slices: BackboneSlices | None = None

    @property
    def gates(self) -> Tensor | None:
        """Gates of the channels (C), while the network is gated."""
        return None if self.slices is None else self.slices.gates

    @property
    def narrowed(self) -> dict[tuple[nn.Module, bool], nn.Module] | None:
        """Where leaves keep their narrow modules; None: they may not."""
        return None if self.slices is None else self.slices.narrowed

    def __getstate__(self) -> dict[str, Any]:
        """Without slices: a copy would outlive the block that made them."""
        return {'subnet': self.subnet, 'slices': None}


@MODELS.register_module()
class ElasticVisionTransformer(RegisterVisionTransformer):
    """Vision Transformer that runs any subnet of its search space.

    Takes every argument of mmpretrain's ``VisionTransformer`` and has its
    parameter names and shapes: checkpoints load both ways, strictly, unless
    it has registers. With no subnet set it *is* the stock network. With one
    set, only its channels, heads and hidden channels are computed, from views
    of the weights, and the features have the open channels alone.

    Args:
        *args: Those of ``VisionTransformer``.
        space: Choices per axis, see :class:`eavit_mm.space.SearchSpace`; its
            largest subnet must be the whole network. None: only that one.
        **kwargs: Those of ``VisionTransformer``, and ``num_register_tokens``
            (DINOv2's registers are 4; default 0).

    Raises:
        ValueError: If the space does not fit the network, or the network has
            a part that cannot be sliced, or drops every path.

    Example:
        >>> dict(type='eavit_mm.ElasticVisionTransformer', arch='b',
        ...      space=dict(embed_dims=[384, 768], num_heads=[6, 12],
        ...                 feedforward_channels=[1536, 3072], max_off=2))
    """

    def __init__(
        self,
        *args: Any,
        space: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        stock = self.get_submodule('layers').children()
        self.layers = ModuleList(map(ElasticEncoderLayer, stock))
        check_sliceable(self)
        check_drop_path(self)
        self.geometry = geometry_of(self)
        self.space = build_space(self, space)
        self._terms = parameter_terms(self, self.space.largest)
        self.active = ActiveSubnet()

    # The active subnet

    @property
    def subnet(self) -> Subnet | None:
        """The active subnet; None is the largest."""
        return self.active.subnet

    def set_subnet(self, subnet: Subnet | None) -> None:
        """Makes a subnet the active one until further notice.

        Args:
            subnet: A member of the space; None for the stock network.

        Raises:
            ValueError: If it is not in the space.
        """
        if subnet is not None:
            self.space.check(subnet)
        self.active.subnet, self.active.slices = subnet, None

    @contextmanager
    def use(self, subnet: Subnet | None) -> Iterator[None]:
        """Makes a subnet the active one inside a ``with`` block."""
        active = self.active
        before = active.subnet, active.slices
        self.set_subnet(subnet)
        try:
            yield
        finally:
            active.subnet, active.slices = before

    @contextmanager
    def frozen(self, subnet: Subnet | None) -> Iterator[None]:
        """Like :meth:`use`, with all weights sliced and packed once.

        For repeated evaluation. Weights must not change inside the block;
        nothing of the slices outlives it, nor goes into a copy of the model.
        """
        with self.use(subnet):
            if subnet is not None and subnet != self.space.largest:
                with torch.no_grad():
                    slices = self._all_slices(subnet)
                    slices = tree_map_only(Tensor, Tensor.contiguous, slices)
                self.active.slices = slices._replace(narrowed={})
            yield

    @contextmanager
    def gated(self, gates: Gates) -> Iterator[None]:
        """Runs the whole network with gates; gradients reach them.

        What comes out is what the gates' subnet gives, and zeros in its
        closed channels; what it costs is a forward of the whole network.

        Args:
            gates: They stand for a member of the space.

        Raises:
            ValueError: If that has narrow heads or is a suffix.
        """
        check_gates(gates.subnet, self.geometry.head_dims)
        with self.use(gates.subnet):
            self.active.slices = self._gated_slices(gates)
            yield

    # Cost

    def macs(self, subnet: Subnet | None = None, count: str = 'exact') -> int:
        """Multiply-adds for one image of the configured size.

        Args:
            subnet: None for the largest.
            count: 'exact' or 'paper', see :meth:`Geometry.macs`.
        """
        return self.geometry.macs(subnet or self.space.largest, count)

    def params(self, subnet: Subnet | None = None) -> int:
        """Parameters of a subnet as a network of its own."""
        subnet = subnet or self.space.largest
        self.geometry.check(subnet)
        return count_parameters(self._terms, subnet)

    # Forward

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Features at ``out_indices``, of the open channels alone.

        Args:
            x: Images (B, channels, height, width).

        Returns:
            One tensor per output, in the shape that ``out_type`` says: (B, E)
            or (B, N, E) or (B, E, h, w).
        """
        x = channels_last(x)
        subnet, slices = self.active.subnet, self.active.slices
        if slices is None:
            if subnet is None or subnet == self.space.largest:
                if subnet is None and self.training:
                    warn_of_stock_model(self)
                return super().forward(x)
            slices = self._slice_ends(subnet.embed_dims, subnet.side)
        assert subnet is not None
        x, resolution = self._embed(slices, x)
        outs = []
        for i, layer in enumerate(self.layers):
            if slices.layers:
                x = layer(x, slices=slices.layers[i])
            else:
                x = layer(
                    x,
                    subnet.num_heads[i],
                    subnet.feedforward_channels[i],
                    subnet.head_dims,
                    subnet.side,
                )
            if i == len(self.layers) - 1 and self.final_norm:
                x = layer_norm(self.ln1, slices.norms['ln1'], x)
            if i in self.out_indices:
                outs.append(self._output(slices, x, resolution))
        return tuple(outs)

    def _embed(
        self, slices: BackboneSlices, x: Tensor
    ) -> tuple[Tensor, tuple[int, int]]:
        """Images to tokens (B, N, E), and the patch grid."""
        embed = self.patch_embed
        if embed.adaptive_padding:
            x = embed.adaptive_padding(x)
        conv = embed.projection
        x = F.conv2d(
            x, *slices.projection, conv.stride, conv.padding, conv.dilation
        )
        resolution = (x.shape[2], x.shape[3])
        x = x.flatten(2).transpose(1, 2)  # (B, E, h, w) -> (B, N, E)
        if embed.norm is not None:
            x = layer_norm(embed.norm, slices.norms['patch_embed.norm'], x)
        if slices.cls_token is not None:
            x = torch.cat((slices.cls_token.expand(len(x), -1, -1), x), dim=1)
        x = x + resize_pos_embed(
            slices.pos_embed,
            self.patch_resolution,
            resolution,
            mode=self.interpolate_mode,
            num_extra_tokens=self.num_extra_tokens,
        )
        x = self.drop_after_pos(x)
        if 'pre_norm' in slices.norms:
            x = layer_norm(self.pre_norm, slices.norms['pre_norm'], x)
        return x, resolution

    def _output(
        self, slices: BackboneSlices, x: Tensor, resolution: tuple[int, int]
    ) -> Tensor:
        """Tokens (B, N, E) in the form of ``out_type``."""
        if self.out_type != 'avg_featmap':
            out: Tensor = self._format_output(x, resolution)
            return out
        mean = x[:, self.num_extra_tokens :].mean(dim=1)
        return layer_norm(self.ln2, slices.norms['ln2'], mean)

    def empty_features(self, embed_dims: int) -> tuple[Tensor, ...]:
        """What comes out for one image of the configured size, on 'meta'."""
        tokens = self.geometry.num_tokens
        x = torch.empty(1, tokens, embed_dims, device='meta')
        if self.out_type == 'avg_featmap':
            x = x[:, 0]
        else:
            x = self._format_output(x, self.patch_resolution)
        return (x,) * len(self.out_indices)

    def _slice_ends(self, width: int, side: str = PREFIX) -> BackboneSlices:
        """Views of what stands before and behind the layers."""
        conv, E = self.patch_embed.projection, opened(width, side)
        bias = None if conv.bias is None else conv.bias[E]
        cls_token = self.cls_token
        return BackboneSlices(
            (conv.weight[E], bias),
            None if cls_token is None else cls_token[..., E],
            self.pos_embed[..., E],
            {
                name: slice_norm(norm, E)
                for name, norm in end_norms(self).items()
            },
        )

    def _all_slices(self, subnet: Subnet) -> BackboneSlices:
        """Views of all open weights, those of the layers included."""
        E, heads = subnet.embed_dims, subnet.num_heads
        hidden = subnet.feedforward_channels
        layers = zip(self.layers, heads, hidden, strict=True)
        D, side = subnet.head_dims, subnet.side
        slices = tuple(la.slice(E, h, f, D, side) for la, h, f in layers)
        return self._slice_ends(E, side)._replace(layers=slices)

    def _gated_slices(self, gates: Gates) -> BackboneSlices:
        """All weights with gates in them."""
        dtype = self.pos_embed.dtype
        gates = tree_map_only(Tensor, lambda gate: gate.to(dtype), gates)
        channels = gates.embed_dims
        shares = shares_of(channels)
        ends = self._slice_ends(len(channels))
        weight, bias = ends.projection
        token = ends.cls_token
        units = gates.num_heads, gates.feedforward_channels
        layers = zip(self.layers, *units, strict=True)
        return BackboneSlices(
            (
                weight * channels[:, None, None, None],
                None if bias is None else bias * channels,
            ),
            None if token is None else token * channels,
            ends.pos_embed * channels,
            {
                name: gate_norm(norm, channels, shares)
                for name, norm in ends.norms.items()
            },
            tuple(
                layer.gate(channels, shares, heads, hidden)
                for layer, heads, hidden in layers
            ),
            channels,
        )

    # Loading

    def init_weights(self) -> None:
        """The stock initialisation; reads timm's, HF's and JAX files too.

        Raises:
            FileNotFoundError: If ``init_cfg`` names a file that is not there.
            ValueError: If it is broken or cannot be converted.
        """
        declared: Any = self.init_cfg
        num_patches = self.geometry.num_patches
        self.init_cfg: Any = resolve_pretrained(declared, num_patches)
        try:
            super().init_weights()
        except CheckpointError as error:
            is_one = isinstance(declared, dict)
            name = declared['checkpoint'] if is_one else declared
            raise ValueError(f'init_cfg: {name}: {error}') from error
        finally:
            self.init_cfg = declared

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any
    ) -> None:
        """Checks a checkpoint before any weight is touched.

        Raises:
            ValueError: If keys or shapes differ, the position embedding's
                number of tokens excepted.
        """
        adapt_vit_state(self, state_dict, prefix)
        check_state_dict(self, state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def _prepare_pos_embed(
        self, state_dict: dict[str, Any], prefix: str, *args: Any
    ) -> None:
        """Resizes the positions of a square grid, in place.

        mmpretrain's, which this replaces, takes the first of N + 1 rows for a
        class token's where the network has N patches and no class token. Of
        a checked checkpoint every row is a patch's, and N + 1 a square.
        """
        name = f'{prefix}pos_embed'
        given = state_dict.get(name)
        if given is None or given.shape == self.pos_embed.shape:
            return
        old, new = tuple(given.shape), tuple(self.pos_embed.shape)
        print_log(f'{name}: resized from {old} to {new}', 'current')
        extra = self.num_extra_tokens
        side = isqrt(given.shape[1] - extra)
        state_dict[name] = resize_pos_embed(
            given,
            (side, side),
            self.patch_resolution,
            self.interpolate_mode,
            extra,
        )
