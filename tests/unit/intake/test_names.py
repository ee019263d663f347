from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dropdeploy.intake.names import Archive, Invisible, MarkerName, Meaning, Own, Sidecar, Unknown, meaning_of
from dropdeploy.model.request import Format


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("build.tar", Archive(Format.TAR)),
        ("build.tar.gz", Archive(Format.TAR_GZ)),
        ("build.tgz", Archive(Format.TAR_GZ)),
        ("build.tar.xz", Archive(Format.TAR_XZ)),
        ("build.txz", Archive(Format.TAR_XZ)),
        ("build.tar.bz2", Archive(Format.TAR_BZ2)),
        ("build.tbz2", Archive(Format.TAR_BZ2)),
        ("build.tar.zst", Archive(Format.TAR_ZST)),
        ("build.tzst", Archive(Format.TAR_ZST)),
        ("build.zip", Archive(Format.ZIP)),
        ("Build.TAR.GZ", Archive(Format.TAR_GZ)),
        ("-rf.zip", Archive(Format.ZIP)),
        ("a\nb.zip", Archive(Format.ZIP)),
        ("build.tar.gz.sha256", Sidecar(".sha256", "build.tar.gz")),
        ("build.tar.gz.sig", Sidecar(".sig", "build.tar.gz")),
        ("build.tar.gz.meta.toml", Sidecar(".meta.toml", "build.tar.gz")),
        ("build.ready", Sidecar(".ready", "build")),
        ("rollback", MarkerName.ROLLBACK),
        ("Rollback.TXT", MarkerName.ROLLBACK),
        ("restart", MarkerName.RESTART),
        ("HOLD", MarkerName.HOLD),
        ("cancel.txt", MarkerName.CANCEL),
        (".hidden.zip", Invisible()),
        (".build.tar.gz.Xy12Za", Invisible()),
        ("build.tar.gz.filepart", Invisible()),
        ("build.zip.part", Invisible()),
        ("build.zip.3f2a.partial", Invisible()),
        ("build.zip.tmp", Invisible()),
        ("build.zip.SWP", Invisible()),
        ("build.zip~", Invisible()),
        ("build.tar.gz.deploying", Own()),
        ("build.tar.gz.result.toml", Own()),
        ("status.toml", Own()),
        ("build", Unknown()),
        ("README.md", Unknown()),
        ("build.7z", Unknown()),
    ],
)
def test_what_a_name_means(name: str, expected: Meaning) -> None:
    assert meaning_of(name) == expected


@given(st.text(min_size=1, max_size=300))
def test_every_name_means_something(name: str) -> None:
    meaning_of(name)
