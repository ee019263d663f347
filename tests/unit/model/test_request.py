from __future__ import annotations

from dropdeploy.model.request import Version


def test_the_same_bytes_after_a_reboot() -> None:
    """Where the kernel numbers file systems as they are mounted: on overlay, btrfs, device mapper."""
    before = Version(device=41, inode=7, size=100, modified_ns=1, changed_ns=2)
    assert Version(device=42, inode=7, size=100, modified_ns=1, changed_ns=2) == before
    assert Version(device=41, inode=8, size=100, modified_ns=1, changed_ns=2) != before
