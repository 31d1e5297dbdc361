"""Modules of necks and heads that run on the channels that are open.

A leaf reads the backbone's channels: a linear map, a convolution or a norm.
It takes the place of the stock module, whose parameters and names it keeps.
While a subnet is active it is the stock module over the subnet's channels,
with the weights of these, and refuses any other input as that one does.
Behind a gated backbone it is given all channels and does what the gated
backbone does.

Letters: C all channels of the backbone, E open ones.
"""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, NamedTuple

import torch
from mmengine.model.utils import _BatchNormXd
from mmengine.utils.dl_utils.parrots_wrapper import (
    SyncBatchNorm as MMSyncBatchNorm,
)
from mmpretrain.models.utils import LayerNorm2d
from torch import Tensor, nn

from eavit_mm.models.elastic_layers import (
    NormSlices,
    gate_norm,
    layer_norm,
    shares_of,
)
from eavit_mm.models.elastic_vit import ActiveSubnet
from eavit_mm.space.subnet import PREFIX

# A block of backbone channels among the inputs of a leaf.
OPEN = 0


class Leaf(NamedTuple):
    """What stands along the channels that a module reads and writes.

    Attributes:
        reads: Blocks along its inputs: :data:`OPEN` for the backbone's
            channels, another number for as many channels of its own.
        passes: Its outputs are backbone channels too. A norm's always are
            what it reads.
    """

    reads: tuple[int, ...] = (OPEN,)
    passes: bool = False


# A stock type -> the leaf that takes its place.
LEAVES: dict[type[nn.Module], type['ElasticLeaf']] = {}


