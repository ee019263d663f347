"""What may happen to an upload, done to one client each: the columns of the table.

Each returns what was seen, in a few words, and fails when anything is not as the drop protocol has it.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.box.clients.builds import Cargo
from tests.box.clients.ground import STALL_S, Place
from tests.box.clients.session import running
from tests.box.clients.table import NAMES, Left
from tests.box.clients.trial import Trial
from tests.box.machine import wait_until

MANY_FILES = 200
QUIET_S = 1.6 * STALL_S


def uninterrupted(trial: Trial) -> str:
    cargo = trial.upload(trial.build(1))
    trial.await_deployed(1, cargo, [1])
    return "deployed"


def from_afar(trial: Trial) -> str:
    """Over a long line. What a client still does to a file that it has closed comes when the deploy is done.

    rclone sets the times and looks again, a round trip for each: it must find the file, and be content.
    """
    parcel, cargo = trial.place.parcel(trial.build(1), trial.name, is_far=True)
    with running(trial.place, trial.place.client.put(parcel)) as session:
        session.finish()
    trial.say_go()
    trial.await_deployed(1, cargo, [1])
    return "deployed"


def from_afar_held(trial: Trial) -> str:
    """The same, and it comes while the deploy is in progress."""
    place = trial.place
    with place.held():
        parcel, cargo = place.parcel(trial.build(1), trial.name, is_far=True)
        with running(place, place.client.put(parcel)) as session:
            session.finish()
        trial.say_go()
        trial.await_hook()
    trial.await_deployed(1, cargo, [1])
    return "deployed"


def killed(trial: Trial) -> str:
    """Killed midway, and sent again when that has been answered."""
    with trial.slow_upload(trial.build(1)) as (session, _):
        assert trial.place.result(trial.name) is None
        session.kill()
    seen = "nothing"
    if trial.place.client.killed is Left.SHORT:
        result = trial.await_status("incomplete", "truncated-upload")
        assert result["error"]["step"] == "extract"
        seen = "incomplete"
    else:
        trial.assert_untouched(QUIET_S)
    assert trial.lived() == []
    cargo = trial.upload(trial.build(1), trial.place.client.again)
    trial.await_deployed(1, cargo, [1])
    return f"{seen}, again: deployed"


def client_frozen(trial: Trial) -> str:
    """The client stands still for longer than the stall, and then goes on to its end."""
    with trial.slow_upload(trial.build(1)) as (session, cargo):
        with session.frozen_client():
            await_stillness(trial, cargo)
            trial.assert_untouched(QUIET_S)
        session.finish()
    return await_first_deployed(trial, cargo)


def server_frozen(trial: Trial) -> str:
    """The server's side of the session stands still, and then goes on to its end."""
    with trial.slow_upload(trial.build(1)) as (session, cargo):
        with session.frozen_server():
            trial.assert_untouched(QUIET_S)
        session.finish()
    return await_first_deployed(trial, cargo)


def await_first_deployed(trial: Trial, cargo: Cargo) -> str:
    trial.say_go()
    trial.await_deployed(1, cargo, [1])
    return "untouched, then deployed"


def await_stillness(trial: Trial, cargo: Cargo) -> None:
    """What was under way when the client was stopped has arrived."""

    def snapshot() -> list[tuple[str, int]]:
        return sorted((str(path), path.lstat().st_size) for path in trial.place.drop.rglob("*"))

    last = snapshot()
    deadline = time.monotonic() + 10
    while True:
        time.sleep(0.2)
        now = snapshot()
        if now == last:
            return
        assert time.monotonic() < deadline, f"{cargo.label} goes on arriving"
        last = now


def resumed(trial: Trial) -> str:
    """Killed midway, and gone on with at once."""
    with trial.slow_upload(trial.build(1)) as (session, _):
        session.kill()
    cargo = trial.upload(trial.build(1), trial.place.client.again)
    trial.await_deployed(1, cargo, [1])
    return "deployed"


def resumed_with_another(trial: Trial) -> str:
    """Killed midway, and gone on with another build, which some clients take for the rest of the first one."""
    with trial.slow_upload(trial.build(1)) as (session, _):
        session.kill()
    cargo = trial.upload(trial.build(2), trial.place.client.again)
    if not trial.place.client.is_blind:
        trial.await_deployed(2, cargo, [2])
        return "deployed"
    trial.await_status("rejected", "corrupt-upload")
    assert trial.lived() == []
    cargo = trial.upload(trial.build(3))
    trial.await_deployed(3, cargo, [3])
    return "corrupt, again: deployed"


