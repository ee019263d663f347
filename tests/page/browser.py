"""A real browser without a screen, driven over a pipe by the DevTools protocol
(https://chromedevtools.github.io/devtools-protocol/): --remote-debugging-pipe reads commands from descriptor 3 and
writes answers to 4, each a JSON text that ends with a NUL."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DEADLINE_S = 60.0
NAMES = ("chromium", "chromium-browser", "google-chrome")
KEYS = {"Tab": (9, ""), "Enter": (13, "\r")}


def find() -> str | None:
    """The program, if there is one."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Browser:
    """One window with one page. What the page's console complains of is kept in ``complaints``."""

    def __init__(self, commands: int, answers: int) -> None:
        self._commands = commands
        self._answers = answers
        self._read = b""
        self._number = 0
        self._session = ""
        self.complaints: list[str] = []
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")

    # --- what a person does ---

    def open(self, address: str) -> None:
        """Go there, and wait until all is loaded."""
        self._call("Page.navigate", url="about:blank")
        self.wait_for("location.href === 'about:blank'")
        self._call("Page.navigate", url=address)
        self.wait_for("location.href !== 'about:blank' && document.readyState === 'complete'")

    def look(self, *, width: int = 1200, height: int = 900, is_dark: bool = False, has_script: bool = True) -> None:
        """Another window, another taste."""
        is_phone = width < 600
        self._call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=is_phone
        )
        features = [{"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}]
        self._call("Emulation.setEmulatedMedia", features=features)
        self._call("Emulation.setScriptExecutionDisabled", value=not has_script)

    def press(self, key: str) -> None:
        """A key, down and up."""
        code, text = KEYS[key]
        common = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        self._call("Input.dispatchKeyEvent", type="keyDown", text=text, **common)
        self._call("Input.dispatchKeyEvent", type="keyUp", **common)

    def picture(self, path: Path, *, is_whole: bool = False) -> None:
        """A PNG of what is seen, or of the whole page."""
        told = self._call("Page.captureScreenshot", captureBeyondViewport=is_whole)
        path.write_bytes(base64.b64decode(told["data"]))

    # --- what a test asks ---

    def ask(self, expression: str) -> Any:
        """The value of a JavaScript expression; a promise is awaited."""
        told = self._call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in told:
            raise AssertionError(told["exceptionDetails"])
        return told["result"].get("value")

    def wait_for(self, expression: str, deadline_s: float = DEADLINE_S) -> Any:
        """The first true value; an element is one."""
        end = time.monotonic() + deadline_s
        while not (value := self._ask_while_it_changes(f"((found) => found instanceof Node || found)({expression})")):
            if time.monotonic() > end:
                raise AssertionError(f"not within {deadline_s:g} s: {expression}")
            time.sleep(0.02)
        return value

    def text(self, selector: str) -> str:
        """What is to be read there; without scripts too."""
        root = self._call("DOM.getDocument", depth=0)["root"]["nodeId"]
        found = self._call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        return str(self._call("DOM.getOuterHTML", nodeId=found)["outerHTML"])

    def _ask_while_it_changes(self, expression: str) -> Any:
        with contextlib.suppress(LostContextError):
            return self.ask(expression)
        return None

    # --- the wire ---

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            told = self._receive()
            if told.get("id") == self._number:
                if "error" in told:
                    text = str(told["error"].get("message"))
                    raise (LostContextError if "context" in text else RuntimeError)(f"{method}: {text}")
                result: dict[str, Any] = told["result"]
                return result
            self._note(told)

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._read:
            ready, _, _ = select.select([self._answers], [], [], DEADLINE_S)
            chunk = os.read(self._answers, 1 << 20) if ready else b""
            if not chunk:
                raise RuntimeError("the browser does not answer")
            self._read += chunk
        message, _, self._read = self._read.partition(b"\0")
        told: dict[str, Any] = json.loads(message)
        return told

    def _note(self, told: dict[str, Any]) -> None:
        parameters = told.get("params", {})
        if told.get("method") == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            self.complaints.append(str(parameters["entry"].get("text")))
        elif told.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(str(parameters["exceptionDetails"]))
        elif told.get("method") == "Page.javascriptDialogOpening":
            self.complaints.append("a dialog opened")


class LostContextError(Exception):
    """The page went away while it was asked."""


@contextlib.contextmanager
def opened(place: Path) -> Iterator[Browser]:
    """A browser whose files are in ``place``."""
    program = find()
    assert program is not None
    commands_out, commands_in = os.pipe()
    answers_out, answers_in = os.pipe()
    # As root it runs without its sandbox, or not at all; the page is our own.
    options = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars")
    quiet = ("--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync")
    command = [program, *options, *quiet, f"--user-data-dir={place}", "--remote-debugging-pipe", "about:blank"]
    with (place.parent / f"{place.name}.log").open("wb") as log:
        process = subprocess.Popen(
            ["bash", "-c", f'exec "$@" 3<&{commands_out} 4>&{answers_in}', "browser", *command],
            pass_fds=(commands_out, answers_in),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, "HOME": str(place)},
        )
    os.close(commands_out)
    os.close(answers_in)
    try:
        yield Browser(commands_in, answers_out)
    finally:
        os.close(commands_in)  # which it takes for the end
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        os.close(answers_out)
