"""Mixed precision on the CPU."""

import pytest
import torch

from eavit_mm.engine import optim

from .toys import build


@pytest.mark.parametrize('is_able', [True, False])
def test_the_forward_is_bfloat16_where_the_cpu_computes_it(
    tmp_path, monkeypatch, is_able
):
    monkeypatch.setattr(optim, 'computes_bfloat16', lambda: is_able)
    runner = build(
        tmp_path,
        optim_wrapper=dict(
            type='eavit_mm.CpuAmpOptimWrapper',
            optimizer=dict(type='SGD', lr=0.05),
        ),
    )
    kinds = set()
    runner.model.head.fc.register_forward_hook(
        lambda module, inputs, output: kinds.add(output.dtype)
    )
    before = runner.model.head.fc.weight.detach().clone()
    runner.train()
    assert kinds == {torch.bfloat16 if is_able else torch.float32}
    after = runner.model.head.fc.weight
    assert after.dtype == torch.float32
    assert after.isfinite().all()
    assert not torch.equal(after, before)
