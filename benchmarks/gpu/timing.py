"""The networks of the bench, and how their cases are timed."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from mmengine.config import Config

from benchmarks.gpu.run import Rows, Run
from benchmarks.pages import ROOT
from benchmarks.speed import Times, ratios, rounds_of
from benchmarks.speed_cases import Case, Network, Setting

# What the recipes train: a class token, drop path, smooth labels.
_MODEL = Config.fromfile(ROOT / 'configs/_base_/models/elastic_vitb.py').model
_NAMES = ('drop_path_rate', 'with_cls_token', 'out_type', 'final_norm')
_RECIPE = dict(
    backbone={name: _MODEL.backbone[name] for name in _NAMES},
    head=dict(type=_MODEL.head.type, loss=dict(_MODEL.head.loss)),
)
# Their box, any branch off.
VIT_B = Network(
    dict(
        embed_dims=768, num_layers=12, num_heads=12, feedforward_channels=3072
    ),
    dict(
        embed_dims=list(range(384, 769, 64)),
        num_heads=list(range(6, 13)),
        feedforward_channels=list(range(384, 3073, 384)),
        max_off=12,
    ),
    **_RECIPE,
)
# Runs in no time.
TINY = Network(
    dict(embed_dims=64, num_layers=4, num_heads=4, feedforward_channels=128),
    dict(
        embed_dims=[16, 32, 48, 64],
        num_heads=[1, 2, 3, 4],
        feedforward_channels=[32, 64, 96, 128],
        max_off=4,
    ),
    size=32,
)
# Rounds.
_LEAST, _LEAST_QUICK = 5, 2


def setting_of(run: Run, batch_size: int = 256) -> Setting:
    """ViT-B/16 of the recipes in bfloat16; in the quick form a tiny one."""
    if run.quick:
        tiny = replace(TINY, **_RECIPE)
        return Setting(4, run.device, tiny, 'bfloat16')
    return Setting(batch_size, run.device, VIT_B, 'bfloat16')


def rounds(run: Run, cases: Sequence[Case], seconds: float) -> Iterator[Times]:
    """Times of all rounds, after each of them, for so many seconds."""
    least = _LEAST_QUICK if run.quick else _LEAST
    end = time.perf_counter() + (0 if run.quick else seconds)
    for number, times in enumerate(rounds_of(list(cases), run.device), 1):
        yield times
        if number >= least and time.perf_counter() >= end:
            return


def rows_of(
    cases: Sequence[Case], times: Times, batch_size: int, macs: int
) -> Rows:
    """A row for each case that has one kind of run.

    Args:
        cases: The cases.
        times: Seconds of their runs.
        batch_size: Images of a run.
        macs: Multiply-adds of the largest network's forward, for one image.
    """
    ((kind, found),) = times.items()
    relative = {row['case']: row for row in ratios(list(cases), times)}
    rows = []
    for case in cases:
        spent = float(np.median(found[case.name]))
        row = dict(
            case=case.name,
            macs=round(case.share * macs),
            macs_ratio=round(case.share, 4),
            batch_size=batch_size,
            rounds=len(found[case.name]),
            milliseconds=round(1e3 * spent, 3),
            images_per_s=round(batch_size / spent, 1),
        )
        if case.name in relative:
            row.update(over=case.reference, ratio=relative[case.name][kind])
        rows.append(row)
    return rows
