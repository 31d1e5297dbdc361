"""mmengine's errors about a config, in words that help."""

import pytest
from mmengine.registry import HOOKS, MODELS, PARAM_SCHEDULERS

from eavit_mm.engine.cli import run_tool
from eavit_mm.engine.config_error import explain

from .toys import build, evaluated, model_cfg


def explained(cfg, registry=HOOKS):
    with pytest.raises(Exception) as error:  # noqa: PT011
        registry.build(cfg)
    return explain(error.value)


def test_an_unknown_type_comes_with_the_known_ones():
    text = explained(dict(type='eavit_mm.CuriculumHook'))
    assert "type='eavit_mm.CuriculumHook' is not known" in text
    assert 'eavit_mm.CurriculumHook' in text
    assert 'mmpretrain.EMAHook' in explained(dict(type='mmpretrain.EMAHok'))


def test_a_part_of_a_name_and_a_strange_one_have_advice_too():
    text = explained(dict(type='Cosine'), PARAM_SCHEDULERS)
    assert "type='Cosine' is not known; known are" in text
    assert "'CosineAnnealingLR'" in text
    assert 'PolyLR' not in text
    assert "'PolyLR'" in explained(dict(type='Zzz'), PARAM_SCHEDULERS)


def test_an_unknown_metric_comes_with_those_of_the_evaluation(tmp_path):
    changes = {**evaluated(), 'val_cfg': {}, 'test_cfg': {}}
    checkpoint = dict(type='CheckpointHook', interval=1, save_best='acc')
    runner = build(
        tmp_path,
        train_cfg=dict(by_epoch=True, max_epochs=1, val_interval=1),
        default_hooks=dict(logger=None, checkpoint=checkpoint),
        **changes,
    )
    with pytest.raises(KeyError) as error:
        runner.train()
    assert explain(error.value) == (
        "save_best='acc'; the evaluation reports ['accuracy/top1']"
    )


def test_an_unknown_argument_comes_with_the_valid_ones():
    text = explained(dict(type='eavit_mm.RearrangeHook', batches=3))
    assert text.startswith('batches=3 is no option of RearrangeHook')
    assert "['criterion', 'num_batches']" in text
    # An argument that went up to a parent class.
    text = explained(model_cfg(samplr=1), MODELS)
    assert 'samplr=1 is no option of ElasticImageClassifier' in text
    assert "'sampler'" in text
    assert "'pretrained'" in text


def test_what_is_no_config_is_shown():
    assert explained({}) == "{}: must be a dict with a 'type'"
    assert explained('x') == "'x': must be a dict with a 'type'"


def test_other_errors_while_building_show_the_config():
    text = explained(dict(type='eavit_mm.AtomicCheckpointHook', rule=3))
    assert text.startswith("{'type': 'eavit_mm.AtomicCheckpointHook', 'rule'")


def test_other_errors_keep_their_words():
    assert explain(ValueError('a')) is None
    assert explain(KeyError('a')) is None
    cfg = dict(type='eavit_mm.RearrangeHook', criterion=None)
    assert explained(cfg) is None  # a ValueError of our own


def test_a_part_of_a_run_is_found(tmp_path):
    with pytest.raises(TypeError) as error:
        build(tmp_path, custom_hooks=[dict(type='eavit_mm.CurriculumHook')])
    assert "'levels'" in explain(error.value)


@pytest.mark.parametrize(
    'error', [ValueError('x=1'), OSError('x=1'), FloatingPointError('x=1')]
)
def test_a_tool_ends_with_one_line(error):
    def main():
        raise error

    with pytest.raises(SystemExit, match='^error: x=1$'):
        run_tool(main)


def test_a_defect_keeps_its_traceback():
    def main():
        raise KeyError('ours')

    with pytest.raises(KeyError):
        run_tool(main)
