"""A kernel that refuses: the calls by which the agent and its children write and open files are shown to the test
first, which lets each go on or has it fail (seccomp_unotify(2)).

Run as a module, in the agent's place, it is ``dropdeploy`` under such a filter: it connects to the socket
$REFUSING_KERNEL and hands the filter's listener over. What it tries again after seconds it tries again soon.
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import errno
import fcntl
import os
import select
import socket
import struct
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

# x86_64's numbers. Which argument names the file: a descriptor; or a directory's descriptor (None: the working
# directory) and a name.
Place = tuple[int] | tuple[int | None, int]
WRITES: dict[int, tuple[str, Place]] = {
    1: ("write", (0,)),
    18: ("pwrite", (0,)),
    20: ("writev", (0,)),
    40: ("sendfile", (0,)),
    74: ("fsync", (0,)),
    75: ("fdatasync", (0,)),
    77: ("ftruncate", (0,)),
    285: ("fallocate", (0,)),
    296: ("pwritev", (0,)),
    306: ("syncfs", (0,)),
    326: ("copy_file_range", (2,)),
    82: ("rename", (None, 1)),
    264: ("rename", (2, 3)),
    316: ("rename", (2, 3)),
    83: ("mkdir", (None, 0)),
    258: ("mkdir", (0, 1)),
    86: ("link", (None, 1)),
    265: ("link", (2, 3)),
    88: ("symlink", (None, 1)),
    266: ("symlink", (1, 2)),
}
REMOVALS: dict[int, tuple[str, Place]] = {
    84: ("rmdir", (None, 0)),
    87: ("unlink", (None, 0)),
    263: ("unlink", (0, 1)),
}
OPENS: dict[int, tuple[str, Place]] = {2: ("open", (None, 0)), 85: ("create", (None, 0)), 257: ("open", (0, 1))}
DESCRIPTORS = {
    22: "pipe",
    293: "pipe",
    41: "socket",
    43: "accept",
    288: "accept",
    53: "socketpair",
    290: "eventfd",
    291: "epoll",
    294: "inotify",
    319: "memfd",
    434: "pidfd",
}
_FILES = WRITES | REMOVALS | OPENS
_FLAGS_AT = {2: 1, 257: 2}
_RENAMEAT2, _EXCHANGE = 316, 2

MAKES = frozenset({"create", "mkdir", "link", "symlink"})
FLUSHES = frozenset({"fsync", "fdatasync", "syncfs"})
GROWING = frozenset(name for name, _ in WRITES.values()) - FLUSHES | MAKES
"""What may need room. Two names that change places need none."""
WRITING = GROWING | FLUSHES | {"exchange"}
CHANGING = WRITING | {name for name, _ in REMOVALS.values()}
OPENING = frozenset({"create", "rewrite", "open", *DESCRIPTORS.values()})

_SECCOMP, _SET_FILTER, _NEW_LISTENER = 317, 1, 1 << 3
_NO_NEW_PRIVS = 38
_X86_64 = 0xC000003E
_ALLOW, _NOTIFY = 0x7FFF0000, 0x7FC00000
_LOAD, _JUMP_EQUAL, _RETURN = 0x20, 0x15, 0x06
_RECEIVE, _SEND = 0xC0502100, 0xC0182101
_CONTINUE = 1
_AT_FDCWD = -100


def install() -> int:
    """Put this process and all its children under the filter; returns the listener's descriptor."""
    libc = ctypes.CDLL(None, use_errno=True)
    numbers = [*_FILES, *DESCRIPTORS]
    program = [
        (_LOAD, 0, 0, 4),
        (_JUMP_EQUAL, 0, len(numbers) + 1, _X86_64),
        (_LOAD, 0, 0, 0),
        *((_JUMP_EQUAL, len(numbers) - index, 0, number) for index, number in enumerate(numbers)),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _NOTIFY),
    ]
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
    buffer = ctypes.create_string_buffer(code, len(code))
    filter_ = struct.pack("@HP", len(program), ctypes.addressof(buffer))
    libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0)
    listener: int = libc.syscall(_SECCOMP, _SET_FILTER, ctypes.c_ulong(_NEW_LISTENER), ctypes.c_char_p(filter_))
    if listener < 0:
        raise OSError(ctypes.get_errno(), f"no seccomp listener: {os.strerror(ctypes.get_errno())}")
    return listener


def obstacle() -> str:
    """Why this cannot be had here; "" where it can."""
    if os.uname().machine != "x86_64":
        return "the numbers of the system calls are x86_64's"
    pid = os.fork()
    if pid == 0:
        try:
            install()
        except OSError:
            os._exit(1)
        os._exit(0)
    return "" if os.waitpid(pid, 0)[1] == 0 else "no seccomp listener can be had here"


@dataclass(frozen=True)
class Call:
    """A call that would change or open something. ``path`` is "" for what is no file."""

    name: str
    path: str


