"""What listings amount to. Time is a number here."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from dropdeploy.intake.judge import judge
from dropdeploy.intake.listing import Closed, Entry, EntryKind
from dropdeploy.intake.memory import Judgement, Memory, remember_short
from dropdeploy.model.app import Accept, App
from dropdeploy.model.fault import ErrorCode, Fault
from dropdeploy.model.request import Action, Answer, Format, Marker, Upload, Version

APP = App("myapp", root=Path("/home/myapp"), drop=Path("/srv/drop/myapp"), unit="myapp.service")
SHORT = Fault(ErrorCode.TRUNCATED_UPLOAD, "it ends in the middle")


def version(serial: int) -> Version:
    return Version(1, serial, 100, serial, serial)


def file(name: str, serial: int = 1, closed: Closed = Closed.YES, text: str = "") -> Entry:
    return Entry(name, EntryKind.FILE, version(serial), closed, text)


def directory(name: str, serial: int = 1) -> Entry:
    return Entry(name, EntryKind.DIRECTORY, version(serial))


@dataclass
class Eye:
    """Looks again and again, remembering."""

    app: App = APP
    answered: dict[str, Answer] = field(default_factory=dict)
    memory: Memory = field(default_factory=Memory)

    def look(self, *entries: Entry, at: float = 0.0) -> Judgement:
        judgement = judge(self.app, entries, self.answered, self.memory, at)
        self.memory = judgement.memory
        return judgement

    def answer(self, request: Upload | Marker, *, reopens: bool = False) -> None:
        self.answered[request.name] = Answer(request, reopens)


def names(judgement: Judgement) -> list[str]:
    return [upload.name for upload in judgement.uploads]


def test_a_closed_archive_is_ready_at_once() -> None:
    assert Eye().look(file("build.tar.gz")).uploads == (Upload("build.tar.gz", Format.TAR_GZ, version(1)),)


def test_one_that_is_open_for_writing_waits_for_ever_without_a_verdict() -> None:
    eye = Eye()
    for at in (0.0, 100.0, 10_000.0):
        judgement = eye.look(file("build.tar.gz", closed=Closed.NO), at=at)
        assert not judgement.uploads
        assert not judgement.answers


def test_a_lease_may_be_refused_for_a_moment_after_the_last_event() -> None:
    eye = Eye()
    first = eye.look(file("build.tar.gz", closed=Closed.NO), at=0.0)
    assert first.look_again_s == pytest.approx(0.05)
    assert eye.look(file("build.tar.gz", closed=Closed.NO), at=0.4).look_again_s == pytest.approx(0.4)
    assert eye.look(file("build.tar.gz", closed=Closed.NO), at=400).look_again_s == pytest.approx(1.0)


def test_where_the_kernel_cannot_be_asked_it_settles() -> None:
    eye = Eye()
    first = eye.look(file("build.zip", closed=Closed.UNKNOWN), at=10.0)
    assert not first.uploads
    assert first.look_again_s == pytest.approx(APP.settle_s)
    grown = eye.look(file("build.zip", 2, closed=Closed.UNKNOWN), at=11.5)
    assert not grown.uploads
    assert not eye.look(file("build.zip", 2, closed=Closed.UNKNOWN), at=13.0).uploads
    assert names(eye.look(file("build.zip", 2, closed=Closed.UNKNOWN), at=13.6)) == ["build.zip"]


def test_what_was_answered_is_not_answered_again_until_it_changes() -> None:
    eye = Eye()
    (upload,) = eye.look(file("build.zip")).uploads
    eye.answer(upload)
    assert not eye.look(file("build.zip")).uploads
    assert names(eye.look(file("build.zip", 2))) == ["build.zip"]


def test_ready_retries_an_unchanged_upload_once() -> None:
    eye = Eye()
    (upload,) = eye.look(file("build.zip")).uploads
    eye.answer(upload)
    (again,) = eye.look(file("build.zip"), file("build.zip.ready", 7)).uploads
    assert again.go == version(7)
    eye.answer(again)  # the marker could not be removed
    assert not eye.look(file("build.zip"), file("build.zip.ready", 7)).uploads
    assert not eye.look(file("build.zip")).uploads
    assert eye.look(file("build.zip"), file("build.zip.ready", 8)).uploads


def test_a_directory_goes_with_its_marker_only() -> None:
    eye = Eye()
    assert not eye.look(directory("site"), at=0.0).uploads
    assert not eye.look(directory("site"), file("site.ready", 3, closed=Closed.NO), at=1.0).uploads
    (upload,) = eye.look(directory("site"), file("site.ready", 3), at=2.0).uploads
    assert upload == Upload("site", Format.DIRECTORY, version(1), go=version(3))
    eye.answer(upload)
    assert not eye.look(directory("site", 5)).uploads
    assert names(eye.look(directory("site", 5), file("site.ready", 9))) == ["site"]


def test_a_directory_waits_for_its_metadata_to_be_written() -> None:
    eye, go = Eye(), file("site.ready", 3)
    judgement = eye.look(directory("site"), go, file("site.meta.toml", 4, closed=Closed.NO))
    assert not judgement.uploads
    assert judgement.look_again_s is not None
    (upload,) = eye.look(directory("site"), go, file("site.meta.toml", 5), at=1.0).uploads
    assert [ending for ending, _ in upload.sidecars] == [".meta.toml"]


def test_a_marker_whose_upload_is_not_there_yet_waits() -> None:
    eye = Eye()
    assert not eye.look(file("site.ready")).answers
    assert names(eye.look(file("site.ready"), directory("site"))) == ["site"]


def test_completion_ready_waits_for_the_marker() -> None:
    eye = Eye(replace(APP, accept=Accept(completion="ready")))
    assert not eye.look(file("build.zip"), at=0.0).uploads
    assert not eye.look(file("build.zip"), at=9_999.0).answers
    assert names(eye.look(file("build.zip"), file("build.zip.ready"), at=10_000.0)) == ["build.zip"]


@pytest.mark.parametrize(
    ("accept", "ending", "code"),
    [
        (Accept(checksum="required"), ".sha256", ErrorCode.CHECKSUM_MISSING),
        (Accept(signature="required"), ".sig", ErrorCode.SIGNATURE_MISSING),
    ],
)
def test_a_required_sidecar_is_waited_for_and_then_missed(accept: Accept, ending: str, code: ErrorCode) -> None:
    eye = Eye(replace(APP, accept=accept))
    first = eye.look(file("build.zip"), at=0.0)
    assert not first.uploads
    assert first.look_again_s == pytest.approx(APP.stall_s)
    ((upload, fault),) = eye.look(file("build.zip"), at=60.0).answers
    assert fault.code is code
    assert fault.message == f"build.zip is here, but build.zip{ending} is not"
    eye.answer(upload, reopens=True)
    assert not eye.look(file("build.zip"), at=61.0).answers
    assert names(eye.look(file("build.zip"), file("build.zip" + ending, 4), at=62.0)) == ["build.zip"]


def test_sidecars_that_are_being_written_are_waited_for() -> None:
    eye = Eye()
    assert not eye.look(file("build.zip"), file("build.zip.sha256", closed=Closed.NO)).uploads
    (upload,) = eye.look(file("build.zip"), file("build.zip.sha256", 2)).uploads
    assert upload.sidecars == ((".sha256", version(2)),)


def test_a_sidecar_that_changes_does_not_repeat_what_it_could_not_mend() -> None:
    eye = Eye()
    (upload,) = eye.look(file("build.zip")).uploads
    eye.answer(upload, reopens=False)
    assert not eye.look(file("build.zip"), file("build.zip.sha256", 2)).uploads


def test_a_directory_cannot_have_a_checksum() -> None:
    eye = Eye(replace(APP, accept=Accept(checksum="required")))
    ((_, fault),) = eye.look(directory("site"), file("site.ready")).answers
    assert fault.code is ErrorCode.CHECKSUM_MISSING


def test_a_short_upload_waits_and_is_answered_when_it_stalls() -> None:
    eye = Eye()
    (upload,) = eye.look(file("build.tgz"), at=0.0).uploads
    eye.memory = remember_short(eye.memory, upload, SHORT)
    waiting = eye.look(file("build.tgz"), at=20.0)
    assert not waiting.uploads
    assert waiting.look_again_s == pytest.approx(40.0)
    assert eye.look(file("build.tgz"), at=60.0).answers == ((upload, SHORT),)
    eye.answer(upload)
    assert names(eye.look(file("build.tgz", 2), at=61.0)) == ["build.tgz"]


def test_a_short_upload_that_grows_is_judged_anew() -> None:
    eye = Eye()
    (upload,) = eye.look(file("build.tgz"), at=0.0).uploads
    eye.memory = remember_short(eye.memory, upload, SHORT)
    assert names(eye.look(file("build.tgz", 2), at=5.0)) == ["build.tgz"]


def test_a_short_upload_does_not_hold_up_another() -> None:
    eye = Eye()
    (upload,) = eye.look(file("a.tgz"), at=0.0).uploads
    eye.memory = remember_short(eye.memory, upload, SHORT)
    assert names(eye.look(file("a.tgz"), file("b.tgz", 2), at=1.0)) == ["b.tgz"]


def test_uploads_are_in_the_order_in_which_they_became_ready() -> None:
    eye = Eye()
    eye.look(file("c.zip", 3), file("b.zip", 9, closed=Closed.NO))
    eye.look(file("c.zip", 3), file("b.zip", 9, closed=Closed.NO), file("a.zip", 5))
    assert names(eye.look(file("a.zip", 5), file("b.zip", 9), file("c.zip", 3))) == ["c.zip", "a.zip", "b.zip"]


def test_what_is_found_together_is_in_order_of_change() -> None:
    assert names(Eye().look(file("a.zip", 3), file("b.zip", 1), file("c.zip", 2))) == ["b.zip", "c.zip", "a.zip"]


def test_a_result_of_earlier_bytes_is_outdated_as_soon_as_new_ones_are_seen() -> None:
    eye = Eye()
    (upload,) = eye.look(file("build.zip")).uploads
    eye.answer(upload)
    assert eye.look(file("build.zip")).fresh == ()
    assert eye.look(file("build.zip", 2, closed=Closed.NO)).fresh == ("build.zip",)
    assert eye.look(file("build.zip", 2, closed=Closed.NO)).fresh == ()


def test_a_sidecar_that_reopens_outdates_the_result_of_before() -> None:
    eye = Eye()
    (upload,) = eye.look(file("build.zip"), file("build.zip.sha256")).uploads
    eye.answer(upload, reopens=True)
    assert eye.look(file("build.zip"), file("build.zip.sha256")).fresh == ()
    assert eye.look(file("build.zip"), file("build.zip.sha256", 2)).fresh == ("build.zip",)
    (upload,) = eye.look(file("build.zip"), file("build.zip.sha256", 2)).uploads
    eye.answer(upload, reopens=True)
    assert eye.look(file("build.zip")).fresh == ("build.zip",)
    assert eye.look(file("build.zip")).fresh == ()


def test_a_sidecar_that_changes_nothing_leaves_the_result() -> None:
    eye = Eye()
    (upload,) = eye.look(file("build.zip")).uploads
    eye.answer(upload)
    assert eye.look(file("build.zip"), file("build.zip.meta.toml")).fresh == ()


def test_unsupported_files_are_answered_once_closed() -> None:
    eye = Eye()
    assert not eye.look(file("notes.pdf", closed=Closed.NO)).answers
    ((upload, fault),) = eye.look(file("notes.pdf")).answers
    assert fault.code is ErrorCode.UNSUPPORTED_UPLOAD
    eye.answer(upload)
    assert not eye.look(file("notes.pdf")).answers


def test_a_link_is_no_upload() -> None:
    ((_, fault),) = Eye().look(Entry("build.zip", EntryKind.OTHER, version(1))).answers
    assert fault.code is ErrorCode.UNSUPPORTED_UPLOAD
    assert "neither file nor directory" in fault.message


def test_markers() -> None:
    eye = Eye()
    judgement = eye.look(
        file("rollback", text="20260101-000000"), file("RESTART.txt", 2), file("hold", 3), file("cancel", 4)
    )
    assert [(marker.action, marker.argument) for marker in judgement.markers] == [
        (Action.ROLLBACK, "20260101-000000"),
        (Action.RESTART, ""),
    ]
    assert judgement.is_held
    assert [entry.name for entry in judgement.cancels] == ["cancel"]
    assert not judgement.answers
    eye.answer(judgement.markers[0])
    assert [marker.name for marker in eye.look(file("rollback"), file("RESTART.txt", 2)).markers] == ["RESTART.txt"]
    assert eye.look(file("rollback", 9)).markers


def test_directories_that_nobody_asked_for_and_sidecars_alone_are_left_in_peace() -> None:
    judgement = Eye().look(directory("lost+found"), file("x.sha256"), file("x.sig"), file("x.meta.toml"), at=1e6)
    assert not judgement.uploads
    assert not judgement.answers
