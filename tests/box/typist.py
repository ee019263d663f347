"""Types at a shell's prompt, in a terminal of its own, and shows what the shell did: typist.py SHELL… LINE [SETUP]

``LINE`` is typed and entered; a tab in it asks for a completion. Run as a program, in the box.
"""

import os
import pty
import re
import select
import sys
import time

TIMEOUT_S = 20


def main(shell: str, setup: str, line: str) -> int:
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ["TERM"] = "dumb" if shell.startswith("fish") else "xterm"
        program, *_ = words = shell.split()
        os.execvp(program, words)
    shown = b""

    def await_(mark: bytes) -> bool:
        nonlocal shown
        deadline = time.monotonic() + TIMEOUT_S
        while not re.search(mark, shown):
            if time.monotonic() > deadline:
                return False
            if select.select([terminal], [], [], 0.1)[0]:
                try:
                    shown += os.read(terminal, 65536)
                except OSError:
                    return False
        return True

    # The quotes keep the marks out of what is only echoed.
    os.write(terminal, f"{setup}; echo rea''dy\n".encode())
    has_come = await_(rb"ready\r\n")
    shown = b""
    os.write(terminal, f"{line}\r".encode())
    has_come = has_come and await_(rb"got <[^\n]*>\r\n")
    print(shown.decode(errors="replace"))
    os.close(terminal)
    return 0 if has_come else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