class ElasticLeaf(nn.Module):
    """Stands in front of a stock type, its second base.

    Class attributes say where the channels are; that is all that running,
    permuting and cutting know of a type.

    Attributes:
        INPUTS: Parameter or buffer -> its axis over the inputs.
        OUTPUTS: Parameter -> its axis over the outputs.
        SIZES: Attributes that count inputs and outputs.
        DIM: Axis of the channels in what it reads and writes.
    """

    INPUTS: ClassVar[Mapping[str, int]]
    OUTPUTS: ClassVar[Mapping[str, int]] = {}
    SIZES: ClassVar[tuple[str, ...]]
    DIM: ClassVar[int]

    leaf: Leaf
    channels: int
    active: ActiveSubnet

    def __init_subclass__(cls) -> None:
        if len(cls.__bases__) > 1:  # not what several leaves have in common
            LEAVES[cls.__bases__[1]] = cls

    @classmethod
    def from_stock(
        cls, stock: nn.Module, leaf: Leaf, channels: int, active: ActiveSubnet
    ) -> 'ElasticLeaf':
        """A leaf that shares everything with a stock module.

        Raises:
            ValueError: If the module cannot be narrowed or reads another
                number of channels; does not name the module.
        """
        new = cls.__new__(cls)  # __init__ would make new weights
        new.__dict__.update(stock.__dict__)
        new.leaf, new.channels, new.active = leaf, channels, active
        new._check()
        return new

    def _check(self) -> None:
        """Raises unless the leaf can be narrowed; see :meth:`from_stock`."""
        given = [getattr(self, name) for name in self.SIZES]
        wanted = self._as_size(self.num_inputs(self.channels))
        if given[0] != wanted:
            raise ValueError(
                f'in_channels={given[0]}; must be {wanted}: the backbone has '
                f'embed_dims={self.channels}'
            )
        if self.leaf.passes and self.OUTPUTS and given[1] != self.channels:
            raise ValueError(
                f'out_channels={given[1]}; must be the embed_dims='
                f'{self.channels} of the backbone, which it passes on'
            )
        if getattr(self, 'groups', 1) != 1:
            raise ValueError(
                f'groups={self.groups}; channels in groups cannot be narrowed '
                'or permuted, take groups=1'
            )

    def num_inputs(self, width: int) -> int:
        """Channels that it reads where the backbone has ``width`` open."""
        return sum(block or width for block in self.leaf.reads)

    @staticmethod
    def _as_size(number: int) -> Any:
        """A number of channels as the attributes in SIZES hold it."""
        return number

    # Running

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The stock forward, over the open channels."""
        active = self.active
        if active.gates is not None:
            return self._run_gated(active.gates, *args, **kwargs)
        # Not the width of what it is given, which can be a mistake.
        subnet = active.subnet
        if subnet is None or subnet.embed_dims == self.channels:
            return super().forward(*args, **kwargs)
        kept, key = active.narrowed, (self, self.training)
        if kept is None:
            narrow = self.narrow(subnet.embed_dims, subnet.side)
            return narrow.forward(*args, **kwargs)
        if key not in kept:
            kept[key] = self.narrow(subnet.embed_dims, subnet.side)
        return kept[key].forward(*args, **kwargs)

    def _run_gated(
        self,
        gates: Tensor,
        input: Tensor,  # as torch's forwards name it
        *args: Any,
        **kwargs: Any,
    ) -> Tensor:
        """Over all channels, of which the gates (C) close some.

        What stands in front, such as a sigmoid, may have filled closed
        inputs.
        """
        read = _along(self.spread(gates), self.DIM, input.ndim)
        x = _Close.apply(input, read == 0)  # type: ignore[no-untyped-call]
        out: Tensor = super().forward(x, *args, **kwargs)
        if not self.leaf.passes:
            return out
        return out * _along(gates, self.DIM, out.ndim)

    def spread(self, gates: Tensor) -> Tensor:
        """Gates (C) over all that is read; own channels are open."""
        return torch.cat(
            [
                gates.new_ones(block) if block else gates
                for block in self.leaf.reads
            ]
        )

    # Weights

    def narrow(self, width: int, side: str = PREFIX) -> nn.Module:
        """The stock module over so many open channels; weights are views."""
        start = 0 if side == PREFIX else self.channels - width
        kind: Any = type(self).__bases__[1]
        stock: nn.Module = kind.__new__(kind)
        # Views are no nn.Parameter, so they are put where torch looks first.
        stock.__dict__.update(self.__dict__)
        for group in ('_parameters', '_buffers'):
            stock.__dict__[group] = {
                name: None
                if tensor is None
                else self._open(name, start, width)
                for name, tensor in getattr(self, group).items()
            }
        sizes = [self.num_inputs(width)]
        if self.leaf.passes:
            sizes.append(width)
        for name, size in zip(self.SIZES, sizes, strict=False):
            stock.__dict__[name] = self._as_size(size)
        for name in ('leaf', 'channels', 'active'):
            del stock.__dict__[name]
        return stock

    def _open(self, name: str, first: int, width: int) -> Tensor:
        """What a parameter or buffer has of the channels from the first on."""
        tensor: Tensor = getattr(self, name)
        if name in self.INPUTS:
            axis = self.INPUTS[name]
            pieces = [
                tensor.narrow(axis, start, block)
                if block
                else tensor.narrow(axis, start + first, width)
                for start, block in self._blocks()
            ]
            tensor = pieces[0] if len(pieces) == 1 else torch.cat(pieces, axis)
        if self.leaf.passes and name in self.OUTPUTS:
            tensor = tensor.narrow(self.OUTPUTS[name], first, width)
        return tensor

    @torch.no_grad()
    def permute(self, order: Tensor) -> None:
        """Reorders the backbone's channels in place: (C), new -> old."""
        order = order.cpu()
        inputs = [
            start + (torch.arange(block) if block else order)
            for start, block in self._blocks()
        ]
        orders = [(self.INPUTS, torch.cat(inputs))]
        if self.leaf.passes:
            orders.append((self.OUTPUTS, order))
        for axes, index in orders:
            for name, axis in axes.items():
                tensor = getattr(self, name)
                if tensor is not None:
                    index = index.to(tensor.device)
                    tensor.copy_(tensor.index_select(axis, index))

    def _blocks(self) -> Iterator[tuple[int, int]]:
        """Where each block among all inputs begins, and what it reads."""
        start = 0
        for block in self.leaf.reads:
            yield start, block
            start += block or self.channels


def _along(gates: Tensor, dim: int, ndim: int) -> Tensor:
    """Gates (C) in a shape that multiplies axis ``dim`` of ``ndim``."""
    behind = ndim - 1 - dim % ndim
    return gates.reshape(-1, *[1] * behind)


