"""The config of an export says nothing of subnets."""

from pathlib import Path

from mmengine.config import Config

from eavit_mm.export.config import config_text, plain_config

from .toys import config, member

ROOT = Path(__file__).resolve().parents[2]
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
    plain = plain_config(cfg, member())
    assert cfg.to_dict() == before
    model = plain.pop('model')
    assert model['type'] == 'ImageClassifier'
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
    cfg = Config.fromfile(ROOT / 'configs' / 'eavit' / 'vitb_flowers.py')
    subnet = member(384, (6,) * 12, (768,) * 12)
    plain = plain_config(cfg, subnet)
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
        found = plain_config(config(custom_imports=given), member())
        assert found['custom_imports'] == {**given, 'imports': names}
