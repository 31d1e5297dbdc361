"""What reads the backbone's channels: necks and heads of any width.

A type of consumer is described by one fact: which of its modules read or
write channels of the backbone. Running, permuting, cutting and counting
follow from it.
"""

import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from eavit_mm.models.elastic_vit import ElasticVisionTransformer
from eavit_mm.models.leaves import LEAVES, ElasticLeaf, Leaf
from eavit_mm.space.subnet import PREFIX


class Reading(NamedTuple):
    """How a neck or head reads the backbone's channels.

    Attributes:
        leaves: Path of a module inside the consumer -> what it reads.
        live: For a neck, whether each output level still is backbone
            channels; empty for a head.
        sizes: Options or attributes, each one number, that count several
            times the backbone's channels -> how many times.
    """

    leaves: dict[str, Leaf]
    live: tuple[bool, ...] = ()
    sizes: Mapping[str, int] = MappingProxyType({})


# describe(consumer, live): `live` says of each level that the consumer is
# given whether it is backbone channels.
Describe = Callable[[Any, tuple[bool, ...]], Reading]
_HOOKS = ('_forward_hooks', '_forward_pre_hooks')
_DESCRIBE: dict[type[nn.Module], Describe] = {}


class Count(NamedTuple):
    """Costs of a consumer: multiply-adds for one image, and parameters."""

    macs: int
    params: int


def register_consumer(kind: type[nn.Module], describe: Describe) -> None:
    """Declares how a type of neck or head reads the backbone's channels.

    Args:
        kind: The exact type; a subclass may read them in another way.
        describe: Called with an instance and, for each level that it is
            given, whether it is backbone channels.

    MACs of it are those of matrix products, convolutions and attention, as
    torch's flop counter counts them. It counts no ``torch.mv``, no
    ``nn.Bilinear``, and no product written as multiply and sum: write these
    as matrix products, or MACs are too low.

    Example:
        >>> register_consumer(
        ...     MyHead, lambda head, live: Reading({'conv': Leaf()}))
    """
    _DESCRIBE[kind] = describe


def readings(
    consumers: Mapping[str, nn.Module], num_levels: int
) -> Iterator[tuple[str, nn.Module, tuple[bool, ...], Reading]]:
    """Every consumer as the flow reaches it.

    Args:
        consumers: Names to modules; what a neck gives, those behind it get.
        num_levels: Outputs of the backbone.

    Yields:
        Its name, itself, for each level that it is given whether that is
        backbone channels, and how it reads them.

    Raises:
        ValueError: If a type is not registered, as a guess could give wrong
            numbers, or what it is given does not suit it.
    """
    live = (True,) * num_levels
    for name, consumer in consumers.items():
        kind = type(consumer)
        if kind not in _DESCRIBE:
            known = sorted(cls.__name__ for cls in _DESCRIBE)
            raise ValueError(
                f'{name}: {kind.__name__} reads the features of an elastic '
                f'backbone, but how is not known; known are {known}. Declare '
                'it with eavit_mm.models.register_consumer.'
            )
        try:
            reading = _DESCRIBE[kind](consumer, live)
        except ValueError as error:
            raise ValueError(f'{name}: {kind.__name__} {error}') from error
        yield name, consumer, live, reading
        live = reading.live or live


def make_elastic(
    consumers: Mapping[str, nn.Module], backbone: ElasticVisionTransformer
) -> None:
    """Puts elastic leaves where there are none yet, in place; names stay.

    Raises:
        ValueError: Names a consumer that is not registered, or a module of
            it that cannot be narrowed, reads another number of channels, or
            shares weights.
    """
    num_levels = len(backbone.out_indices)
    for name, consumer, _, reading in readings(consumers, num_levels):
        for path, leaf in reading.leaves.items():
            stock = consumer.get_submodule(path)
            if isinstance(stock, ElasticLeaf):
                continue
            kind = LEAVES.get(type(stock))
            if kind is None:
                known = sorted(cls.__name__ for cls in LEAVES)
                raise ValueError(
                    f'{name}.{path}: {type(stock).__name__} over channels of '
                    f'the backbone cannot be narrowed; only {known} can'
                )
            try:
                new = kind.from_stock(
                    stock, leaf, backbone.embed_dims, backbone.active
                )
            except ValueError as error:
                raise ValueError(f'{name}.{path}: {error}') from error
            parent, _, last = path.rpartition('.')
            setattr(consumer.get_submodule(parent), last, new)
    _check_unshared({'backbone': backbone, **consumers})


def _check_unshared(parts: Mapping[str, nn.Module]) -> None:
    """Refuses weights of leaves that have a second name.

    They would be permuted twice, cut into two and counted twice.
    """
    leaves = [leaf for part in parts.values() for leaf in leaves_of(part)]
    read = {id(p) for leaf in leaves for p in leaf.parameters()}
    names: dict[int, str] = {}
    for part, module in parts.items():
        own = module.named_parameters(part, remove_duplicate=False)
        for name, parameter in own:
            first = names.setdefault(id(parameter), name)
            if first != name and id(parameter) in read:
                raise ValueError(
                    f'{name} is {first}; weights over channels of the '
                    'backbone cannot be shared'
                )


