"""Which subnet is active, and in what copies of a network."""

import copy
import pickle

import pytest
import torch
from toys import (
    close,
    images,
    member,
    randomise,
    small_stock,
    small_vit,
)

from eavit_mm.models import ElasticVisionTransformer
from eavit_mm.space import Subnet


def test_use_restores_what_was_active() -> None:
    vit = randomise(small_vit())
    x, other = images(), member(8, (1, 6, 0), (0, 1, 20))
    expected = {}
    for subnet in (None, member(), other):
        with vit.use(subnet):
            expected[subnet] = vit(x)

    def runs(subnet: Subnet | None) -> None:
        assert vit.subnet == subnet
        close(vit(x), expected[subnet], 1e-6)

    with vit.use(member()):
        with vit.frozen(other):
            runs(other)
            for inner in (None, member()):
                with vit.use(inner):
                    runs(inner)
                runs(other)
            vit.set_subnet(member())  # drops the slices
            runs(member())
        runs(member())
    runs(None)
    with pytest.raises(RuntimeError, match='stop'), vit.frozen(other):
        raise RuntimeError('stop')
    runs(None)
    vit.set_subnet(other)
    runs(other)


def test_foreign_subnet() -> None:
    """As the space words it."""
    vit, words = small_vit(), 'embed_dims=13 is outside this space'
    vit.set_subnet(member(8))
    for manner in (vit.use, vit.frozen):
        with pytest.raises(ValueError, match=words), manner(member(13)):
            pass
    with pytest.raises(ValueError, match=words):
        vit.set_subnet(member(13))
    assert vit.subnet == member(8)


def test_a_step_between_two_passes_is_seen() -> None:
    """Slices are views: nothing of a pass outlives it."""
    vit = randomise(small_vit())
    x = images()
    with vit.use(member()):
        before = vit(x)[0].detach()
        vit(x)[0].sum().backward()
        torch.optim.SGD(vit.parameters(), 0.1).step()
        after = vit(x)[0].detach()
        # As an EMA swap does it: the version of the tensor stays.
        vit.layers[0].attn.qkv.weight.data.mul_(2)
        assert not torch.allclose(after, vit(x)[0])
    assert not torch.allclose(before, after)


# Copies


def manners(vit: ElasticVisionTransformer) -> dict:
    return dict(
        none=vit.use(None), use=vit.use(member()), frozen=vit.frozen(member())
    )


@pytest.mark.parametrize('manner', ['none', 'use', 'frozen'])
@pytest.mark.parametrize(
    'duplicate',
    [copy.deepcopy, lambda vit: pickle.loads(pickle.dumps(vit))],
    ids=['deepcopy', 'pickle'],
)
def test_copies_are_independent(manner: str, duplicate) -> None:
    vit = randomise(small_vit())
    x = images()
    with torch.no_grad():
        with vit.use(member()):
            sliced = vit(x)
        with manners(vit)[manner]:
            twin = duplicate(vit)
        # The copy's weights change, the original's outputs do not.
        randomise(twin, seed=8)
        with vit.use(member()):
            close(vit(x), sliced, 0.0)
        fresh = randomise(small_vit(), seed=8)
        fresh.set_subnet(twin.subnet)  # no slices came along
        close(twin(x), fresh(x), 1e-6)
        for subnet in (None, member(), member(8)):
            with twin.use(subnet), fresh.use(subnet):
                close(twin(x), fresh(x), 0.0)
        with twin.use(member(8)):
            assert vit.subnet is None
    # Loading a copy resizes for the copy, not for the original.
    larger = randomise(small_stock(img_size=(12, 12)), seed=4).state_dict()
    twin.load_state_dict(larger)
    assert twin.pos_embed.shape == vit.pos_embed.shape
