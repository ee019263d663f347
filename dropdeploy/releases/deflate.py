"""zlib, or isal's faster one where it is installed (the optional extra ``fast``).   (pure)

Both have the same interface. isal decompresses more than twice as fast on x86-64.
"""

from __future__ import annotations

import importlib
import zlib

TYPE_CHECKING = False  # importing typing takes longer than unpacking a small build

__all__ = ["DeflateErrors", "deflate"]

if TYPE_CHECKING:
    deflate = zlib
else:
    try:
        deflate = importlib.import_module("isal.isal_zlib")
    except ImportError:
        deflate = zlib

DeflateErrors = (zlib.error, deflate.error)