def leaves_of(consumer: nn.Module) -> list[ElasticLeaf]:
    """The modules of a consumer that read the backbone's channels."""
    return [m for m in consumer.modules() if isinstance(m, ElasticLeaf)]


def cut_sizes(
    sizes: Mapping[str, Any],
    live: tuple[bool, ...],
    reading: Reading,
    width: int,
) -> dict[str, Any]:
    """The numbers of channels that a cut consumer differs in.

    Args:
        sizes: Options or attributes of the consumer: ``in_channels`` and
            ``out_channels``, each one number or a list with one for each
            level; ``in_index`` says which levels it reads (the last, or all
            of them).
        live: For each level that it is given, whether it is backbone
            channels.
        reading: How the consumer reads them.
        width: Channels to keep.
    """
    index = sizes.get('in_index')
    if index is not None:
        chosen = [index] if isinstance(index, int) else index
        live = tuple(live[i] for i in chosen)
    cut: dict[str, Any] = {}
    levels = {'in_channels': live, 'out_channels': reading.live}
    for name, are_live in levels.items():
        given = sizes.get(name)
        if isinstance(given, list | tuple) and len(given) == len(are_live):
            both = zip(given, are_live, strict=True)
            numbers = (width if is_live else own for own, is_live in both)
            cut[name] = type(given)(numbers)
        elif isinstance(given, int) and are_live:
            # One number of outputs is that of all of them.
            is_cut = are_live[-1] if name == 'in_channels' else all(are_live)
            cut[name] = width if is_cut else given
    for name, times in reading.sizes.items():
        if isinstance(sizes.get(name), int):
            cut[name] = times * width
    return cut


def cut_consumers(
    consumers: Mapping[str, nn.Module],
    num_levels: int,
    width: int,
    side: str = PREFIX,
) -> dict[str, nn.Module]:
    """Stock copies that read only the open channels, by name."""
    cut = {}
    for name, consumer, live, reading in readings(consumers, num_levels):
        cut[name] = copy = _cut(consumer, width, side)
        vars(copy).update(cut_sizes(vars(copy), live, reading, width))
    return cut


def _cut(consumer: nn.Module, width: int, side: str) -> nn.Module:
    """A copy with stock modules in place of leaves, and without hooks.

    Hooks are no part of the network and expect real features.
    """
    memo: dict[int, Any] = {}
    for module in consumer.modules():
        for hooks in _HOOKS:
            memo[id(getattr(module, hooks))] = OrderedDict()
    for leaf in leaves_of(consumer):
        stock = leaf.narrow(width, side)
        vars(stock).update({hooks: OrderedDict() for hooks in _HOOKS})
        for group in (stock._parameters, stock._buffers):
            for name, view in group.items():
                if view is not None:
                    own: Any = view.detach().clone()
                    given = getattr(leaf, name)
                    if isinstance(given, nn.Parameter):
                        own = nn.Parameter(own, given.requires_grad)
                    group[name] = own
        # A copy of the consumer takes this in place of the leaf.
        memo[id(leaf)] = stock
    return deepcopy(consumer, memo)


def count_consumers(
    consumers: Mapping[str, nn.Module], features: Sequence[Tensor]
) -> dict[str, Count]:
    """What consumers of some features cost, by name.

    Multiply-adds are those that torch counts while the cut stock modules run
    on the features, so a convolution counts at its resolution. A module that
    has a matrix and runs without a counted product is warned of. Features are
    the backbone's levels of one image, of some width, on the device 'meta'.
    """
    width = features[0].shape[1 if features[0].ndim == 4 else -1]
    counts, levels = {}, tuple(features)
    stock = cut_consumers(consumers, len(levels), width)
    for name, _, _, reading in readings(consumers, len(levels)):
        cut = stock[name].to('meta', torch.float32).eval()
        ran: set[nn.Module] = set()
        for module in cut.modules():
            module.register_forward_hook(partial(_note, ran))
        # The kernels that torch picks by itself on a CPU are not counted.
        with (
            FlopCounterMode(display=False) as counter,
            sdpa_kernel(SDPBackend.MATH),
            torch.no_grad(),
        ):
            outputs = cut(levels)
        flops = counter.get_flop_counts()
        for path, module in cut.named_modules(prefix=type(cut).__name__):
            has_matrix = any(p.ndim > 1 for p in module.parameters(False))
            if has_matrix and module in ran and not flops.get(path):
                warnings.warn(
                    f'{name}: {path} is a {type(module).__name__}, of which '
                    "torch's flop counter counts nothing; the MACs leave it "
                    'out',
                    stacklevel=2,
                )
        params = sum(p.numel() for p in cut.parameters())
        counts[name] = Count(counter.get_total_flops() // 2, params)
        levels = outputs if reading.live else levels
    return counts


def _note(ran: set[nn.Module], module: nn.Module, *call: Any) -> None:
    """A hook that notes which modules run."""
    ran.add(module)
