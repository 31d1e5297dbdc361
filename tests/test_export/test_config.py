"""The config of an export says nothing of subnets."""

import pytest
from mmengine.config import Config
from mmpretrain.datasets import CustomDataset
from tool_runs import DIGITS

from eavit_mm.export.config import (
    config_text,
    dataset_meta,
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
    cfg.model.head.init_cfg = [dict(type='Pretrained', checkpoint='/x.pth')]
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
        stage1='/home/me/stage1.py',
        max_epochs=3,
        load_from='old.pth',
        optim_wrapper=dict(
            clip_grad=dict(max_norm=1.0),
            paramwise_cfg=dict(custom_keys={'router': dict(lr_mult=9.0)}),
        ),
        val_evaluator=None,
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


def test_what_watches_a_subnet_watches_the_network():
    late = dict(type='CosineAnnealingLR', begin=1)
    of_half = dict(type='ReduceOnPlateauLR', monitor='half/accuracy/top1')
    stop = dict(type='EarlyStoppingHook', monitor='auc')
    best = dict(stop, monitor='0.5/accuracy/top1', patience=3)
    cfg = config(
        custom_hooks=[stop, best],
        param_scheduler=[late, of_half],
        val_cfg=dict(type='eavit_mm.SubnetValLoop'),
    )
    plain = plain_config(cfg, DENSE)
    top1 = dict(monitor='accuracy/top1')
    assert plain['custom_hooks'] == [dict(best, **top1)]
    assert plain['param_scheduler'] == [late, dict(of_half, **top1)]
    # By name too, and of several optimizers.
    cfg.default_hooks = dict(logger=dict(interval=5), stop=stop, best=best)
    cfg.param_scheduler = dict(a=[late, dict(of_half, monitor='auc')], b=late)
    plain = plain_config(cfg, DENSE)
    assert plain['param_scheduler'] == dict(a=[late], b=late)
    assert plain['default_hooks'] == dict(
        logger=dict(interval=5), best=dict(best, **top1)
    )
    # A loop of one network reports what it is asked for already.
    cfg.val_cfg = dict(type='ValLoop')
    assert plain_config(cfg, DENSE)['custom_hooks'] == [stop, best]


def folder_config(channels: int):
    """Of classes in folders, whose names no class of a data set knows."""
    steps = [dict(type='PackInputs')]
    images = dict(type='CustomDataset', pipeline=steps)
    if channels > 1:
        steps.insert(0, dict(type='LoadImageFromFile'))
    split = dict(type='eavit_mm.Split', part='train', parts=dict(train=None))
    cfg = config(
        train_dataloader=dict(
            dataset=dict(split, dataset=dict(images, data_prefix="it's/train"))
        ),
        val_dataloader=dict(dataset=dict(images, data_prefix='test')),
        test_dataloader=dict(dataset=dict(images, data_prefix='test')),
        data_preprocessor=dict(mean=[1.0], std=[2.0]),
        custom_hooks=[dict(type='EMAHook', strange={'class': 1, 'a-b': (2,)})],
        test_pipeline=['another'],
        visualizer=dict(type='UniversalVisualizer', _scope_='mmpretrain'),
    )
    train = cfg.train_dataloader.dataset.dataset.pipeline
    train.insert(0, dict(type='Resize', scale=8))
    cfg.model.backbone.in_channels = channels
    cfg.model.data_preprocessor = cfg.data_preprocessor
    return cfg


@pytest.mark.parametrize('channels', [1, 3])
def test_the_text_is_as_a_person_writes_it(tmp_path, channels):
    cfg = folder_config(channels)
    model = supernet(cfg)
    names = ["it's", *(f'class {i}' for i in range(8))]
    dense = dense_config(model, cfg.model, member())
    plain = plain_config(
        cfg, dense, dataset_meta(cfg, dict(dataset_meta=dict(classes=names)))
    )
    text = config_text(plain)
    folder = tmp_path / "a person's"
    folder.mkdir()
    (folder / 'config.py').write_text(text)
    read = Config.fromfile(folder / 'config.py').to_dict()
    assert read.pop('load_from') == f'{folder}/model.pth'
    del plain['load_from'], plain['visualizer']['_scope_']
    assert read == plain
    # What several parts share stands there once, in the order of a config.
    assert text.count("'class 7'") == text.count("'PackInputs'") - 1 == 1
    assert text.count('metainfo=dict(classes=classes)') == 2
    assert text.count('pipeline=test_pipeline') == 1
    assert 'test_dataloader = val_dataloader' in text
    assert max(map(len, text.splitlines())) < 80
    assert '{' not in text.split('"""')[0].replace("{'class'", '')
    assert 'data_preprocessor' not in read['model']
    # A file is read in gray, in colours by who leaves the first step out.
    first = [step['type'] for step in read['test_pipeline'][:-1]]
    assert first == (
        ['eavit_mm.LoadGrayImage'] if channels == 1 else ['LoadImageFromFile']
    )


def test_names_of_classes_are_those_of_the_head():
    cfg, nine = folder_config(3), list('abcdefghi')
    colours = [(i, 0, 9) for i in range(9)]
    for given, found in (
        (dict(classes=tuple(nine)), dict(classes=nine)),
        (dict(classes=tuple('abc')), {}),  # the head has nine
        (dict(classes='names.txt'), {}),
        (dict(classes=nine, palette=colours[:3]), dict(classes=nine)),
        (
            dict(classes=nine, palette=colours),
            dict(classes=nine, palette=list(map(list, colours))),
        ),
        (None, {}),
    ):
        assert dataset_meta(cfg, dict(dataset_meta=given)) == found
    cfg.test_dataloader.dataset.type = CustomDataset  # of a config in Python
    assert dataset_meta(cfg, {}) == {}
    digits = Config.fromfile(DIGITS)
    assert dataset_meta(digits, {}) == dict(classes=list('0123456789'))


def test_imports_of_the_user_stay():
    for given in (['mine', 'eavit_mm'], ['mine'], 'mine'):
        imports = dict(imports=given, allow_failed_imports=True)
        found = plain_config(config(custom_imports=imports), DENSE)
        expected = dict(imports, imports=['mine', 'eavit_mm'])
        assert found['custom_imports'] == expected
