"""Exported networks are timed against networks that compute the same."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks import dense_cases
from benchmarks.speed_cases import Setting, build, model_config
from eavit_mm.export.dense import dense_network


def test_pairs_compute_the_same(tiny: Setting) -> None:
    cases = dense_cases.dense_cases(replace(tiny, batch_size=2))
    classes = tiny.network.classes
    assert len(cases) == 16
    for by_hand, exported in zip(cases[::2], cases[1::2], strict=True):
        assert exported.reference == by_hand.name == by_hand.reference
        assert by_hand.share == exported.share < 1
        outputs = [c.runs['forward']() for c in (by_hand, exported)]
        assert outputs[0].shape == (1 + (', batch 2' in by_hand.name), classes)
        assert not outputs[0].requires_grad
        torch.testing.assert_close(*outputs, rtol=0, atol=1e-4)


def test_a_network_that_differs_is_not_timed(tiny: Setting) -> None:
    model = build(True, tiny).eval()
    space = model.backbone.space
    subnet = space.sample(np.random.default_rng(3))
    exported = dense_network(model, model_config(True, tiny.network), subnet)
    plain = dense_cases.PlainViT(subnet, tiny.network).eval()
    for module in plain.modules():
        if isinstance(module, torch.nn.GELU):
            module.approximate = 'tanh'
            break
    for parameter in exported.parameters():  # so that GELUs differ enough
        parameter.data *= 3
    with pytest.raises(ValueError, match='is not the exported one'):
        dense_cases.plain_copy(exported, plain)