class _Close(torch.autograd.Function):
    """Fills closed channels with zeros.

    The gradient passes as if it had not: what opening a channel would change
    is told by the gates that closed it where it came from.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, closed: Tensor) -> Tensor:
        # In place: inputs of one channel must not be spread over all.
        return x.clone().masked_fill_(closed, 0)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None


class ElasticLinear(ElasticLeaf, nn.Linear):
    """A linear map over the last axis."""

    INPUTS: ClassVar = {'weight': 1}
    OUTPUTS: ClassVar = {'weight': 0, 'bias': 0}
    SIZES: ClassVar = ('in_features', 'out_features')
    DIM: ClassVar = -1


class ElasticConv2d(ElasticLeaf, nn.Conv2d):
    """A convolution."""

    INPUTS: ClassVar = {'weight': 1}
    OUTPUTS: ClassVar = {'weight': 0, 'bias': 0}
    SIZES: ClassVar = ('in_channels', 'out_channels')
    DIM: ClassVar = -3  # of one map, too


class ElasticConvTranspose2d(ElasticLeaf, nn.ConvTranspose2d):
    """A transposed convolution, whose weight begins with the inputs."""

    INPUTS: ClassVar = {'weight': 0}
    OUTPUTS: ClassVar = {'weight': 1, 'bias': 0}
    SIZES: ClassVar = ('in_channels', 'out_channels')
    DIM: ClassVar = -3  # of one map, too


class ElasticLayerNorm(ElasticLeaf, nn.LayerNorm):
    """A LayerNorm over the last axis."""

    INPUTS: ClassVar = {'weight': 0, 'bias': 0}
    SIZES: ClassVar = ('normalized_shape',)
    DIM: ClassVar = -1

    def _check(self) -> None:
        super()._check()
        if self.weight is None or self.bias is None:
            raise ValueError(
                'a LayerNorm without weight and bias cannot be narrowed'
            )

    @staticmethod
    def _as_size(number: int) -> Any:
        return (number,)

    def _run_gated(self, gates: Tensor, input: Tensor) -> Tensor:
        """Statistics weighted by the gates, as in the gated backbone."""
        norm = NormSlices(self.weight, self.bias)
        read = self.spread(gates)
        return layer_norm(self, gate_norm(norm, read, shares_of(read)), input)


class ElasticLayerNorm2d(ElasticLayerNorm, LayerNorm2d):
    """mmpretrain's LayerNorm over the channels of feature maps."""

    DIM: ClassVar = 1

    def _run_gated(
        self, gates: Tensor, x: Tensor, data_format: str = 'channel_first'
    ) -> Tensor:
        if data_format == 'channel_last':
            return super()._run_gated(gates, x)
        x = super()._run_gated(gates, x.permute(0, 2, 3, 1))
        return x.permute(0, 3, 1, 2).contiguous()


class _ElasticBatchNorm(ElasticLeaf):
    INPUTS: ClassVar = dict.fromkeys(
        ('weight', 'bias', 'running_mean', 'running_var'), 0
    )
    SIZES: ClassVar = ('num_features',)
    DIM: ClassVar = 1

    def _check(self) -> None:
        super()._check()
        if len(self.leaf.reads) > 1:
            # Running statistics would be updated in a copy.
            raise ValueError(
                f'a BatchNorm over the blocks {self.leaf.reads} cannot be '
                'narrowed; take a LayerNorm'
            )

    def _run_gated(self, gates: Tensor, input: Tensor) -> Tensor:
        """Each channel by itself; nothing is learnt of closed ones."""
        stock = self.narrow(self.channels)
        learnt = {
            name: buffer.clone()
            for name, buffer in stock.named_buffers()
            if name in self.INPUTS
        }
        stock._buffers.update(learnt)
        out: Tensor = stock.forward(input)
        if self.training and self.active.subnet is not None:
            width = self.active.subnet.embed_dims
            for name, buffer in learnt.items():
                self.get_buffer(name)[:width] = buffer[:width]
        return out * _along(gates, self.DIM, out.ndim)


class ElasticBatchNorm1d(_ElasticBatchNorm, nn.BatchNorm1d):
    """A BatchNorm over vectors."""


class ElasticBatchNorm2d(_ElasticBatchNorm, nn.BatchNorm2d):
    """A BatchNorm over feature maps."""


class ElasticSyncBatchNorm(_ElasticBatchNorm, nn.SyncBatchNorm):
    """A BatchNorm over feature maps of all processes."""


class ElasticMMSyncBatchNorm(_ElasticBatchNorm, MMSyncBatchNorm):
    """The same, as mmcv's layers of type 'SyncBN' are."""


class ElasticBatchNormXd(_ElasticBatchNorm, _BatchNormXd):
    """What mmengine makes of a SyncBatchNorm on a single device."""
