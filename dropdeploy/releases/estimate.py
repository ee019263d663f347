"""How large an upload will be once unpacked, as far as its format tells without unpacking."""

from __future__ import annotations

import os
import struct

from dropdeploy.model.request import Format
from dropdeploy.model.unpacking import Source
from dropdeploy.releases.refusal import Refusal
from dropdeploy.releases.zipdir import Directory

_LIKELY_RATIO = 25


def estimate_unpacked(source: Source) -> int:
    """Bytes, at the least; only a hint, for whoever made the upload can make it say anything. Raises OSError."""
    if source.format is Format.DIRECTORY:
        return 0
    if source.format is Format.TAR_GZ and source.size > 18:
        # ISIZE, RFC 1952: of the last member, modulo 4 GiB. Of an upload that is cut short the last bytes may say
        # anything: what no build compresses to is not believed, or it would be refused for want of space.
        told = int.from_bytes(os.pread(source.fd, 4, source.size - 4), "little")
        return told if source.size < told < source.size * _LIKELY_RATIO else source.size
    if source.format is Format.ZIP:
        try:
            return Directory(source.fd, source.size).unpacked_size()
        except (Refusal, struct.error):  # it will be told when it is unpacked
            return source.size
    return source.size
