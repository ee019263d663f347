"""Which of the kernel's refusals say that the machine has no more of something at this moment, and nothing else."""

from __future__ import annotations

import errno

_SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE})


def is_shortage(error: OSError) -> bool:
    """No descriptor was left, for this process or for all: what was to be opened may be as it should be."""
    return error.errno in _SHORTAGES
