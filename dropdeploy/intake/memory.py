"""What one look into a drop directory leaves for the next, and what it amounts to: values only."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from dropdeploy.intake.listing import Entry
from dropdeploy.intake.provenance import Writing
from dropdeploy.model.fault import Fault
from dropdeploy.model.request import Marker, Upload, Version


@dataclass(frozen=True, slots=True)
class Seen:
    """Since when (monotonic seconds) these versions stand under a name."""

    versions: tuple[Version | None, ...]
    since: float


@dataclass(frozen=True, slots=True)
class Memory:
    """What one look leaves for the next. ``short`` are uploads that turned out to lack something when they were read;
    ``news`` are names whose older result could not be taken down yet."""

    seen: Mapping[str, Seen] = field(default_factory=dict)
    written: Mapping[str, Writing] = field(default_factory=dict)
    order: Mapping[str, tuple[Upload | Marker, int]] = field(default_factory=dict)
    short: Mapping[str, tuple[Upload, Fault]] = field(default_factory=dict)
    news: frozenset[str] = frozenset()
    count: int = 0


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is to be done. ``uploads`` are in the order in which they became ready, as are ``markers``.

    ``answers`` are uploads with the fault that is to be told instead of a deploy; ``fresh`` are names under which
    something new appeared with this look: a result from before no longer speaks of it. ``look_again_s``: after so many
    seconds the same files may amount to something else, event or not. ``leaving`` were deployed, are to be deleted, and
    nothing about them has changed for a while. ``asked`` are the names of all that has no answer yet, ready or not.
    """

    memory: Memory
    uploads: tuple[Upload, ...] = ()
    leaving: tuple[Upload, ...] = ()
    markers: tuple[Marker, ...] = ()
    answers: tuple[tuple[Upload, Fault], ...] = ()
    fresh: tuple[str, ...] = ()
    asked: frozenset[str] = frozenset()
    is_held: bool = False
    cancels: tuple[Entry, ...] = ()
    look_again_s: float | None = None

    @property
    def is_idle(self) -> bool:
        """Nothing is to be done, nothing waits, and the same files will amount to the same whenever they are judged."""
        doing = (self.uploads, self.leaving, self.markers, self.answers, self.fresh, self.cancels)
        return not any(doing) and self.look_again_s is None

    def without_uploads(self, names: Collection[str]) -> Judgement:
        """The same, of which nothing is to be done with the uploads of these names."""
        return replace(
            self,
            uploads=tuple(upload for upload in self.uploads if upload.name not in names),
            answers=tuple(found for found in self.answers if found[0].name not in names),
        )


def remember_news(memory: Memory, names: frozenset[str]) -> Memory:
    """These names' results could not be taken down yet: their uploads are being worked on, or may be those of which
    the results speak."""
    return replace(memory, news=names)


def remember_short(memory: Memory, upload: Upload, fault: Fault) -> Memory:
    """The upload was read to its end, and its end was missing, or a word that it is one whole."""
    return replace(memory, short={**memory.short, upload.name: (upload, fault)})