def overwriting(trial: Trial) -> str:
    """The next build arrives whole while the one before is being deployed."""
    with trial.place.held():
        trial.upload(trial.build(1))
        trial.await_hook()
        cargo = trial.upload(trial.build(2))
        assert trial.lived() == []
    trial.await_live(2)
    trial.await_deployed(2, cargo, [1, 2])
    return "both deployed"


def overwriting_killed(trial: Trial) -> str:
    """The client of the next build is killed midway while the one before is being deployed."""
    with trial.place.held():
        trial.upload(trial.build(1))
        trial.await_hook()
        with trial.slow_upload(trial.build(2)) as (session, _):
            session.kill()
        assert trial.lived() == []
    client = trial.place.client
    match client.killed_over:
        case Left.NOTHING:
            trial.await_status("deployed")
            seen, again = "first deployed", client.again
        case Left.SHORT:
            trial.await_status("incomplete", "truncated-upload")
            seen, again = "first deployed, second incomplete", client.again
        case Left.MIXED:
            trial.await_status("rejected", "corrupt-upload")
            seen, again = "first deployed, second corrupt", client.anew or client.put
    trial.await_live(1)
    cargo = trial.upload(trial.build(2), again)
    trial.await_live(2)
    trial.await_deployed(2, cargo, [1, 2])
    return f"{seen}, again: deployed"


def overwriting_read(trial: Trial) -> str:
    """The next build arrives while the one before is being read.

    Of a file: who writes in place waits until the reader has let go, and the first build is dropped for the second;
    who renames takes nothing from the reader. Of a tree: it is half of the one and half of the other, and refused.
    """
    place = trial.place
    if place.client.is_tree:
        return overwriting_read_tree(trial)
    with place.stopped_unpacker() as unpacker:
        trial.upload(trial.build(1))
        unpacker.await_stop()
        parcel, cargo = place.parcel(trial.build(2), trial.name)
        with running(place, place.client.put(parcel)) as session:
            wait_until(
                lambda: session.has_ended or place.is_opener_waiting(trial.name), f"{cargo.label} there, or waiting"
            )
            assert trial.lived() == []
            unpacker.go_on()
            session.finish()
    trial.await_live(2)
    lived = trial.lived()
    assert lived in ([2], [1, 2])
    trial.await_deployed(2, cargo, lived)
    return "both deployed" if lived == [1, 2] else "first dropped, second deployed"


def overwriting_read_tree(trial: Trial) -> str:
    with trial.place.stopped_unpacker() as unpacker:
        trial.upload(trial.build(1, MANY_FILES))
        unpacker.await_stop()
        with trial.slow_upload(trial.build(2, MANY_FILES)) as (session, cargo):
            unpacker.go_on()
            trial.await_status("rejected", "changed-while-reading")
            session.finish()
    assert trial.lived() == []
    trial.say_go()
    trial.await_deployed(2, cargo, [2])
    return "first refused, second deployed"


Cell = Callable[[Trial], str]

COLUMNS: dict[str, Cell] = {
    "uninterrupted": uninterrupted,
    "from-afar": from_afar,
    "from-afar-held": from_afar_held,
    "killed": killed,
    "client-frozen": client_frozen,
    "server-frozen": server_frozen,
    "resumed": resumed,
    "resumed-with-another": resumed_with_another,
    "overwriting": overwriting,
    "overwriting-killed": overwriting_killed,
    "overwriting-read": overwriting_read,
}


def run_cell(place: Place, column: str) -> str:
    """One client, one thing that happens to it."""
    name = column if place.client.is_tree else f"{column}.tar.gz"
    return run_trial(COLUMNS[column], place, column, name)


def run_name(place: Place, label: str) -> str:
    """One client, one odd name."""
    name = NAMES[label].removesuffix(".tar.gz") if place.client.is_tree else NAMES[label]
    return run_trial(uninterrupted, place, "named-" + label.replace(" ", "-").lower(), name)


def run_trial(cell: Cell, place: Place, column: str, name: str) -> str:
    flaws_before = len(place.witness.flaws_of(place.app))
    seen = cell(Trial(place, column, name, len(place.lives())))
    assert place.witness.is_watching
    assert place.witness.flaws_of(place.app)[flaws_before:] == []
    return seen
