"""The benchmark of fine-tuning: the config of a training."""

from pathlib import Path

from mmengine.config import Config

from benchmarks import finetune, stage2
from benchmarks.methods import DEFAULT, METHODS, method_config
from eavit_mm.engine.cli import build_supernet
from eavit_mm.export.config import config_text, dense_config, plain_config


def test_an_exported_network_trains_as_a_dense_one(
    tmp_path: Path, monkeypatch
) -> None:
    supernet = method_config(METHODS[DEFAULT], 'fashion40', 0)
    monkeypatch.setattr(stage2, 'run_config', lambda *args: supernet)
    cfg = stage2.stage2_config(stage2.PLAIN, 0, 'x.pth', tmp_path / 'f.json')
    model = build_supernet(supernet, 'a test')
    dense = dense_config(model, cfg.model, model.backbone.space.smallest)
    path = tmp_path / 'config.py'
    path.write_text(config_text(plain_config(cfg, dense)))
    plain = finetune.plain_training(Config.fromfile(path))
    assert plain.load_from == str(tmp_path / 'model.pth')
    assert plain.train_cfg.max_epochs == finetune.EPOCHS
    assert plain.optim_wrapper.optimizer.lr == finetune.LR
    assert 'eavit_mm.RouterHook' not in str(plain.get('custom_hooks'))
    assert plain.test_dataloader == cfg.test_dataloader
    assert plain.train_dataloader.dataset == cfg.train_dataloader.dataset
    # Every epoch sees each image once.
    assert plain.train_dataloader.sampler.type == 'DefaultSampler'