@dataclass
class Order:
    """Which calls count, and which of them fail: the ``first``-th (from 1), and where ``is_lasting`` all that follow.

    ``calls`` are those that counted, ``failed`` how many were refused.
    """

    names: frozenset[str]
    place: str
    error: int = errno.ENOSPC
    first: int = 0
    is_lasting: bool = False
    calls: list[Call] = field(default_factory=list)
    failed: int = 0

    def refuses(self, call: Call) -> bool:
        """Count a call; whether it is to fail."""
        if call.name not in self.names or not (call.path + "/").startswith(self.place):
            return False
        self.calls.append(call)
        at = len(self.calls)
        is_refused = bool(self.first) and (at >= self.first if self.is_lasting else at == self.first)
        self.failed += is_refused
        return is_refused


class Kernel:
    """The test's side: answers for the kernel, in a thread of its own, until the agent and all its children end."""

    def __init__(self, address: Path, witness: Callable[[], None]) -> None:
        """``witness`` is called before each call that counts, while whoever makes it waits."""
        self._door = socket.socket(socket.AF_UNIX)
        self._door.bind(str(address))
        self._door.listen()
        self._witness = witness
        self._order: Order | None = None
        self.failure: BaseException | None = None
        self._thread = threading.Thread(target=self._serve, name="refusing kernel", daemon=True)
        self._thread.start()

    def obey(self, order: Order | None) -> None:
        """From now on; None: nothing is refused."""
        self._order = order

    def close(self) -> None:
        """After the agent has ended."""
        self._door.close()
        self._thread.join(30)

    def _serve(self) -> None:
        try:
            client = self._door.accept()[0]
        except OSError:  # closed before an agent came
            return
        with client:
            _, ancillary, _, _ = client.recvmsg(1, socket.CMSG_SPACE(4))
            listener = array.array("i", ancillary[0][2])[0]
        try:
            self._answer_all(listener)
        except OSError as error:  # what the agent calls fails from now on
            self.failure = self.failure or error
        finally:
            os.close(listener)

    def _answer_all(self, listener: int) -> None:
        poll = select.poll()
        poll.register(listener, select.POLLIN)
        while not any(event & select.POLLHUP for _, event in poll.poll()):
            request = bytearray(80)
            try:
                fcntl.ioctl(listener, _RECEIVE, request)
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.EINTR):  # whoever called was killed meanwhile
                    continue
                raise
            number, pid, _, call, _, _, *arguments = struct.unpack("=QIIiIQ6Q", request)
            refusal = 0
            order = self._order
            if order is not None:
                try:
                    refusal = self._refusal(order, pid, call, arguments)
                except BaseException as error:  # it is the test's
                    self.failure = self.failure or error
            answer = struct.pack("=QqiI", number, 0, -refusal, 0 if refusal else _CONTINUE)
            with contextlib.suppress(FileNotFoundError):
                fcntl.ioctl(listener, _SEND, answer)

    def _refusal(self, order: Order, pid: int, number: int, arguments: list[int]) -> int:
        call = _call(pid, number, arguments)
        if call is None or call.name not in order.names:
            return 0
        before = len(order.calls)
        refused = order.refuses(call)
        if len(order.calls) > before:
            self._witness()
        return order.error if refused else 0


def _call(pid: int, number: int, arguments: list[int]) -> Call | None:
    if number in DESCRIPTORS:
        return Call(DESCRIPTORS[number], "")
    name, place = _FILES[number]
    if number in _FLAGS_AT:
        flags = arguments[_FLAGS_AT[number]]
        if flags & os.O_CREAT or flags & os.O_TMPFILE == os.O_TMPFILE:
            name = "create"
        elif flags & os.O_ACCMODE:
            name = "rewrite"
    if number == _RENAMEAT2 and arguments[4] & _EXCHANGE:
        name = "exchange"
    try:
        if len(place) == 1:
            return Call(name, os.readlink(f"/proc/{pid}/fd/{_int(arguments[place[0]])}"))
        directory, at = place
        path = _text(pid, arguments[at])
        if path.startswith("/"):
            return Call(name, path)
        fd = _AT_FDCWD if directory is None else _int(arguments[directory])
        base = os.readlink(f"/proc/{pid}/cwd" if fd == _AT_FDCWD else f"/proc/{pid}/fd/{fd}")
        return Call(name, f"{base}/{path}")
    except OSError:  # it has ended, or there is no such descriptor
        return None


def _int(argument: int) -> int:
    value = argument & 0xFFFFFFFF
    return value - (1 << 32) if value >> 31 else value


def _text(pid: int, address: int) -> str:
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        found = b""
        while b"\0" not in found and len(found) < 4096:
            # Not over the end of a page, behind which there may be nothing.
            piece = os.pread(memory.fileno(), 256 - address % 256, address)
            if not piece:
                break
            found += piece
            address += len(piece)
    return os.fsdecode(found.partition(b"\0")[0])


def main() -> int:
    """The agent under the filter."""
    from dropdeploy import cli
    from dropdeploy.lanes import answers, lane, working

    answers.AGAIN_S = 0.1
    lane._AFTER_TROUBLE_S = working._REST_S = 0.1
    with socket.socket(socket.AF_UNIX) as kernel:
        kernel.connect(os.environ["REFUSING_KERNEL"])
        listener = install()
        kernel.sendmsg([b"."], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [listener]))])
        os.close(listener)
    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
