"""The config of an export says nothing of subnets."""

from mmengine.config import Config
from tool_runs import DIGITS

from eavit_mm.export.config import (
    backbone_config,
    config_text,
    dense_config,
    plain_config,
)

from .toys import config, member, supernet

DENSE = dict(type='ImageClassifier', backbone=dict(type='x'))

HOOKS = dict(
    default_hooks=dict(
        checkpoint=dict(
            type='eavit_mm.AtomicCheckpointHook', save_best='auc', interval=2
        ),
        reproducible=dict(type='eavit_mm.ReproducibleHook'),
        supernet_meta=dict(type='eavit_mm.SupernetMetaHook'),
        logger=dict(interval=50),
        timer=None,
    ),
    custom_hooks=[
        dict(type='eavit_mm.CurriculumHook', levels=[]),
        dict(type='EMAHook'),
    ],
)


def test_the_model_has_nothing_elastic():
    cfg = config()
    model = supernet(cfg)
    cfg.model.update(new_head=True, init_cfg=dict(type='x'), pretrained='y')
    cfg.model.backbone.init_cfg = dict(type='z')
    cfg.model.backbone.layer_cfgs = [
        dict(num_heads=6, feedforward_channels=20, attn_drop_rate=0.1)
    ] * 2
    before = cfg.to_dict()
    dense = dense_config(model, cfg.model, member())
    assert cfg.to_dict() == before
    assert dense == dict(
        type='ImageClassifier',
        backbone=dict(
            type='eavit_mm.SlimVisionTransformer',
            arch=dict(
                num_layers=2,
                embed_dims=14,
                num_heads=[2, 0],
                feedforward_channels=[0, 7],
                head_dims=4,
            ),
            img_size=(8, 12),
            patch_size=4,
            layer_cfgs=[dict(attn_drop_rate=0.1)] * 2,
        ),
        head=dict(type='LinearClsHead', num_classes=9, in_channels=14),
        neck=None,
    )


def test_what_stays_and_what_goes():
    cfg = config(
        train_cfg=dict(by_epoch=True, max_epochs=3),
        val_cfg=dict(type='eavit_mm.SubnetValLoop', subnets=dict(a=1.0)),
        test_cfg=dict(fp16=True),
        search_cfg=dict(type='eavit_mm.ParetoSearchLoop'),
        search_dataloader=dict(batch_size=1),
        model_wrapper_cfg=dict(type='eavit_mm.X'),
        work_dir='w',
        launcher='none',
        load_from='old.pth',
        optim_wrapper=dict(clip_grad=dict(max_norm=1.0)),
        **HOOKS,
    )
    before = cfg.to_dict()
    plain = plain_config(cfg, DENSE)
    assert cfg.to_dict() == before
    model = plain.pop('model')
    assert model == DENSE
    assert plain == dict(
        default_scope='mmpretrain',
        train_cfg=dict(by_epoch=True, max_epochs=3),
        val_cfg={},
        test_cfg=dict(fp16=True),
        optim_wrapper=dict(clip_grad=dict(max_norm=1.0)),
        load_from='{{fileDirname}}/model.pth',
        custom_imports=dict(imports=['eavit_mm']),
        default_hooks=dict(
            checkpoint=dict(
                type='eavit_mm.AtomicCheckpointHook',
                save_best='auto',
                interval=2,
            ),
            reproducible=dict(type='eavit_mm.ReproducibleHook'),
            logger=dict(interval=50),
            timer=None,
        ),
        custom_hooks=[dict(type='EMAHook')],
    )


def test_text_is_read_as_it_was(tmp_path):
    cfg = Config.fromfile(DIGITS.with_name('vitb_flowers.py'))
    subnet = member(384, (6,) * 12, (768,) * 12)
    backbone = backbone_config(cfg.model.backbone, subnet)
    head = dict(cfg.model.head, in_channels=384)
    dense = dict(type='ImageClassifier', backbone=backbone, head=head)
    plain = plain_config(cfg, dense)
    path = tmp_path / 'config.py'
    path.write_text(config_text(plain))
    read = Config.fromfile(path).to_dict()
    assert read.pop('load_from') == f'{tmp_path}/model.pth'
    del plain['load_from']
    assert read == plain
    assert 'Subnet' not in path.read_text()
    assert 'Elastic' not in path.read_text()


def test_imports_of_the_user_stay():
    imports = dict(imports=['mine', 'eavit_mm'], allow_failed_imports=True)
    for given, names in (
        (imports, ['mine', 'eavit_mm']),
        (dict(imports=['mine']), ['mine', 'eavit_mm']),
        (dict(imports='mine'), ['mine', 'eavit_mm']),
    ):
        cfg = config(custom_imports=given)
        found = plain_config(cfg, DENSE)
        assert found['custom_imports'] == {**given, 'imports': names}
