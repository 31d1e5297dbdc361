"""What the options of a config may be.

Each check raises ``ValueError``: the option, its value, what would be valid.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from sys import float_info
from typing import Any

# No count is larger; a longer integer is a slip, and too long for arrays.
MOST = 2**63 - 1


def is_int(value: Any) -> bool:
    """Whether a value is an integer; True and False are not."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_finite(value: Any) -> bool:
    """Whether a value is a number that a float can be; bools are none."""
    is_number = is_int(value) or isinstance(value, float)
    return is_number and abs(value) <= float_info.max


def is_positive(value: Any) -> bool:
    """Whether a value is a finite number above 0."""
    return is_finite(value) and value > 0


def check_count(name: str, value: Any, least: int = 0) -> None:
    """Raises unless an option is an integer that is large enough."""
    if not is_int(value) or not least <= value <= MOST:
        most = f', at most {MOST}' if is_int(value) and value > MOST else ''
        raise ValueError(
            f'{name}={value!r:.80}; must be an integer of at least '
            f'{least}{most}'
        )


def check_number(name: str, value: Any, *, positive: bool = False) -> None:
    """Raises unless an option is a finite number, at least or above 0."""
    if not is_finite(value) or value < 0 or (positive and value == 0):
        valid = 'positive' if positive else 'at least 0'
        raise ValueError(f'{name}={value!r:.80}; must be {valid} and finite')


def check_probability(name: str, value: Any) -> None:
    """Raises unless an option is a number in [0, 1]."""
    if not is_finite(value) or not 0 <= value <= 1:
        raise ValueError(f'{name}={value!r:.80}; must be a number in [0, 1]')


def check_flag(name: str, value: Any) -> None:
    """Raises unless an option is a bool; a text such as 'no' is true."""
    if not isinstance(value, bool):
        raise ValueError(f'{name}={value!r}; must be True or False')


def check_path(name: str, value: Any) -> None:
    """Raises unless an option names a file, or is None."""
    if not isinstance(value, str | Path | None):
        raise ValueError(f'{name}={value!r}; must be a path or None')


def check_list(name: str, value: Any, of_what: str) -> None:
    """Raises unless an option is a list with something in it."""
    if not isinstance(value, list | tuple) or not value:
        raise ValueError(
            f'{name}={value!r:.80}; must list at least one {of_what}'
        )


def check_choice(name: str, value: Any, valid: Iterable[Any]) -> None:
    """Raises unless an option is one of the valid values."""
    if value not in list(valid):
        raise ValueError(f'{name}={value!r}; must be one of {valid}')


def check_keys(
    name: str,
    values: Mapping[str, Any],
    needed: Iterable[str],
    optional: Iterable[str] = (),
) -> None:
    """Raises unless a dict has all needed keys and no unknown one."""
    needed = list(needed)
    valid = [*needed, *optional]
    unknown = sorted(map(str, set(values) - set(valid)))
    missing = sorted(set(needed) - set(values))
    if unknown or missing:
        raise ValueError(
            f'{name}: unknown keys {unknown}, missing keys {missing}; '
            f'valid are {valid}'
        )


def difference_of(there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    """Which options of two dicts differ, and how the first does; else ''.

    None is as good as none.
    """
    keys = sorted({*there, *here}, key=str)
    differ = [key for key in keys if there.get(key) != here.get(key)]
    if not differ:
        return ''
    one = differ[0]
    return (
        f'{differ} differ; {one}={there.get(one)!r:.80} there, '
        f'{here.get(one)!r:.80} here'
    )


def check_mapping(name: str, value: Any, of_what: str) -> None:
    """Raises unless an option is a dict."""
    if not isinstance(value, Mapping):
        raise ValueError(f'{name}={value!r:.80}; must be a dict of {of_what}')
