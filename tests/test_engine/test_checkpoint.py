"""Files outside of a run: broken ones are named, new ones are whole."""

import json

import pytest
import torch
from mmpretrain.registry import MODELS

from eavit_mm.engine.checkpoint import (
    check_space,
    load_supernet,
    naming,
    one_line,
    read_checkpoint,
    supernet_meta,
)
from eavit_mm.files import write_json
from eavit_mm.space import SearchSpace

from .toys import SPACE, logits, model_cfg, randomise, stock_cfg


@pytest.mark.parametrize('value', [torch.ones(2), [1, 2], 'text', None])
def test_what_holds_no_weights_is_named(tmp_path, value):
    path = tmp_path / 'other.pth'
    torch.save(value, path)
    with pytest.raises(
        ValueError,
        match=rf'other\.pth is no checkpoint: it holds {type(value).__name__}',
    ):
        read_checkpoint(path)


@pytest.mark.parametrize('plain', [True, False])
def test_a_supernet_is_loaded_from_a_stock_file(tmp_path, plain):
    stock = randomise(MODELS.build(stock_cfg()))
    state = stock.state_dict()
    path = tmp_path / 'stock.pth'
    torch.save(state if plain else dict(state_dict=state), path)
    model = MODELS.build(model_cfg())
    assert load_supernet(model, path) == {}
    torch.testing.assert_close(logits(model), logits(stock))


def test_a_head_of_other_classes_is_left_out_if_it_is_new(tmp_path):
    cfg = model_cfg()
    stock, path = randomise(MODELS.build(cfg)), tmp_path / 'stock.pth'
    torch.save(stock.state_dict(), path)
    cfg['head'] = {**cfg['head'], 'num_classes': 4}
    with pytest.raises(ValueError, match='head'):
        load_supernet(MODELS.build(cfg), path)
    model = MODELS.build(dict(cfg, new_head=True))
    load_supernet(model, path)
    for name, weight in model.backbone.state_dict().items():
        assert torch.equal(weight, stock.backbone.state_dict()[name])
    assert model.head.fc.out_features == 4


def test_a_supernet_of_another_space_is_refused(tmp_path):
    model = MODELS.build(model_cfg())
    other = model_cfg()
    other['backbone']['space'] = {**SPACE, 'max_off': 0}
    other = randomise(MODELS.build(other))
    meta = dict(epoch=3, eavit_mm=supernet_meta(other, None, 1))
    path = tmp_path / 'other.pth'
    torch.save(dict(state_dict=other.state_dict(), meta=meta), path)
    before = logits(model)
    with pytest.raises(
        ValueError, match=r"another space: \['max_off'\] differ"
    ):
        load_supernet(model, path)
    assert torch.equal(logits(model), before)
    assert load_supernet(other, path) == meta


def test_meta_is_read_back(tmp_path):
    model = MODELS.build(model_cfg())
    meta = supernet_meta(model, 'RandomCriterion', 0)
    assert meta['rearrangement'] == 'RandomCriterion'
    assert meta['stage'] == 0
    check_space(model, meta)
    check_space(model, {})
    shape = dict(num_layers=2, head_dims=4)
    again = SearchSpace.from_config(
        {k: v for k, v in meta['space'].items() if k not in shape}, **shape
    )
    assert again == model.backbone.space
    path = tmp_path / 'meta.json'
    write_json(meta, path)
    assert json.loads(path.read_text()) == meta


def test_a_file_of_the_system_is_named_without_a_number() -> None:
    error = FileExistsError(17, 'File exists', 'work_dirs/x')
    assert one_line(error) == 'work_dirs/x: File exists'
    words = '^work_dirs/x: File exists$'
    with pytest.raises(ValueError, match=words), naming('work_dirs/x'):
        raise error
