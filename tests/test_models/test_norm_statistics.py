"""Statistics of BatchNorms that are kept while nothing changes."""

from copy import deepcopy
from typing import Any

import pytest
import torch
from segmentors import batch_of, config, segmentor

pytestmark = pytest.mark.usefixtures('run_seed')


def means(model: Any, subnet: Any = None) -> torch.Tensor:
    """Of the last norm while a subnet is evaluated."""
    with model.evaluating(subnet):
        return next(
            buffer.clone()
            for name, buffer in reversed([*model.named_buffers()])
            if name.startswith('decode_head') and name.endswith('_mean')
        )


def assign(model: Any) -> None:
    state = {k: 3 * v for k, v in model.state_dict().items()}
    model.load_state_dict(state, assign=True)


def set_data(model: Any) -> None:
    for p in model.parameters():  # the second lies where the first has lain
        p.data = p.data * 2
        p.data = p.data * 2


def other_batches(model: Any) -> None:
    model.norm_batches = lambda: [batch_of(1, batch=4)]


@pytest.mark.parametrize('change', [assign, set_data, other_batches])
def test_statistics_are_kept_until_something_changes(change: Any) -> None:
    model, reads = segmentor('fcn'), []
    model.norm_batches = lambda: (
        reads.append(1) or batch_of(number, batch=4) for number in range(1)
    )
    model.norm_statistics = {}
    with torch.inference_mode():
        first = means(model)
    assert torch.equal(means(model), first)
    with model.evaluating(None):  # what is kept can be used with gradients
        model(batch_of(0)['inputs'])[0].sum().backward()
    means(model, model.backbone.space.smallest)
    assert len(reads) == 2
    change(model)
    twin = deepcopy(model)
    twin.norm_statistics = None
    found = means(model)
    assert torch.equal(found, means(twin))
    assert not torch.equal(found, first)
    assert len(model.norm_statistics['subnets']) == 1


@pytest.mark.parametrize('kept', [None, {}])
def test_a_model_of_inference_tensors_is_evaluated(kept: Any) -> None:
    expected = segmentor('fcn')
    expected.norm_batches = lambda: [batch_of(0, batch=4)]
    with torch.inference_mode():
        model = segmentor(config('fcn'))
        model.norm_statistics = kept
        model.norm_batches = expected.norm_batches
        assert torch.equal(means(model), means(expected))
