"""Networks that cannot become a supernet, by the words of the error."""

import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS
from toys import (
    CLASSES,
    SPACE,
    SWIGLU,
    batch_of,
    member,
    options,
    sgd,
    small_vit,
)


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        (
            dict(patch_cfg=dict(conv_type='Conv2dAdaptivePadding')),
            'patch_embed: conv_type=.*only Conv2d can be sliced',
        ),
        (
            dict(norm_cfg=dict(type='BN1d')),
            'layers.0.ln1: norm BatchNorm1d cannot be sliced; only norm_cfg '
            "type 'LN' can",
        ),
        (
            dict(patch_cfg=dict(norm_cfg=dict(type='BN1d'))),
            'patch_embed.norm: norm BatchNorm1d cannot be sliced',
        ),
        (
            dict(norm_cfg=dict(type='LN', bias=False)),
            'layers.0.ln1: a LayerNorm without weight and bias cannot be',
        ),
        (
            dict(layer_cfgs=[{}, dict(num_fcs=3), {}]),
            'layer 1: num_fcs=3; only FFNs of 2 linear maps can be sliced',
        ),
        (
            dict(layer_cfgs=[{}, {}, dict(num_heads=4)]),
            'layer 2: head_dims=6, layer 0 has 4; all layers must have heads '
            'of one width',
        ),
        (
            dict(drop_path_rate=2.0),
            r'^drop_path_rate=2.0; must be in \[0, 1\)$',
        ),
        (dict(drop_path_rate=-0.1), r'^drop_path_rate=-0.1; must be in'),
        (
            dict(layer_cfgs=[{}, dict(drop_path_rate=3.0), {}]),
            '^drop_path_rate=3.0; must be in',
        ),
        (
            dict(arch={**options()['arch'], 'num_heads': 5}, space=None),
            'layer 0: embed_dims=24 does not divide into num_heads=5 heads',
        ),
        (
            dict(space={**SPACE, 'embed_dims': [8, 14]}),
            "the largest embed_dims is 14, the network's own is 24; the "
            'largest choice must be the whole network',
        ),
        (
            dict(layer_cfgs=SWIGLU),
            r'the largest feedforward_channels is \(20, 20, 20\), the '
            r"network's own is \(24, 24, 24\)",
        ),
        (
            dict(layer_cfgs=dict(act_cfg=dict(type='PReLU'))),
            r'layers.0.ffn.layers.0.1.weight: a weight of PReLU cannot be sli',
        ),
    ],
)
def test_refused_at_construction(changes: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        small_vit(**changes)


def test_without_a_space_only_the_network_itself() -> None:
    vit = small_vit(space=None)
    assert vit.space.size() == 1
    with pytest.raises(ValueError, match='embed_dims=14 is outside'):
        vit.set_subnet(member())


def test_a_stock_model_warns_that_it_trains_no_subnets(caplog, request):
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    request.addfinalizer(lambda: logger.removeHandler(caplog.handler))
    head = dict(type='LinearClsHead', num_classes=CLASSES, in_channels=24)

    def said(kind, **backbone):
        caplog.clear()
        vit = dict(type='eavit_mm.ElasticVisionTransformer', **options())
        vit.update(backbone)
        parts = dict(backbone=vit, head=head)
        with DefaultScope.overwrite_default_scope('mmpretrain'):
            model = MODELS.build(dict(type=kind, **parts))
        batch = batch_of(0)
        batch['inputs'] = batch['inputs'].float()
        for _ in range(2):
            model.train_step(dict(batch), sgd(model))
        with torch.no_grad():
            model.eval()
            model(batch['inputs'])
        return caplog.text.count("'eavit_mm.ElasticImageClassifier'")

    assert said('ImageClassifier', space=SPACE) == 1
    assert said('ImageClassifier') == 0  # one subnet alone
    assert said('eavit_mm.ElasticImageClassifier', space=SPACE) == 0
