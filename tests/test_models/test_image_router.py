"""Images of a batch get subnets of their own, each its own result."""

import json
import re
from typing import Any

import pytest
import torch
from fronts import front_of, randomise_vit
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from test_engine.toys import model_cfg

import eavit_mm  # noqa: F401
from eavit_mm.models import AdaptiveClassifier
from eavit_mm.models.image_router import (
    Held,
    image_inputs,
    level_costs,
    seen_through,
)

torch.set_num_threads(1)


def routed(levels: int = 3, **options: Any) -> Any:
    """A toy supernet with random weights and made-up prices."""
    torch.manual_seed(0)
    adaptive = dict(num_levels=levels, hidden=8, **options)
    router = dict(type='eavit_mm.RouterHead', adaptive=adaptive)
    model: Any = MODELS.build(model_cfg(router=router))
    randomise_vit(model)
    model.router.set_front(front_of(model))
    space = model.backbone.space
    images = model.router.images
    for p in images.mlp.parameters():
        p.data.normal_()
    # Scores are large, and much the same for all images of such a network.
    images.mlp[0].weight.data[:, -5:] = 0
    images.mlp[0].weight.data *= 5
    sizes = torch.linspace(0.2, 1, levels).tolist()
    images.levels = tuple(space.uniform(s) for s in sizes)
    images.held_out = (Held(0.0, 0.9, 0.8), Held(0.3, 0.4, 0.7))
    model.eval()
    # All levels equally likely, so that all are chosen.
    with torch.no_grad():
        x = 3 * torch.randn(50, 1, 8, 8)
        inputs, _ = seen_through(model, images.levels[0], x)
        images.mlp[2].bias -= images.mlp(inputs).mean(dim=0)
    return model


@pytest.mark.parametrize('seed', range(5))
def test_each_image_gets_what_its_level_gives_alone(seed: int) -> None:
    model = routed()
    rng = torch.Generator().manual_seed(seed)
    x = 3 * torch.randn(9, 1, 8, 8, generator=rng)
    with torch.no_grad():
        network = AdaptiveClassifier(model, 0.95)
        logits, levels = network.classify(x)
        assert len(levels.unique()) > 1
        for image, found, level in zip(x, logits, levels, strict=True):
            subnet = model.router.images.levels[level]
            with model.backbone.use(subnet):
                alone = model(image[None], mode='tensor')[0]
            torch.testing.assert_close(found, alone, atol=1e-5, rtol=1e-5)
        # The choice does not depend on the other images of a batch.
        for i in range(len(x)):
            assert network.classify(x[i : i + 1])[1] == levels[i]
    assert model.backbone.subnet is None


def test_predictions_tell_their_cost() -> None:
    model = routed()
    rng = torch.Generator().manual_seed(1)
    x = 3 * torch.randn(6, 1, 8, 8, generator=rng)
    network = AdaptiveClassifier(model, '1MMACs')
    samples = [DataSample() for _ in x]
    with torch.no_grad():
        _, levels = network.classify(x)
        found = network(x, samples, mode='predict')
    images = model.router.images
    largest = model.macs()['total']
    for sample, level in zip(found, levels.tolist(), strict=True):
        macs = model.macs(images.levels[0])['total'] + images.macs
        if level:
            macs += model.macs(images.levels[level])['total']
        assert sample.macs == macs
        assert sample.pred_label.shape == (1,)
    base, extra = level_costs(model)
    assert (
        base * largest == model.macs(images.levels[0])['total'] + images.macs
    )
    assert extra[0] == 0
    with pytest.raises(RuntimeError, match='does not train'):
        network(x, samples, mode='loss')


def test_a_price_moves_images_to_cheaper_levels() -> None:
    model = routed(4)
    images = model.router.images
    inputs = torch.randn(64, 17, generator=torch.Generator().manual_seed(2))
    _, extra = level_costs(model)
    costs = torch.tensor(extra)
    means = [
        costs[images.choose(inputs, price, extra)].mean().item()
        for price in (0.0, 0.1, 0.5, 1.0, 10.0, 1e4)
    ]
    assert means == sorted(means, reverse=True)
    assert means[0] > means[-1] == 0


