import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from eavit_mm.space import SearchSpace, Subnet

from .strategies import spaces, spaces_and_members

TINY = SearchSpace([8, 16], [1, 2], [4, 8, 9], 3, 8, max_off=2)


@given(spaces_and_members())
def test_decode_inverts_encode(case):
    space, member = case
    genes = space.encode(member)
    low, high = space.genome.bounds
    assert genes.shape == low.shape == high.shape
    assert ((low <= genes) & (genes <= high)).all()
    assert space.decode(genes) == member
    assert space.decode(genes.tolist()) == member


@given(spaces(), st.data())
def test_every_genome_within_bounds_is_a_member_or_has_too_many_off(
    space, data
):
    low, high = space.genome.bounds
    genes = [
        data.draw(st.integers(a, b)) for a, b in zip(low, high, strict=True)
    ]
    # The plain function leaves max_off to the space.
    subnet = space.build(*space.genome.decode(genes))
    if subnet.num_off > space.max_off:
        with pytest.raises(ValueError, match='branches are off, max_off='):
            space.decode(genes)
        return
    assert space.decode(genes) == subnet
    assert space.contains(subnet)
    # A closed cell forgets its index, and that is all that is lost.
    assert space.decode(space.encode(subnet)) == subnet


@given(spaces(free=True))
def test_a_free_space_has_one_gene_per_branch_and_one_more(space):
    low, high = space.genome.bounds
    assert len(low) == 1 + 2 * space.num_layers
    # Off is one more value of the branch's own gene.
    counts = [len(space.embed_dims)]
    for axis in ('num_heads', 'feedforward_channels'):
        counts += [
            len(choices) + bool(space.max_off)
            for choices in getattr(space, axis)
        ]
    assert (high - low + 1).tolist() == counts
    if not space.max_off:
        assert space.decode(high) == space.largest


def test_off_genes_of_cells_with_several_branches():
    space = SearchSpace(
        [8, 16], [1, 2], [4, 8], 2, 8, max_off=4, shared=['num_heads']
    )
    # Embedding, heads of all layers, FFN of each; then on/off of the heads.
    member = Subnet(16, (0, 2), (0, 4), 8)
    assert space.encode(member).tolist() == [1, 1, 0, 1, 0, 1]


@pytest.mark.parametrize(
    ('genes', 'words'),
    [
        *(
            (genes, 'a genome of this space has 7 integers')
            for genes in ([0] * 6, [0] * 8, [[1] * 7], [1.0] * 7, [True] * 7)
        ),
        ([0, 0, -1, 0, 0, 0, 0], 'gene 2 is -1; must be 0 to 2'),
        ([1, 2, 2, 2, 3, 4, 3], 'gene 5 is 4; must be 0 to 3'),
    ],
)
def test_wrong_genomes_are_named(genes, words):
    with pytest.raises(ValueError, match=words):
        TINY.decode(genes)


@given(spaces(), spaces_and_members())
def test_encode_takes_members_only(space, case):
    stranger = case[1]
    assume(not space.contains(stranger))
    with pytest.raises(ValueError, match='searched for another supernet'):
        space.encode(stranger)
