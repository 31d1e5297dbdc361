"""Training steps: through stage 1 and stage 2."""

import gc
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from benchmarks.gpu.run import Run
from benchmarks.gpu.timing import rounds, rows_of, setting_of
from benchmarks.speed import peak_memory
from benchmarks.speed_cases import (
    LARGEST,
    Case,
    Setting,
    build,
    elastic_cases,
    stage2_cases,
    stock_cases,
)

Maker = Callable[[Setting], list[Case]]


def stage1(run: Run) -> None:
    """The largest subnet against the stock network, subnets against it."""
    _measure(run, (stock_cases, elastic_cases), 20)


def stage2(run: Run) -> None:
    """Steps of a router, gated and sliced, against the largest subnet."""
    _measure(run, (_largest, stage2_cases), 12)


def _largest(setting: Setting) -> list[Case]:
    found = next(c for c in elastic_cases(setting) if c.name == LARGEST)
    return [replace(found, reference=LARGEST)]


def _measure(run: Run, makers: Sequence[Maker], seconds: float) -> None:
    setting, cases = fitting(setting_of(run), makers)
    macs = build(True, replace(setting, device='cpu')).macs()['total']
    for times in rounds(run, cases, seconds):
        run.show(rows_of(cases, times, setting.batch_size, macs))
    for row, case in zip(run.rows, cases, strict=True):
        row['memory_mib'] = round(peak_memory(case.runs['step'], run.device))
        run.show(run.rows)


def fitting(
    setting: Setting, makers: Sequence[Maker]
) -> tuple[Setting, list[Case]]:
    """Cases at the batch size, halved until each step fits into memory."""
    while True:
        try:
            return setting, _tried(setting, makers)
        except torch.OutOfMemoryError:
            if setting.batch_size == 1:
                raise
        # Here, where the error and with it the models are gone.
        gc.collect()
        torch.cuda.empty_cache()
        setting = replace(setting, batch_size=setting.batch_size // 2)


def _tried(setting: Setting, makers: Sequence[Maker]) -> list[Case]:
    """Cases of a step alone, each run once."""
    made = [case for make in makers for case in make(setting)]
    cases = [replace(c, runs=dict(step=c.runs['step'])) for c in made]
    for case in cases:
        case.runs['step']()
    return cases
