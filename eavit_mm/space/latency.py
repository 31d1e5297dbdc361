"""Latency of a subnet from a table measured on a device."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from eavit_mm.files import read_json
from eavit_mm.options import (
    MOST,
    check_choice,
    check_count,
    check_keys,
    check_mapping,
    is_finite,
)
from eavit_mm.space.cells import BRANCHES, EMBED, HEAD_DIMS
from eavit_mm.space.cost import Geometry
from eavit_mm.space.cost_table import CostTable
from eavit_mm.space.search_space import SearchSpace
from eavit_mm.space.subnet import Subnet

DTYPES = ('float32', 'bfloat16', 'float16')
TORCH = 'torch'
# Of a millisecond: times are added in steps of a picosecond, far below what is
# measured. Such sums are exact in any order, so that a CostTable, which adds
# up the same parts otherwise, says the same of a limit.
_STEP = 2.0**-30
# Sums of a network's branches stay exact below this.
_LONGEST = 1e5
# Width to milliseconds of one branch, per embedding width.
Branch = Mapping[int, Mapping[int, float]]


@dataclass(frozen=True)
class LatencyTable:
    """Milliseconds of the parts of a network; they add up to a subnet's.

    Attributes:
        device: Name of what was measured.
        dtype: 'float32', 'bfloat16' or 'float16'.
        batch_size: Images of one forward.
        threads: How many a CPU used.
        num_tokens: N of the network, for one image.
        head_dims: Channels of its heads.
        stem: Embedding width to everything but the branches.
        num_heads: Embedding width to heads to one attention branch.
        feedforward_channels: Embedding width to hidden channels to one FFN
            branch.
        error: Mean relative error over whole subnets; None if not validated.
        kendall_tau: Rank correlation over them.
        backend: What ran the networks: 'torch' (the sliced supernet), or a
            name of ``eavit_mm.registry.LATENCY_BACKENDS``.
    """

    device: str
    dtype: str
    batch_size: int
    threads: int
    num_tokens: int
    head_dims: int
    stem: Mapping[int, float]
    num_heads: Branch
    feedforward_channels: Branch
    error: float | None = None
    kendall_tau: float | None = None
    backend: str = TORCH

    def __call__(self, subnet: Subnet) -> float:
        """Milliseconds of one forward of a subnet.

        Raises:
            ValueError: If a width was not measured.
        """
        width = subnet.embed_dims
        try:
            steps = round(self.stem[width] / _STEP)
            for axis in BRANCHES:
                times = getattr(self, axis)[width]
                steps += sum(
                    round(times[w] / _STEP) for w in getattr(subnet, axis) if w
                )
        except KeyError as error:
            raise ValueError(
                f'the latency table has no width {error} (at embed_dims='
                f'{width}); was it measured for another space?'
            ) from error
        return steps * _STEP

    def check(self, space: SearchSpace, geometry: Geometry) -> None:
        """Raises unless every subnet of a supernet is covered.

        Raises:
            ValueError: If it is of images or heads of another size; names
                the first width that is missing.
        """
        for name in ('num_tokens', 'head_dims'):
            ours, own = getattr(self, name), getattr(geometry, name)
            if ours != own:
                raise ValueError(
                    f'the latency table is of another network: {name}={ours} '
                    f'there, {own} here; build one for this config'
                )
        check_heads(space)
        CostTable(space, self)  # asks for every width

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as they stand in JSON files."""
        return asdict(self)

    @property
    def setting(self) -> dict[str, Any]:
        """What the times are of."""
        names = ('device', 'backend', 'dtype', 'batch_size', 'threads')
        return {name: getattr(self, name) for name in names}

    @property
    def times(self) -> dict[str, Any]:
        """Plain values without what a validation adds.

        Searches compare them; those of earlier versions named no backend.
        """
        left_out = ['error', 'kendall_tau']
        left_out += ['backend'] if self.backend == TORCH else []
        return {k: v for k, v in asdict(self).items() if k not in left_out}

    @classmethod
    def read(cls, path: str | Path) -> 'LatencyTable':
        """Reads a file of :meth:`to_dict`.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is no latency table; names the file.
        """
        if not Path(path).exists():
            raise FileNotFoundError(
                f'latency_table={path}: no such file; tools/latency.py build '
                'makes one'
            )
        return read_json(path, lambda values: cls(**_read_fields(values)))


def check_heads(space: SearchSpace) -> None:
    """Refuses a space whose heads differ in width: a table has one."""
    choices = space.choices(HEAD_DIMS)
    if len(choices) > 1:
        raise ValueError(
            f'space: head_dims={list(choices)}; a latency table is of heads '
            'of one width. Budgets of MACs or parameters can be had'
        )


def _read_fields(values: Any) -> dict[str, Any]:
    """Fields of a table from JSON, whose keys are texts."""
    *needed, backend = (field.name for field in fields(LatencyTable))
    check_mapping('latency table', values, 'what was measured')
    check_keys('latency table', values, needed, [backend])
    for name in ('device', backend):
        if not isinstance(values.get(name, TORCH), str):
            raise ValueError(f'{name}={values[name]!r:.80}; must be a name')
    check_choice('dtype', values['dtype'], DTYPES)
    for name in ('batch_size', 'threads', 'num_tokens', 'head_dims'):
        check_count(name, values[name], least=1)
    for name in ('error', 'kendall_tau'):
        # The rank correlation of equal times is NaN.
        value = values[name]
        if not isinstance(value, float | None) and not is_finite(value):
            raise ValueError(f'{name}={value!r:.80}; must be a number')
    found = {**values, 'stem': _times('stem', values['stem'])}
    if not all(round(time / _STEP) for time in found['stem'].values()):
        raise ValueError(f'stem={found["stem"]!r:.80}; a network takes time')
    for axis in BRANCHES:
        check_mapping(axis, values[axis], 'widths and times')
        found[axis] = {
            _width(axis, width): _times(axis, times)
            for width, times in values[axis].items()
        }
    return found


def _times(name: str, values: Any) -> dict[int, float]:
    if not isinstance(values, Mapping) or not values:
        raise ValueError(f'{name}={values!r:.80}; must be widths and ms')
    for time in values.values():
        if not is_finite(time) or not 0 <= time <= _LONGEST:
            raise ValueError(
                f'{name}: {time!r:.80}; must be milliseconds, at most '
                f'{_LONGEST:.0e}'
            )
    return {_width(name, width): time for width, time in values.items()}


def _width(name: str, text: Any) -> int:
    width = int(text) if str(text).isdecimal() else 0
    # Two spellings of a width would be two times of it.
    if str(width) != str(text) or not 0 < width <= MOST:
        raise ValueError(f'{name}: {text!r:.80} is no {EMBED} or width')
    return width
