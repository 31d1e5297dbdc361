"""The supernet: what it draws, and how it stands in for the stock model."""

import pytest
import torch
from mmengine.logging import MessageHub
from mmpretrain.registry import MODELS
from steps import UNIFORM
from toys import (
    batch_of,
    classifier,
    images,
    options,
    sgd,
)

pytestmark = pytest.mark.usefixtures('run_seed')


def test_draws_are_a_function_of_seed_and_iteration() -> None:
    hub = MessageHub.get_current_instance()
    model, other = classifier(sampler=UNIFORM), classifier(sampler=UNIFORM)
    draws = [model.draw_subnets(i) for i in range(30)]
    # Whatever was drawn before, and whatever else is random.
    torch.manual_seed(99)
    again = [other.draw_subnets(i) for i in reversed(range(30))][::-1]
    assert again == draws
    assert len({tuple(drawn) for drawn in draws}) > 25
    assert all(model.backbone.space.contains(s) for d in draws for s in d)
    hub.update_info('seed', 6)
    assert [model.draw_subnets(i) for i in range(30)] != draws
    hub.update_info('seed', 5)
    assert [model.draw_subnets(i) for i in range(30)] == draws


@pytest.mark.parametrize('per_rank', [False, True])
def test_ranks(monkeypatch: pytest.MonkeyPatch, per_rank: bool) -> None:
    model = classifier(sampler=UNIFORM, draw_per_rank=per_rank)
    draws = []
    for rank in range(3):
        monkeypatch.setattr(
            'eavit_mm.models.elastic_model.get_rank', lambda r=rank: r
        )
        draws.append(tuple(map(tuple, map(model.draw_subnets, range(5)))))
    assert len(set(draws)) == (3 if per_rank else 1)


def test_classifier_of_stock_types() -> None:
    """A stock config with two types exchanged, preprocessor included."""
    model = MODELS.build(
        dict(
            type='eavit_mm.ElasticImageClassifier',
            data_preprocessor=dict(mean=[1, 2, 3], std=[4, 5, 6]),
            train_cfg=dict(augments=dict(type='Mixup', alpha=0.8)),
            backbone=dict(
                type='eavit_mm.ElasticVisionTransformer', **options()
            ),
            head=dict(
                type='LinearClsHead',
                num_classes=9,
                in_channels=24,
                loss=dict(type='CrossEntropyLoss', use_soft=True),
            ),
        )
    )
    data = batch_of(0)
    for sample in data['data_samples']:
        sample.set_gt_score(torch.full((9,), 1 / 9))
    assert model.train_step(data, sgd(model))['loss'].isfinite()
    with torch.no_grad():
        predictions = model.val_step(dict(inputs=images()))
    assert predictions[0].pred_score.shape == (9,)


def test_images_of_another_number_of_channels() -> None:
    for numbers in ([1], [1, 2, 3]):
        classifier(data_preprocessor=dict(mean=numbers, std=numbers))
    with pytest.raises(
        ValueError,
        match=r'data_preprocessor: std=\[4, 5\]; must be .* in_channels=3 of',
    ):
        classifier(data_preprocessor=dict(mean=[1, 2, 3], std=[4, 5]))
