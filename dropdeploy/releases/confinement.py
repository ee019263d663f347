"""Shutting the unpacker in: after this, a parser that a hostile archive has taken over can write into the staging
directory and talk to the agent through its pipes, and nothing else.

No new privileges (prctl(2)), hardly a capability (capabilities(7)), no file outside the staging directory
(landlock(7)), no program started, no socket, no other process touched (seccomp(2)), no core dump. What the kernel does
not have is left out: the unpacker's own rules do not stand on this. Must be called before the first thread is started,
and after everything that is needed has been imported.
"""

from __future__ import annotations

import ctypes
import os
import resource
import struct

_LIBC = ctypes.CDLL(None, use_errno=True)

_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT = 22, 38, 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4
_CAPABILITY_VERSION_3 = 0x20080522
_CAP_DAC_READ_SEARCH, _CAP_FSETID = 2, 4

_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446  # the same on every architecture
_LANDLOCK_VERSION_FLAG = 1
_RULE_PATH_BENEATH = 1
_WRITE_FILE, _READ_FILE, _READ_DIR, _REMOVE_DIR, _REMOVE_FILE = (1 << bit for bit in range(1, 6))
_MAKE_DIR, _MAKE_REG, _MAKE_SYM, _REFER, _TRUNCATE = 1 << 7, 1 << 8, 1 << 12, 1 << 13, 1 << 14
_IN_STAGING = (
    *(_WRITE_FILE, _READ_FILE, _READ_DIR, _REMOVE_DIR, _REMOVE_FILE),
    *(_MAKE_DIR, _MAKE_REG, _MAKE_SYM, _REFER, _TRUNCATE),
)
_FILE_RIGHTS_BY_VERSION = {2: 14, 3: 15, 4: 15, 5: 16}
"""How many rights to files a version knows. The first one forbade links between directories altogether."""
_NET_RIGHTS = 0b11  # bind and connect TCP, since version 4

_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_FORBIDDEN = {
    # socket, socketpair, connect, bind, execve, execveat, ptrace, kill, tkill, tgkill, process_vm_readv, …_writev,
    # mount, unshare, setns, bpf, perf_event_open, keyctl, io_uring_setup, pidfd_open, pidfd_getfd
    "x86_64": (41, 53, 42, 49, 59, 322, 101, 62, 200, 234, 310, 311, 165, 272, 308, 321, 298, 250, 425, 434, 438),
    "aarch64": (198, 199, 203, 200, 221, 281, 117, 129, 130, 131, 270, 271, 40, 97, 268, 280, 241, 219, 425, 434, 438),
}
_SECCOMP_MODE_FILTER = 2
_SECCOMP_ALLOW, _SECCOMP_EPERM = 0x7FFF0000, 0x00050001
_BPF_LOAD, _BPF_JUMP_EQUAL, _BPF_JUMP_GE, _BPF_RETURN = 0x20, 0x15, 0x35, 0x06
_X32_BIT = 0x40000000


def confine(staging: int, source: int | None = None, former: int | None = None) -> None:
    """Give up every right but writing below the directory ``staging`` and, for a directory upload, reading ``source``;
    and reading the release ``former``, where it is to be compared with.

    Descriptors that are open stay usable.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _LIBC.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    # An uploader's files may be closed to others: reading a directory upload is what the first capability is for.
    # The second one only root has: without it, directories of a group that root is not in would lose their set-gid bit.
    reading = 0 if source is None else 1 << _CAP_DAC_READ_SEARCH
    _keep_capabilities(reading | 1 << _CAP_FSETID)
    _restrict_files(staging, [fd for fd in (source, former) if fd is not None])
    _restrict_calls()


def _keep_capabilities(mask: int) -> None:
    _LIBC.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    now = ctypes.create_string_buffer(24)
    if _LIBC.capget(header, now) != 0:
        return
    low_effective, low_permitted, _, _, _, _ = struct.unpack("=6I", now.raw)
    kept = struct.pack("=6I", low_effective & mask, low_permitted & mask, 0, 0, 0, 0)
    _LIBC.capset(header, kept)


def _restrict_files(staging: int, readable: list[int]) -> None:
    version = _LIBC.syscall(_LANDLOCK_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint(_LANDLOCK_VERSION_FLAG))
    known = _FILE_RIGHTS_BY_VERSION.get(min(version, max(_FILE_RIGHTS_BY_VERSION)))
    if known is None:
        return
    rights = (1 << known) - 1
    attributes = struct.pack("=QQ", rights, _NET_RIGHTS) if version >= 4 else struct.pack("=Q", rights)
    ruleset = _LIBC.syscall(_LANDLOCK_CREATE, attributes, ctypes.c_size_t(len(attributes)), ctypes.c_uint(0))
    if ruleset < 0:
        return
    _allow_beneath(ruleset, staging, sum(_IN_STAGING) & rights)
    for directory in readable:
        _allow_beneath(ruleset, directory, _READ_FILE | _READ_DIR)
    _LIBC.syscall(_LANDLOCK_RESTRICT, ctypes.c_int(ruleset), ctypes.c_uint(0))
    os.close(ruleset)


def _allow_beneath(ruleset: int, directory: int, rights: int) -> None:
    rule = struct.pack("=Qi", rights, directory)
    _LIBC.syscall(_LANDLOCK_ADD, ctypes.c_int(ruleset), ctypes.c_int(_RULE_PATH_BENEATH), rule, ctypes.c_uint(0))


def _restrict_calls() -> None:
    """A filter in classic BPF, over struct seccomp_data: the call's number at offset 0, the architecture at 4."""
    machine = os.uname().machine
    if machine not in _FORBIDDEN:
        return
    numbers = _FORBIDDEN[machine]
    program = [
        (_BPF_LOAD, 0, 0, 4),
        # Another architecture's calls (32-bit ones, say) have other numbers: none of them is needed.
        (_BPF_JUMP_EQUAL, 0, len(numbers) + 3, _AUDIT_ARCH[machine]),
        (_BPF_LOAD, 0, 0, 0),
        (_BPF_JUMP_GE, len(numbers) + 1, 0, _X32_BIT),
        *((_BPF_JUMP_EQUAL, len(numbers) - index, 0, number) for index, number in enumerate(numbers)),
        (_BPF_RETURN, 0, 0, _SECCOMP_ALLOW),
        (_BPF_RETURN, 0, 0, _SECCOMP_EPERM),
    ]
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
    buffer = ctypes.create_string_buffer(code, len(code))
    prog = struct.pack("@HP", len(program), ctypes.addressof(buffer))
    _LIBC.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.c_char_p(prog), 0, 0)
