"""A limit on the cost of a network, as a user writes it."""

import re
from dataclasses import dataclass

import numpy as np

from eavit_mm.options import is_finite

# Who answers, where a budget does not leave it open.
SOURCES = ('router', 'front', 'uniform')
_SCALES = {'': 1, 'k': 1e3, 'm': 1e6, 'g': 1e9, 't': 1e12}
_PATTERN = re.compile(
    r'(?P<number>\d+(\.\d*)?|\.\d+) *'
    r'((?P<scale>[kmgt]?)(?P<unit>macs|params)|(?P<ms>ms)|(?P<percent>%))?',
    re.ASCII | re.IGNORECASE,  # no digits or letters of other scripts
)
_VALID = (
    "a share in (0, 1] such as 0.5 or '50%', or '8GMACs', '20Mparams', "
    "'5ms' (a MAC is two FLOPs)"
)
# By how much of a limit the product of a share may miss it.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Budget:
    """A limit on MACs, parameters or latency.

    Attributes:
        kind: 'share' (of the largest subnet's MACs), 'macs', 'params' or
            'latency' (milliseconds).
        value: The limit in the unit of its kind.
        text: As the user wrote it.
    """

    kind: str
    value: float
    text: str

    @classmethod
    def parse(cls, text: str | float) -> 'Budget':
        """Reads 0.5, '50%', '8GMACs', '20Mparams' or '5ms'.

        Raises:
            ValueError: If it is none of these or not positive.
        """
        written = str(text).strip()
        if is_finite(text):
            written = np.format_float_positional(float(text), trim='-')
        match = _PATTERN.fullmatch(written)
        parts = match.groupdict() if match else {}
        kind, value = 'share', float(parts.get('number', 0))
        if parts.get('ms'):
            kind = 'latency'
        elif parts.get('unit'):
            kind = parts['unit'].lower()
            value *= _SCALES[parts['scale'].lower()]
        elif parts.get('percent'):
            value /= 100
        share_too_big = kind == 'share' and value > 1
        # Hundreds of digits are infinite as a float.
        if value <= 0 or share_too_big or not is_finite(value):
            raise ValueError(f'budget={text!r:.80}; must be {_VALID}')
        return cls(kind, value, written)


def limit_of(share: float, largest: float) -> float:
    """The cost that a share of the largest subnet's allows.

    A subnet whose cost is just that share fits, however the quotient was
    rounded.
    """
    return min(share * largest * (1 + _ROUNDING), largest)
