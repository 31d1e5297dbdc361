"""Random small spaces, and slow, obvious twins of what a space computes."""

from dataclasses import replace
from itertools import accumulate, product

from hypothesis import strategies as st

from eavit_mm.space import Curriculum, Geometry, SearchSpace, Subnet

AXES = ('embed_dims', 'num_heads', 'feedforward_channels')
BRANCHES = AXES[1:]
WHOLE = ('embed_dims', 'head_dims')
TIES = (
    (),
    (('num_heads', 'feedforward_channels'),),
    (('embed_dims', 'num_heads'),),
    (('feedforward_channels', 'embed_dims'),),
    (AXES,),
)
# Two digits to the embedding, one to the heads: a swapped axis fails.
WIDEST = dict(embed_dims=40, num_heads=6, feedforward_channels=20)


def group_of(axis, ties):
    """The axes that share an index with this one, itself included."""
    for group in ties:
        if axis in group:
            return tuple(sorted(group))
    return (axis,)


def is_whole(axis, ties, shared):
    """Whether the axis has one index for all layers."""
    group = group_of(axis, ties)
    return any(name in (*WHOLE, *shared) for name in group)


@st.composite
def spaces(draw, free=False, nested=None, max_off=None):
    """Spaces of at most some thousand members, with every kind of tie."""
    num_layers = draw(st.integers(1, 3))
    most = 3 if num_layers < 3 else 2
    ties = () if free else draw(st.sampled_from(TIES))
    shared = () if free else draw(st.sets(st.sampled_from(BRANCHES)))
    if nested is None:
        nested = draw(st.booleans())
    counts = {}  # (group, layer or None) -> number of choices

    def count(axis, layer):
        whole = not nested or is_whole(axis, ties, shared)
        key = (group_of(axis, ties), None if whole else layer)
        if key not in counts:
            counts[key] = draw(st.integers(1, most))
        return counts[key]

    def choices(axis, layer):
        size = count(axis, layer)
        return draw(
            st.lists(
                st.integers(1, WIDEST[axis]),
                min_size=size,
                max_size=size,
                unique=True,
            )
        )

    values = dict(embed_dims=choices('embed_dims', 0))
    for axis in BRANCHES:
        values[axis] = (
            [choices(axis, layer) for layer in range(num_layers)]
            if nested
            else choices(axis, 0)
        )
    if max_off is None:
        max_off = draw(st.integers(0, 2 * num_layers))
    return SearchSpace(
        **values,
        num_layers=num_layers,
        head_dims=draw(st.integers(1, 8)),
        max_off=max_off,
        shared=sorted(shared),
        ties=ties,
    )


@st.composite
def scala_spaces(draw, **kwargs):
    """Likewise with heads of several widths, and mostly with a suffix."""
    space = draw(spaces(**kwargs))
    is_tied, number = draw(st.booleans()), len(space.embed_dims)
    sizes = (number, number) if is_tied else (2, 3)
    dims = st.lists(
        st.integers(1, 8), min_size=sizes[0], max_size=sizes[1], unique=True
    )
    ties = space.ties
    if is_tied:
        group = {*group_of('embed_dims', ties), *WHOLE}
        ties = [tie for tie in ties if 'embed_dims' not in tie] + [[*group]]
    return replace(
        space, head_dims=draw(dims), ties=ties, suffix_smallest=number > 1
    )


def product_of_widths(space, extra=()):
    """All subnets of the widths of a space (and extra), ties ignored."""
    heads, ffns = (
        [sorted({0, *choices, *extra}) for choices in getattr(space, axis)]
        for axis in BRANCHES
    )
    dims, smallest = space.choices('head_dims'), min(space.embed_dims)
    for embed in sorted({*space.embed_dims, *extra}):
        is_last = space.suffix_smallest and embed == smallest
        side = 'suffix' if is_last else 'prefix'
        for D, num_heads in product(dims, product(*heads)):
            for channels in product(*ffns):
                yield Subnet(embed, num_heads, channels, D, side)


