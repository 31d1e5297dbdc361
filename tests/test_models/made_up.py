"""Necks and heads of every shape that a consumer can have, made up.

Small stand-ins for heads of segmentation: convolutions at a resolution,
norms first, backbone channels read twice, levels that a neck passes on.
"""

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from mmpretrain.models.utils import LayerNorm2d
from torch import Tensor, nn

from eavit_mm.models import OPEN, Leaf, Reading
from eavit_mm.models.consumers import _DESCRIBE, register_consumer

Levels = tuple[Tensor, ...]
C, OWN, CLASSES = 24, 7, 3


class ConvHead(nn.Module):
    """A convolution over the last level, then its own BatchNorm."""

    def __init__(self, channels: int, levels: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, OWN, 3, padding=1)
        self.bn = nn.BatchNorm2d(OWN)
        self.cls = nn.Conv2d(OWN, CLASSES, 1)

    def forward(self, x: Levels) -> Tensor:
        return self.cls(self.bn(self.conv(x[-1])).relu())


class ConcatHead(ConvHead):
    """Reads the channels a second time, between two of its own (FCN)."""

    def __init__(self, channels: int, levels: int = 1) -> None:
        super().__init__(channels)
        self.cat = nn.Conv2d(OWN + channels + OWN, CLASSES, 1)

    def forward(self, x: Levels) -> Tensor:
        own = self.bn(self.conv(x[-1])).relu()
        return self.cat(torch.cat((own, x[-1], own + 1), 1))


class TwiceHead(nn.Module):
    """Normalises and maps two copies of the channels and its own at once."""

    def __init__(self, channels: int, levels: int = 1) -> None:
        super().__init__()
        self.norm = LayerNorm2d(2 * channels + OWN)
        self.conv = nn.Conv2d(2 * channels + OWN, CLASSES, 1, bias=False)
        self.own = nn.Parameter(torch.zeros(OWN, 1, 1))

    def forward(self, x: Levels) -> Tensor:
        own = self.own.expand(len(x[-1]), -1, *x[-1].shape[2:])
        return self.conv(self.norm(torch.cat((x[-1], own, x[-1].sin()), 1)))


class PyramidNeck(nn.Module):
    """The first level becomes its own, the others pass (Feature2Pyramid)."""

    def __init__(self, channels: int, levels: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(channels, OWN, 2, stride=2)

    def forward(self, x: Levels) -> Levels:
        rest = [F.max_pool2d(level, 2) for level in x[2:]]
        return (self.up(x[0]), x[1], *rest)


class LevelsHead(nn.Module):
    """One convolution for each level, whoever it comes from (UPerHead)."""

    def __init__(self, *channels: int) -> None:
        super().__init__()
        maps = [nn.Conv2d(c, CLASSES, 1) for c in channels]
        self.convs = nn.ModuleList(maps)

    def forward(self, x: Levels) -> Tensor:
        outs = zip(self.convs, x, strict=True)
        return sum(conv(level).mean((2, 3)) for conv, level in outs)


class Parts(nn.Module):
    """Its modules, and what it does with the last level."""

    def __init__(self, run: Callable[..., Tensor], **parts: nn.Module) -> None:
        super().__init__()
        self.run = run
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, x: tuple[Tensor, ...]) -> Tensor:
        return self.run(self, x[-1])


def conv(outs: int = CLASSES) -> nn.Conv2d:
    return nn.Conv2d(C, outs, 1)


def last_axis(level: Tensor) -> Tensor:
    return level.permute(0, 2, 3, 1)


def first_axis(x: Tensor) -> Tensor:
    return x.permute(0, 3, 1, 2)


# Other ways to read, to call a leaf, and to fill closed channels before one.
PARTS: dict[str, Callable[[], Parts]] = dict(
    norms_first=lambda: Parts(
        lambda s, x: s.conv(s.bn(first_axis(s.ln(last_axis(x))))),
        ln=nn.LayerNorm(C),
        bn=nn.BatchNorm2d(C),
        conv=conv(),
    ),
    map_first=lambda: Parts(
        lambda s, x: s.cls(
            s.passing_up(first_axis(s.ln(s.passing_map(last_axis(x)))))
        ),
        passing_map=nn.Linear(C, C),
        ln=nn.LayerNorm(C),
        passing_up=nn.ConvTranspose2d(C, C, 2, stride=2),
        cls=conv(),
    ),
    output_size=lambda: Parts(
        lambda s, x: s.up(x, output_size=(6, 9)),
        up=nn.ConvTranspose2d(C, 4, 2, stride=3),
    ),
    channel_last=lambda: Parts(
        lambda s, x: s.map(s.norm(last_axis(x), data_format='channel_last')),
        norm=LayerNorm2d(C),
        map=nn.Linear(C, 4),
    ),
    keyword=lambda: Parts(
        lambda s, x: s.conv(input=s.bn(input=s.norm(x=x))),
        norm=LayerNorm2d(C),
        bn=nn.BatchNorm2d(C),
        conv=conv(),
    ),
    one_map=lambda: Parts(
        lambda s, x: torch.stack([s.conv(each) for each in x]), conv=conv()
    ),
    # Closed channels become a half on the way.
    sigmoid=lambda: Parts(
        lambda s, x: s.conv(s.passing(x).sigmoid()),
        passing=conv(C),
        conv=conv(),
    ),
    # And not finite.
    inverse=lambda: Parts(
        lambda s, x: s.conv(x.masked_fill(x == 0, torch.inf)), conv=conv()
    ),
)


# Necks and heads in the order of the flow; all three levels come from a ViT.
FLOWS: dict[str, Callable[[], dict[str, nn.Module]]] = dict(
    conv=lambda: dict(head=ConvHead(C)),
    concat=lambda: dict(head=ConcatHead(C)),
    twice=lambda: dict(head=TwiceHead(C)),
    pyramid=lambda: dict(
        neck=PyramidNeck(C, 3), head=LevelsHead(OWN, C, C), other=ConvHead(C)
    ),
    **{
        name: lambda build=build: dict(head=build())
        for name, build in PARTS.items()
    },
)


def register_made_up() -> Iterator[None]:
    """Declares all of these; forgets them when it is resumed."""
    before = dict(_DESCRIBE)
    readings = {
        ConvHead: {'conv': Leaf()},
        ConcatHead: {'conv': Leaf(), 'cat': Leaf((OWN, OPEN, OWN))},
        TwiceHead: dict.fromkeys(('norm', 'conv'), Leaf((OPEN, OWN, OPEN))),
    }
    for kind, leaves in readings.items():
        reading = Reading(leaves)
        register_consumer(kind, lambda head, live, r=reading: r)
    register_consumer(
        PyramidNeck,
        lambda neck, live: Reading({'up': Leaf()}, (False, *live[1:])),
    )
    register_consumer(
        LevelsHead,
        lambda head, live: Reading(
            {f'convs.{i}': Leaf() for i, is_live in enumerate(live) if is_live}
        ),
    )
    register_consumer(
        Parts,
        lambda head, live: Reading(
            {
                name: Leaf(passes=name.startswith('passing'))
                for name, _ in head.named_children()
            }
        ),
    )
    yield
    _DESCRIBE.clear()
    _DESCRIBE.update(before)
