"""What the files in a drop directory amount to: which uploads and markers are ready, which wait, which will never do.

A pure function of a listing, of what was answered before, and of a memory that is a value too. It runs after every
wake-up and every rescan; events decide nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from dropdeploy.intake.listing import Closed, Entry, EntryKind
from dropdeploy.intake.memory import Judgement, Memory, Seen
from dropdeploy.intake.names import (
    FORMATS,
    META,
    READY,
    SHA256,
    SIDECARS,
    SIGNATURE,
    Archive,
    MarkerName,
    Unknown,
    meaning_of,
)
from dropdeploy.intake.provenance import Writing, follow
from dropdeploy.model.app import App
from dropdeploy.model.fault import ErrorCode, Fault
from dropdeploy.model.request import Action, Answer, Fate, Format, Marker, Upload

_LOOK_AT_OPEN_S = (0.05, 1.0)
"""How soon to look again at a file that somebody writes: the first after it changed, and at most."""

_ENDINGS = ", ".join(ending for ending, _ in FORMATS)


@dataclass(frozen=True, slots=True)
class _Look:
    """One look, with what its parts need."""

    app: App
    entries: Mapping[str, Entry]
    seen: Mapping[str, Seen]
    written: Mapping[str, Writing]
    answered: Mapping[str, Answer]
    short: Mapping[str, tuple[Upload, Fault]]
    now: float

    def age(self, name: str) -> float:
        return self.now - self.seen[name].since

    def is_settled(self, entry: Entry) -> bool:
        """Closed, as far as can be known."""
        return _is_settled(entry, self.age(entry.name), self.app)

    def sidecar(self, name: str, ending: str) -> Entry | None:
        entry = self.entries.get(name + ending)
        return entry if entry is not None and entry.kind is EntryKind.FILE else None


def judge(
    app: App, listing: tuple[Entry, ...], answered: Mapping[str, Answer], memory: Memory, now: float
) -> Judgement:
    """Look at a listing. ``now`` is in seconds of a clock that never jumps."""
    entries = {entry.name: entry for entry in listing}
    seen = {entry.name: _see(entry, memory, now) for entry in listing}
    written = {
        entry.name: follow(
            memory.written.get(entry.name),
            entry,
            answered.get(entry.name),
            is_closed=_is_settled(entry, now - seen[entry.name].since, app),
        )
        for entry in listing
    }
    look = _Look(app, entries, seen, written, answered, memory.short, now)
    verdicts = [(entry, _judge_entry(look, entry)) for entry in listing]
    ready = [found for _, found in verdicts if isinstance(found, Upload | Marker)]
    ordered, order, count = _in_order(ready, memory)
    waits = [
        found.seconds for _, found in verdicts if isinstance(found, _Wait | _Leaving) and found.seconds is not None
    ]
    return Judgement(
        memory=Memory(
            seen=seen,
            written=written,
            order=order,
            short={name: short for name, short in memory.short.items() if _is_still(look, short[0])},
            count=count,
        ),
        uploads=tuple(found for found in ordered if isinstance(found, Upload)),
        markers=tuple(found for found in ordered if isinstance(found, Marker)),
        leaving=tuple(found.upload for _, found in verdicts if isinstance(found, _Leaving) and found.seconds is None),
        answers=tuple(found for _, found in verdicts if isinstance(found, tuple)),
        fresh=tuple(_fresh(look, memory, verdicts)),
        asked=frozenset(entry.name for entry, found in verdicts if not isinstance(found, _Nothing)),
        is_held=any(_marker(entry) is MarkerName.HOLD for entry in listing),
        cancels=tuple(entry for entry in listing if _marker(entry) is MarkerName.CANCEL),
        look_again_s=min(waits, default=None),
    )


# --- one entry -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Wait:
    """Nothing to do yet; after ``seconds`` there may be (None: only when something changes)."""

    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class _Nothing:
    """Not a request, or one that has its answer."""


@dataclass(frozen=True, slots=True)
class _Leaving(_Nothing):
    """It was deployed, and can be deleted: now, or ``seconds`` after what was done to it last."""

    upload: Upload
    seconds: float | None = None


_Found = Upload | Marker | tuple[Upload, Fault] | _Wait | _Nothing


def _judge_entry(look: _Look, entry: Entry) -> _Found:
    meaning = meaning_of(entry.name)
    if entry.kind is EntryKind.DIRECTORY:
        return _judge_directory(look, entry) if isinstance(meaning, Archive | Unknown | MarkerName) else _Nothing()
    if isinstance(meaning, MarkerName):
        return _judge_marker(look, entry, meaning)
    if isinstance(meaning, Archive) and entry.kind is EntryKind.FILE:
        return _judge_archive(look, entry, meaning.format)
    if isinstance(meaning, Archive | Unknown):
        return _judge_unsupported(look, entry)
    return _Nothing()


def _judge_marker(look: _Look, entry: Entry, name: MarkerName) -> _Found:
    if name not in (MarkerName.ROLLBACK, MarkerName.RESTART) or entry.kind is not EntryKind.FILE:
        return _Nothing()
    marker = Marker(entry.name, Action(name.value), entry.version, entry.text)
    answer = look.answered.get(entry.name)
    if answer is not None and answer.request.version == entry.version:
        return _Nothing()
    if not look.is_settled(entry):
        return _until_settled(look, entry)
    return marker


def _judge_directory(look: _Look, entry: Entry) -> _Found:
    go = look.sidecar(entry.name, READY)
    if go is None:
        return _Nothing()
    upload = _upload(look, entry, Format.DIRECTORY)
    answer = look.answered.get(entry.name)
    if answer is not None and isinstance(answer.request, Upload) and answer.request.go == go.version:
        return _Nothing()
    if (wait := _until_all_settled(look, [go, *(part for _, part in _sidecars(look, entry.name))])) is not None:
        return wait
    for wanted, ending, code in _required(look.app):
        if wanted:
            what = "checksum" if ending == SHA256 else "signature"
            return upload, Fault(
                code,
                f"{entry.name}/ is a directory, and this app requires a {what}, which only an archive can have",
                f"upload the build as an archive with its {ending} file, e.g. {entry.name}.tar.gz",
            )
    return upload


def _judge_archive(look: _Look, entry: Entry, archive_format: Format) -> _Found:
    upload = _upload(look, entry, archive_format)
    answer = look.answered.get(entry.name)
    is_deployed = answer is not None and answer.fate is Fate.GOES and answer.request.version == upload.version
    if is_deployed and look.app.after == "delete":
        return _leave(look, upload)
    ready = look.sidecar(entry.name, READY)
    if ready is not None and not look.is_settled(ready):
        return _until_settled(look, ready)
    if _is_answered(answer, upload):
        return _Nothing()
    if (wait := _until_all_settled(look, [entry, *(part for _, part in _sidecars(look, entry.name))])) is not None:
        return wait
    if look.app.accept.completion == "ready" and upload.go is None:
        return _Nothing()
    short = look.short.get(entry.name)
    if short is not None and short[0] == upload:
        return _at_stall(look, upload, short[1])
    for wanted, ending, code in _required(look.app):
        if wanted and look.sidecar(entry.name, ending) is None:
            return _at_stall(look, upload, _missing_sidecar(entry.name, ending, code))
    return upload


def _leave(look: _Look, upload: Upload) -> _Leaving:
    """Clients set times, look again and send sidecars after the close, from far away long after the deploy.

    A ``.ready`` that comes now asks for what was done already.
    """
    names = [upload.name, *(upload.name + ending for ending in SIDECARS)]
    rest = look.app.settle_s - min(look.age(name) for name in names if name in look.entries)
    return _Leaving(upload, rest if rest > 0 else None)


def _judge_unsupported(look: _Look, entry: Entry) -> _Found:
    upload = _upload(look, entry, Format.UNKNOWN)
    if _is_answered(look.answered.get(entry.name), upload):
        return _Nothing()
    if entry.kind is EntryKind.FILE and not look.is_settled(entry):
        return _until_settled(look, entry)
    what = "is not a build that dropdeploy knows" if entry.kind is EntryKind.FILE else "is neither file nor directory"
    hint = f"upload a {_ENDINGS} file, or a directory and then an empty file NAME.ready"
    return upload, Fault(ErrorCode.UNSUPPORTED_UPLOAD, f"{entry.name} {what}", hint)


def _until_settled(look: _Look, entry: Entry) -> _Wait:
    if entry.closed is Closed.UNKNOWN:
        return _Wait(max(0.0, look.app.settle_s - look.age(entry.name)))
    # Its writer's close is an event, but one that comes before the kernel grants a lease again: up to 20 ms before, on
    # a busy machine. Nothing else would come after it.
    return _Wait(min(_LOOK_AT_OPEN_S[1], max(_LOOK_AT_OPEN_S[0], look.age(entry.name))))


def _until_all_settled(look: _Look, parts: list[Entry]) -> _Wait | None:
    waits = [_until_settled(look, part) for part in parts if not look.is_settled(part)]
    return min(waits, key=lambda wait: wait.seconds or float("inf"), default=None)


def _at_stall(look: _Look, upload: Upload, fault: Fault) -> _Found:
    rest = look.app.stall_s - look.age(upload.name)
    return _Wait(rest) if rest > 0 else (upload, fault)


def _missing_sidecar(name: str, ending: str, code: ErrorCode) -> Fault:
    command = (
        f"sha256sum {name} > {name}{SHA256}" if ending == SHA256 else f"ssh-keygen -Y sign -n dropdeploy -f KEY {name}"
    )
    return Fault(code, f"{name} is here, but {name}{ending} is not", f"make it with `{command}` and upload it as well")


# --- parts ---------------------------------------------------------------------------------------------


def _required(app: App) -> Iterator[tuple[bool, str, ErrorCode]]:
    yield app.accept.checksum == "required", SHA256, ErrorCode.CHECKSUM_MISSING
    yield app.accept.signature == "required", SIGNATURE, ErrorCode.SIGNATURE_MISSING


def _marker(entry: Entry) -> MarkerName | None:
    meaning = meaning_of(entry.name)
    return meaning if isinstance(meaning, MarkerName) and entry.kind is EntryKind.FILE else None


def _sidecars(look: _Look, name: str) -> Iterator[tuple[str, Entry]]:
    for ending in (META, SHA256, SIGNATURE):
        part = look.sidecar(name, ending)
        if part is not None:
            yield ending, part


def _upload(look: _Look, entry: Entry, upload_format: Format) -> Upload:
    go = look.sidecar(entry.name, READY)
    return Upload(
        entry.name,
        upload_format,
        entry.version,
        go.version if go is not None and look.is_settled(go) else None,
        tuple((ending, part.version) for ending, part in _sidecars(look, entry.name)),
        look.written[entry.name].is_pieced and upload_format is not Format.DIRECTORY,
    )


def _is_answered(answer: Answer | None, upload: Upload) -> bool:
    if answer is None or not isinstance(answer.request, Upload):
        return False
    before = answer.request
    return (
        before.version == upload.version
        and upload.go in (None, before.go)
        and (not answer.reopens or before.sidecars == upload.sidecars)
    )


def _is_still(look: _Look, upload: Upload) -> bool:
    entry = look.entries.get(upload.name)
    return entry is not None and entry.version == upload.version


def _is_settled(entry: Entry, age_s: float, app: App) -> bool:
    return age_s >= app.settle_s if entry.closed is Closed.UNKNOWN else entry.closed is Closed.YES


def _see(entry: Entry, memory: Memory, now: float) -> Seen:
    before = memory.seen.get(entry.name)
    if before is not None and before.versions == (entry.version,):
        return before
    return Seen((entry.version,), now)


def _fresh(look: _Look, memory: Memory, verdicts: list[tuple[Entry, _Found]]) -> Iterator[str]:
    """Names whose upload, or what belongs to it, is new or changed with this look, and that have no answer."""
    for entry, found in verdicts:
        names = [entry.name + ending for ending in ("", READY, META, SHA256, SIGNATURE)]
        has_news = entry.name in memory.news or any(look.seen.get(name) != memory.seen.get(name) for name in names)
        if has_news and not isinstance(found, _Nothing):
            yield entry.name


def _in_order(
    ready: list[Upload | Marker], memory: Memory
) -> tuple[list[Upload | Marker], dict[str, tuple[Upload | Marker, int]], int]:
    """Number what became ready with this look; what was ready before keeps its number."""
    count = memory.count
    order: dict[str, tuple[Upload | Marker, int]] = {}
    for found in sorted(ready, key=lambda request: (request.version.changed_ns, request.name)):
        before = memory.order.get(found.name)
        if before is not None and before[0].version == found.version:
            order[found.name] = (found, before[1])
        else:
            count += 1
            order[found.name] = (found, count)
    ordered = sorted(order.values(), key=lambda numbered: numbered[1])
    return [found for found, _ in ordered], order, count
