from __future__ import annotations

from dropdeploy.lanes.slots import Slots


def test_who_finds_none_is_woken_in_order() -> None:
    slots, woken = Slots(1), []
    assert slots.try_take("a", lambda: woken.append("a"))
    assert not slots.try_take("b", lambda: woken.append("b"))
    assert not slots.try_take("c", lambda: woken.append("c"))
    slots.give_back()
    assert woken == ["b"]
    assert not slots.try_take("c", lambda: woken.append("c"))  # it is not its turn
    assert slots.try_take("b", lambda: woken.append("b"))
    slots.give_back()
    assert woken == ["b", "c"]
    assert slots.try_take("c", lambda: woken.append("c"))


def test_who_gives_up_holds_nobody_up() -> None:
    slots, woken = Slots(1), []
    assert slots.try_take("a", lambda: None)
    assert not slots.try_take("b", lambda: woken.append("b"))
    assert not slots.try_take("c", lambda: woken.append("c"))
    slots.give_back()
    slots.give_up("b")
    assert woken == ["b", "c"]
    assert slots.try_take("c", lambda: None)
    slots.give_up("nobody")


def test_all_that_were_given_back_at_once_are_taken() -> None:
    slots = Slots(3)
    woken: list[str] = []
    for name in ("a", "b", "c"):
        assert slots.try_take(name, lambda: None)
    for name in ("d", "e", "f", "g"):
        assert not slots.try_take(name, lambda name=name: woken.append(name))
    for _ in range(3):
        slots.give_back()
    took = []
    while woken:
        name = woken.pop(0)
        if name not in took and slots.try_take(name, lambda: None):
            took.append(name)
    assert took == ["d", "e", "f"]
