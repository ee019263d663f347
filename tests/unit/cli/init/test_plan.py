"""What is done about each thing that is missing, right, the administrator's or init's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from dropdeploy.cli.init.plan import Change, Leftover, Odd, Plan, plan_changes, plan_undo
from dropdeploy.cli.init.things import Account, Directory, Enabled, File, Group, Membership, Need, Thing

ROOT = Directory(Path("/home/shop"), "dropdeploy", "shop", 0o2750, Need.MATCH)
CHROOT = Directory(Path("/srv/drop"), mode=0o711, need=Need.ROOT_ONLY)
RULE = File(Path("/etc/polkit-1/rules.d/50-shop.rules"), "rule\n")
CHROOT_RULE = "sshd insists that a chroot and all above it are root's alone"
THINGS: tuple[Thing, ...] = (
    Account("shop", "/home/shop"),
    Group("drop-shop"),
    Membership("dropdeploy", "shop"),
    ROOT,
    RULE,
    Enabled("shop.service"),
)


def plan_one(wanted: Thing, there: Thing | Odd | None, *made: Thing) -> Plan:
    return plan_changes([wanted], {wanted.place: there}, made)


def undo(
    *made: Thing, found: dict[str, Thing | Odd | None] | None = None, **more: object
) -> tuple[list[Thing], list[Leftover]]:
    contents = dict.fromkeys((thing.path for thing in made if isinstance(thing, Directory)), frozenset[str]())
    contents |= more.get("contents", {})  # type: ignore[call-overload]
    return plan_undo(made, {thing.place: thing for thing in made} | (found or {}), contents, more.get("needed", {}))  # type: ignore[arg-type]


@pytest.mark.parametrize("thing", THINGS)
def test_what_is_missing_is_made_and_what_is_there_is_left(thing: Thing) -> None:
    assert plan_one(thing, None) == Plan((Change(None, thing),), ())
    assert plan_one(thing, thing) == Plan((), ())


@pytest.mark.parametrize(
    ("wanted", "there"),
    [
        (Account("shop", "/home/shop"), Account("shop", "/var/www", "/bin/bash")),
        (ROOT, Directory(ROOT.path, "dropdeploy", "shop", 0o2755)),
        (CHROOT, Directory(CHROOT.path, "root", "adm", 0o755)),
        (Directory(Path("/srv")), Directory(Path("/srv"), "ada", "ada", 0o777)),
        (RULE, File(RULE.path, RULE.text, "adm", 0o600)),
    ],
)
def test_what_will_do_is_left_as_it_is(wanted: Thing, there: Thing) -> None:
    assert plan_one(wanted, there) == Plan((), ())


@pytest.mark.parametrize(
    ("wanted", "there", "what", "mend"),
    [
        (
            ROOT,
            Directory(ROOT.path, "shop", "shop", 0o700),
            "/home/shop belongs to shop:shop and has mode 0700",
            "`chown dropdeploy:shop /home/shop && chmod 2750 /home/shop`, or choose another directory",
        ),
        (
            CHROOT,
            Directory(CHROOT.path, "root", "root", 0o777),
            f"/srv/drop belongs to root:root and has mode 0777 ({CHROOT_RULE})",
            "`chown root:root /srv/drop && chmod go-w /srv/drop`, or choose another directory",
        ),
        (
            ROOT,
            Odd("/home/shop is no directory"),
            "/home/shop is no directory",
            "move it away, or choose another place",
        ),
        (
            RULE,
            File(RULE.path, "mine\n"),
            f"{RULE.path} is there and says something else",
            "move it away and run this again",
        ),
    ],
)
def test_what_is_the_administrators_stands_in_the_way(wanted: Thing, there: Thing | Odd, what: str, mend: str) -> None:
    plan = plan_one(wanted, there)
    assert plan.changes == ()
    assert plan.obstacles[0].what == what
    assert plan.obstacles[0].mend.startswith(mend)


def test_a_file_of_its_own_is_brought_up_to_date_unless_somebody_changed_it() -> None:
    before = File(RULE.path, "old\n")
    assert plan_one(RULE, before, before) == Plan((Change(before, RULE),), ())
    edited = File(RULE.path, "edited\n")
    assert plan_one(RULE, edited, RULE) == Plan((), ())
    assert plan_one(RULE, edited, before).obstacles


def test_undo_takes_everything_back_last_made_first() -> None:
    assert undo(*THINGS) == (list(reversed(THINGS)), [])


def test_undo_leaves_what_was_changed_since_and_forgets_what_is_gone() -> None:
    edited = File(RULE.path, "edited\n")
    moved = Directory(ROOT.path, "shop", "shop", 0o700)
    found: dict[str, Thing | Odd | None] = {RULE.place: edited, ROOT.place: moved, "group drop-shop": None}
    gone, stays = undo(*THINGS, found=found)
    assert gone == [Enabled("shop.service"), Membership("dropdeploy", "shop")]
    assert [(leftover.thing.place, leftover.why) for leftover in stays] == [
        (RULE.place, "it was changed"),
        (ROOT.place, "it was changed"),
        ("user shop", "/home/shop stays, which belongs to it"),
    ]


def test_undo_leaves_directories_with_something_in_them_and_who_owns_them() -> None:
    shared = Directory(ROOT.path / "shared", "dropdeploy", "shop", 0o2770)
    made = (Account("shop", "/home/shop"), ROOT, shared)
    assert undo(*made, contents={ROOT.path: frozenset({"shared"})})[1] == []
    gone, stays = undo(*made, contents={ROOT.path: frozenset({"shared", "app", "releases"})})
    assert gone == [shared]
    assert [leftover.why for leftover in stays] == ["it holds app, releases", "/home/shop stays, which belongs to it"]


def test_undo_takes_a_drop_directory_with_nothing_but_its_status() -> None:
    drop = Directory(Path("/srv/drop/shop"), "dropdeploy", "drop-shop", 0o2770, Need.MATCH, ("status.toml",))
    assert undo(drop, contents={drop.path: frozenset({"status.toml"})}) == ([drop], [])
    assert undo(drop, contents={drop.path: frozenset({"status.toml", "b.zip"})})[0] == []


def test_undo_leaves_what_another_app_needs() -> None:
    gone, stays = undo(CHROOT, RULE, needed={CHROOT.place: "chat"})
    assert gone == [RULE]
    assert stays == [Leftover(CHROOT, "the app chat needs it too")]
