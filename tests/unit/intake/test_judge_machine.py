"""Any order of uploads, sidecars, markers, looks and answers (hypothesis' stateful testing of the judge)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from dropdeploy.intake.judge import judge
from dropdeploy.intake.listing import Closed, Entry, EntryKind
from dropdeploy.intake.memory import Judgement, Memory, remember_short
from dropdeploy.model.app import Accept, App
from dropdeploy.model.fault import ErrorCode, Fault
from dropdeploy.model.request import Answer, Upload, Version

NAMES = ("a.zip", "b.tar.gz", "site", "notes.pdf")
ENDINGS = (".ready", ".sha256", ".sig", ".meta.toml")
SHORT = Fault(ErrorCode.TRUNCATED_UPLOAD, "short")
APP = App("myapp", root=Path("/home/myapp"), drop=Path("/srv/drop/myapp"), unit="myapp.service")


class Uploading(RuleBasedStateMachine):
    """Uploaders who do as they please, and an agent that looks, works and answers in between."""

    def __init__(self) -> None:
        super().__init__()
        self.app = APP
        self.files: dict[str, Entry] = {}
        self.answered: dict[str, Answer] = {}
        self.memory = Memory()
        self.now = 0.0
        self.serial = 0
        self.last: Judgement | None = None
        self.answers: set[tuple[object, ...]] = set()

    @initialize(
        completion=st.sampled_from(("proof", "ready")),
        checksum=st.sampled_from(("optional", "required")),
        signature=st.sampled_from(("off", "required")),
    )
    def configure(self, completion: str, checksum: str, signature: str) -> None:
        self.app = replace(APP, accept=Accept(completion, checksum, signature))

    @rule(
        name=st.sampled_from([*NAMES, *(name + ending for name in NAMES for ending in ENDINGS)]),
        closed=st.sampled_from(Closed),
    )
    def write(self, name: str, closed: Closed) -> None:
        self.serial += 1
        kind = EntryKind.DIRECTORY if name == "site" else EntryKind.FILE
        self.files[name] = Entry(name, kind, Version(1, self.serial, 1, self.serial, self.serial), closed)

    @rule()
    def close_all(self) -> None:
        self.files = {name: replace(entry, closed=Closed.YES) for name, entry in self.files.items()}

    @precondition(lambda self: self.files)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        del self.files[data.draw(st.sampled_from(sorted(self.files)))]

    @rule(seconds=st.sampled_from((0.1, 2.0, 61.0)))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def look(self) -> None:
        listing = tuple(self.files[name] for name in sorted(self.files))
        self.last = judge(self.app, listing, self.answered, self.memory, self.now)
        self.memory = self.last.memory
        for upload, fault in self.last.answers:
            self._answer(upload, reopens="checksum" in fault.code or "signature" in fault.code)
        for upload in self.last.uploads:
            self._check_ready(upload)

    @precondition(lambda self: self.last is not None and self.last.uploads)
    @rule(is_short=st.booleans())
    def work(self, is_short: bool) -> None:
        assert self.last is not None
        upload = self.last.uploads[0]
        if is_short:
            self.memory = remember_short(self.memory, upload, SHORT)
        else:
            self._answer(upload, reopens=False)
        self.last = None

    def _answer(self, upload: Upload, *, reopens: bool) -> None:
        told = (upload, reopens)
        assert told not in self.answers, f"answered twice: {upload}"
        self.answers.add(told)
        self.answered[upload.name] = Answer(upload, reopens)

    def _check_ready(self, upload: Upload) -> None:
        entry = self.files[upload.name]
        assert entry.version == upload.version
        needed = [upload.name] if entry.kind is EntryKind.FILE else []
        needed += [upload.name + ending for ending, _ in upload.sidecars]
        needed += [upload.name + ".ready"] if upload.go is not None else []
        for name in needed:
            assert self.files[name].closed is not Closed.NO, f"{name} is open for writing"
        accept = self.app.accept
        endings = {ending for ending, _ in upload.sidecars}
        assert upload.go is not None or (accept.completion == "proof" and entry.kind is EntryKind.FILE)
        assert accept.checksum == "optional" or ".sha256" in endings
        assert accept.signature == "off" or ".sig" in endings

    @invariant()
    def nothing_that_could_go_is_forgotten(self) -> None:
        """When everything is closed, old, and has its marker and sidecars, a look takes it or it has been answered."""
        quiet = {name: replace(entry, closed=Closed.YES) for name, entry in self.files.items()}
        for name in ("a.zip", "b.tar.gz"):
            if name in quiet:
                for ending in ENDINGS:
                    quiet.setdefault(name + ending, Entry(name + ending, EntryKind.FILE, Version(2, 0, 0, 0, 0)))
        listing = tuple(replace(quiet[name], closed=Closed.YES) for name in sorted(quiet))
        found = judge(self.app, listing, self.answered, self.memory, self.now + 1000)
        taken = {upload.name for upload in found.uploads} | {upload.name for upload, _ in found.answers}
        for name in ("a.zip", "b.tar.gz", "notes.pdf"):
            if name in quiet:
                before = self.answered.get(name)
                is_answered = before is not None and before.request.version == quiet[name].version
                assert name in taken or is_answered, name


def test_uploaders_may_do_as_they_please() -> None:
    run_state_machine_as_test(Uploading, settings=settings(max_examples=150, stateful_step_count=40, deadline=None))
