"""From a runner's model to the elastic one."""

import pytest
from mmengine.model import MMDistributedDataParallel
from mmpretrain.models import AverageClsScoreTTA
from mmpretrain.registry import MODELS
from torch import nn

from eavit_mm.engine.unwrap import elastic_model, unwrap

from .toys import model_cfg, stock_cfg


class Wrapper(MMDistributedDataParallel):
    """A distributed wrapper without processes."""

    def __init__(self, module: nn.Module) -> None:
        nn.Module.__init__(self)
        self.module = module


def test_wrappers_are_taken_off():
    model = MODELS.build(model_cfg())
    assert unwrap(model) is model
    assert unwrap(AverageClsScoreTTA(model)) is model
    assert unwrap(Wrapper(model)) is model
    assert unwrap(Wrapper(AverageClsScoreTTA(model))) is model
    assert elastic_model(Wrapper(model), 'X') is model


@pytest.mark.parametrize('wrap', [lambda m: m, AverageClsScoreTTA, Wrapper])
def test_a_model_that_is_not_elastic_is_named(wrap):
    model = wrap(MODELS.build(stock_cfg()))
    assert type(unwrap(model)).__name__ == 'ImageClassifier'
    with pytest.raises(
        ValueError,
        match=r"Part needs an elastic model, such as type='eavit_mm\."
        r"ElasticImageClassifier' or '\S+Decoder'; got ImageClassifier",
    ):
        elastic_model(model, 'Part')