def is_member(space, subnet):
    """The definition of a space, said once more without cells."""
    if subnet.embed_dims not in space.embed_dims:
        return False
    widths = {(axis, 0): getattr(subnet, axis) for axis in WHOLE}
    for axis in BRANCHES:
        for layer, width in enumerate(getattr(subnet, axis)):
            if width:
                widths[axis, layer] = width
    seen = {}
    for (axis, layer), width in widths.items():
        choices = space.choices(axis, layer)
        if width not in choices:
            return False
        whole = is_whole(axis, space.ties, space.shared)
        key = (group_of(axis, space.ties), None if whole else layer)
        index = sorted(choices).index(width)
        if seen.setdefault(key, index) != index:
            return False
    off = [*subnet.num_heads, *subnet.feedforward_channels].count(0)
    return off <= space.max_off


def members(space):
    """Every member, by trying all widths."""
    return {s for s in product_of_widths(space) if is_member(space, s)}


@st.composite
def spaces_and_members(draw, of=spaces, **kwargs):
    """A space and one of its members, branches off among them."""
    space = draw(of(**kwargs))
    genes = [
        draw(st.integers(0, cell.num_choices - 1)) for cell in space.cells
    ]
    off = draw(st.permutations(space.branches))
    number = draw(st.integers(0, space.max_off))
    return space, space.build(genes, off[:number])


@st.composite
def prices(draw, space, lowest=0, highest=6):
    """A cost that adds up over branches and rises with no width.

    Few different integers: there are ties.
    """
    price = st.integers(lowest, highest)
    stems = {e: draw(price) for e in space.embed_dims}
    parts = {
        (embed, axis, layer, width): draw(price)
        for embed in space.embed_dims
        for axis, layer in space.branches
        for width in space.choices(axis, layer)
    }

    def cost(subnet):
        return stems[subnet.embed_dims] + sum(
            parts[subnet.embed_dims, axis, layer, width]
            for axis, layer in space.branches
            if (width := getattr(subnet, axis)[layer])
        )

    return cost


@st.composite
def level_lists(draw, space):
    """Valid levels of a curriculum that reaches the space."""
    number = draw(st.integers(1, 4))

    def several(values):
        return draw(st.lists(values, min_size=number, max_size=number))

    def steps(values, last, falls=False):
        return [*sorted(several(values), reverse=falls)[:-1], last]

    columns = {}
    for axis in AXES:
        layers = range(space.num_layers)
        widest = max(space.largest.width(axis, i) for i in layers)
        columns[axis] = steps(st.integers(1, widest), 1, falls=True)
    most = space.max_off
    columns['max_off'] = steps(st.integers(0, most), most)
    columns['p_off'] = steps(st.sampled_from([0.0, 0.25, 0.5]), 0.5)
    levels, before = [], {}
    for begin in accumulate(several(st.integers(1, 5))):
        level = {key: column[len(levels)] for key, column in columns.items()}
        # What a level leaves out stays as it was.
        kept = {
            key: value
            for key, value in level.items()
            if before.get(key) != value or draw(st.booleans())
        }
        levels.append(dict(begin=begin if levels else 0, **kept))
        before = level
    return levels


@st.composite
def curricula(draw, **kwargs):
    """A space and a curriculum that reaches it."""
    space = draw(spaces(**kwargs))
    return Curriculum(space, draw(level_lists(space)))


def plain_geometry(
    num_layers, head_dims, num_patches, patch_dims, num_extra_tokens=0
):
    """The geometry of a stock ViT."""
    return Geometry(
        num_patches=num_patches,
        num_extra_tokens=num_extra_tokens,
        patch_dims=patch_dims,
        head_dims=head_dims,
        num_layers=num_layers,
        swiglu=(False,) * num_layers,
    )


def costs_of(space):
    """MACs and parameters of a stock ViT on 4 x 4 patches of 48 values."""
    most = space.largest.head_dims
    shape = plain_geometry(space.num_layers, most, 16, 48, 1)

    def params(subnet):
        E = subnet.embed_dims
        total = (48 + 1 + 17 + 1 + 2) * E  # patches, positions, token, norm
        for heads in filter(None, subnet.num_heads):
            A = heads * subnet.head_dims
            total += 4 * E * A + 3 * A + 3 * E
        for F in filter(None, subnet.feedforward_channels):
            total += 2 * E * F + F + 3 * E
        return total

    return dict(macs=shape.macs, params=params)
