"""The thread in which the agent asks."""

from __future__ import annotations

from pathlib import Path

from dropdeploy.history.keeping import History, Undecided
from dropdeploy.history.thread import HistoryThread
from dropdeploy.model.request import Action
from tests.unit.history.course import NOW, UPLOAD


async def test_the_thread_answers_in_order(tmp_path: Path) -> None:
    thread = HistoryThread(History(tmp_path / "history.db"))
    number = await thread.ask(lambda history: history.begin("myapp", Action.DEPLOY, UPLOAD, NOW))
    assert await thread.ask(lambda history: history.undecided("myapp")) == (Undecided(number, UPLOAD, NOW),)
    await thread.close()
