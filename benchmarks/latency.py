"""Holds latency tables of this device against whole subnets."""

import argparse
from typing import Any

import numpy as np
import torch
from mmengine.config import Config

import eavit_mm  # noqa: F401
from benchmarks.methods import OURS
from benchmarks.pages import (
    FOLDER,
    ROOT,
    commit,
    measurements,
    publish,
    table,
)
from eavit_mm.analysis.latency import build_table, device_name, validate
from eavit_mm.engine.cli import build_supernet
from eavit_mm.files import write_json

CONFIGS = {'ViT-mini': OURS, 'ViT-B/16': 'configs/eavit/vitb_flowers.py'}
INTRO = """# Latency tables

Made by `make speed`: a table is measured block by block (`tools/latency.py
build`), then compared with subnets that are even over the MACs range and of
which it saw none (`validate`), each for a minute. Error: mean of
|foretold / measured - 1|, and of its signed values; tau: Kendall's rank
correlation. Drift: by how much the device was slower or faster in the second
minute, on a dozen subnets that both measure."""


def measure(
    name: str,
    batch_size: int,
    rounds: int | None,
    num: int,
    device: str,
    dtype: str = 'float32',
) -> dict[str, Any]:
    """Error and rank correlation of a table of one network."""
    cfg = Config.fromfile(ROOT / CONFIGS[name])
    model: Any = build_supernet(cfg, 'benchmarks.latency').to(device)
    table = build_table(model, batch_size, rounds, dtype)
    found = validate(model, table, num, rounds)
    signed = np.divide(found.foretold, found.measured) - 1
    return dict(
        network=name,
        batch_size=batch_size,
        dtype=dtype,
        threads=table.threads,
        subnets=num,
        rounds=rounds,
        error=found.error,
        bias=float(signed.mean()),
        worst=float(np.abs(signed).max()),
        kendall_tau=found.kendall_tau,
        drift=found.drift - 1,
        own_error=found.own_error,
    )


def page(results: list[dict[str, Any]]) -> str:
    """The page made from the measurements, in Markdown."""
    header = ['device', 'network', 'batch', 'threads', 'subnets', 'error']
    header += ['signed', 'worst', 'tau', 'drift', 'error without', 'commit']
    rows = [
        [
            result['device'],
            row['network'],
            *(str(row[k]) for k in ('batch_size', 'threads', 'subnets')),
            f'{row["error"]:.1%}',
            f'{row["bias"]:+.1%}',
            f'{row["worst"]:.1%}',
            f'{row["kendall_tau"]:.3f}',
            f'{row["drift"]:+.1%}',
            f'{row["own_error"]:.1%}',
            result['commit'],
        ]
        for result in results
        for row in result['rows']
    ]
    return f'{INTRO}\n\n{table(header, rows)}'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--networks', nargs='+', choices=CONFIGS, default=['ViT-mini']
    )
    parser.add_argument('--batch-size', type=int, default=16)
    parser.add_argument('--rounds', type=int, help='default: a minute')
    parser.add_argument('--num', type=int, default=50, help='subnets')
    parser.add_argument(
        '--device', default='cuda' if torch.cuda.is_available() else 'cpu'
    )
    args = parser.parse_args()
    rows = [
        measure(name, args.batch_size, args.rounds, args.num, args.device)
        for name in args.networks
    ]
    result = dict(
        device=device_name(torch.device(args.device)),
        torch=torch.__version__,
        commit=commit(),
        rows=rows,
    )
    write_json(result, FOLDER / f'latency_{args.device}.json')
    publish(page(measurements(FOLDER, 'latency')), FOLDER / 'latency.md')


if __name__ == '__main__':
    main()