def test_budgets_take_the_best_price_that_fits() -> None:
    images = routed().router.images
    images.held_out = (
        Held(0.0, 0.9, 0.80),
        Held(0.1, 0.6, 0.82),
        Held(0.2, 0.5, 0.82),
        Held(0.3, 0.2, 0.60),
    )
    assert images.price_for(1.0).price == 0.2
    assert images.price_for(0.55).price == 0.2
    assert images.price_for(0.3).price == 0.3
    with pytest.raises(ValueError, match=r'20\.0% to 90\.0% can'):
        images.price_for(0.1)


def test_inputs_are_of_one_length() -> None:
    for classes in (2, 3, 50):
        logits = torch.randn(4, classes)
        for features in (torch.randn(4, 12), torch.randn(4, 12, 3, 3)):
            inputs = image_inputs(features, logits)
            assert inputs.shape == (4, 17)
            assert inputs.isfinite().all()
    # The order of classes says nothing.
    one = image_inputs(features, logits)
    other = image_inputs(features, logits.flip(1))
    torch.testing.assert_close(one, other)


def test_a_checkpoint_brings_levels_and_prices() -> None:
    model = routed()
    state = model.state_dict()
    other = routed()
    images = other.router.images
    images.levels = images.held_out = ()
    other.load_state_dict(state)
    assert images.levels == model.router.images.levels
    assert images.held_out == model.router.images.held_out
    # A config without them leaves them out, and one with them starts anew.
    router = dict(type='eavit_mm.RouterHead')
    plain: Any = MODELS.build(model_cfg(router=router))
    plain.load_state_dict(state)
    assert plain.router.images is None
    fresh = routed()
    fresh.router.images.held_out = ()
    fresh.load_state_dict(plain.state_dict())
    assert fresh.router.images.held_out == ()


def test_training_leaves_it_alone() -> None:
    model = routed()
    assert not any(p.requires_grad for p in model.router.images.parameters())


@pytest.mark.parametrize(
    'values',
    [
        b'',
        b'[]',
        b'{"levels": [{}], "held_out": []}',
        b'{"levels": [], "held_out": [["a", 1, 2]]}',
        b'{"levels": [], "held_out": [[1, 2]]}',
    ],
)
def test_broken_levels_are_refused(values: bytes) -> None:
    model = routed()
    before = model.router.images.levels
    text = torch.frombuffer(bytearray(values or b' '), dtype=torch.uint8)
    with pytest.raises(ValueError, match='levels beside the router are brok'):
        model.router.images.set_extra_state(text)
    assert model.router.images.levels == before


def test_levels_of_another_space_are_refused() -> None:
    model = routed()
    subnet = model.backbone.space.smallest.to_dict()
    subnet['embed_dims'] = 5
    text = json.dumps(dict(levels=[subnet], held_out=[])).encode()
    state = torch.frombuffer(bytearray(text), dtype=torch.uint8)
    with pytest.raises(ValueError, match='embed_dims'):
        model.router.images.set_extra_state(state)


@pytest.mark.parametrize(
    ('adaptive', 'words'),
    [
        (dict(num_levels=1), 'num_levels=1; must be an integer of at least 2'),
        (dict(hidden=0), 'router.adaptive.hidden=0'),
        (dict(lr=-1.0), 'router.adaptive.lr=-1.0'),
        (dict(levels=3), "router.adaptive={'levels': 3}; must be None or"),
        (7, 'router.adaptive=7; must be None or a dict'),
    ],
)
def test_wrong_options(adaptive: Any, words: str) -> None:
    router = dict(type='eavit_mm.RouterHead', adaptive=adaptive)
    with pytest.raises(ValueError, match=re.escape(words)):
        MODELS.build(model_cfg(router=router))


@pytest.mark.parametrize('budget', ['5ms', '1Mparams'])
def test_means_are_of_macs(budget: str) -> None:
    with pytest.raises(ValueError, match='a mean over images is one of MACs'):
        AdaptiveClassifier(routed(), budget)


def test_a_network_without_it_says_so() -> None:
    model: Any = MODELS.build(model_cfg())
    with pytest.raises(ValueError, match='does not route images'):
        AdaptiveClassifier(model, 0.5)
    model = routed()
    model.router.images.held_out = ()
    with pytest.raises(ValueError, match='does not route images'):
        AdaptiveClassifier(model, 0.5)
