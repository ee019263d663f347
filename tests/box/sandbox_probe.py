"""What whoever has taken over the agent could do: run in the agent's place, with all that its unit grants and denies.

Prints one line for each attempt, ``VERB PLACE: OUTCOME``. test_sandbox.py says what is to come out.
"""

from __future__ import annotations

import ctypes
import fcntl
import grp
import mmap
import os
import pwd
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from dropdeploy.releases.confinement import confine

APP = sys.argv[1]
ROOT, DROP = f"/home/{APP}", f"/srv/drop/{APP}"
LIBC = ctypes.CDLL(None, use_errno=True)
# syscall(2) numbers of x86_64 and aarch64.
CALLS = {
    "open_by_handle_at": (304, 265),
    "ptrace": (101, 117),
    "mount": (165, 40),
    "unshare": (272, 97),
    "setns": (308, 268),
    "bpf": (321, 280),
    "keyctl": (250, 219),
    "chroot": (161, 51),
    "setuid": (105, 146),
    "init_module": (175, 105),
    "sethostname": (170, 161),
    "clock_settime": (227, 112),
    "reboot": (169, 142),
    "perf_event_open": (298, 241),
    "io_uring_setup": (425, 425),
    "process_vm_readv": (310, 270),
    "fanotify_init": (300, 262),
}


def read(path: str) -> str:
    return Path(path).read_text(errors="replace").strip().split("\n")[0] or "(nothing)"


def listed(path: str) -> str:
    return " ".join(sorted(os.listdir(path))) or "(nothing)"


def write(path: str) -> str:
    os.close(os.open(f"{path}/probe-was-here", os.O_WRONLY | os.O_CREAT, 0o644))
    return "written"


def change(path: str) -> str:
    os.close(os.open(path, os.O_WRONLY))
    return "opened"


def remove(path: str) -> str:
    os.unlink(path)
    return "removed"


def change_mode(path: str) -> str:
    os.chmod(path, 0o777)
    return "changed"


def lease(path: str) -> str:
    with open(path) as file:
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    return "granted"


def run(command: str) -> str:
    done = subprocess.run(command.split(), capture_output=True, text=True, check=False)
    told = (done.stdout + done.stderr).strip().split("\n")[0]
    if done.returncode == 0:
        return told or "done"
    return "not authorised" if re.search("authentication required|Access denied", told) else f"refused: {told}"


def call(name: str) -> str:
    number = CALLS[name][os.uname().machine == "aarch64"]
    # unshare(0) does nothing and succeeds; CLONE_NEWUSER is what everybody may ask for.
    first = 0x10000000 if name == "unshare" else 0
    if LIBC.syscall(number, first, 0, 0, 0, 0, 0) == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return "done"


def map_writable_code(_: str) -> str:
    try:
        mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC).close()
    except PermissionError:  # EPERM or EACCES, as the distribution's seccomp or the kernel says it
        return "refused"
    return "mapped"


def open_socket(name: str) -> str:
    kind = socket.SOCK_DGRAM if name == "AF_NETLINK" else socket.SOCK_RAW if name == "AF_PACKET" else socket.SOCK_STREAM
    socket.socket(getattr(socket, name), kind).close()
    return "opened"


def open_raw(_: str) -> str:
    socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP).close()
    return "opened"


def connect(address: str) -> str:
    host, _, port = address.rpartition(":")
    socket.create_connection((host, int(port)), 5).close()
    return "connected"


def make_device(path: str) -> str:
    os.mknod(path, 0o600 | 0o060000, os.makedev(8, 0))
    return "made"


def end(pid: str) -> str:
    os.kill(int(pid), signal.SIGTERM)
    return "signalled"


def see(_: str) -> str:
    mine = os.geteuid()
    others = [pid for pid in os.listdir("/proc") if pid.isdigit() and os.stat(f"/proc/{pid}").st_uid != mine]
    return f"{len(others)} processes of others"


def identity(_: str) -> str:
    groups = sorted(grp.getgrgid(gid).gr_name for gid in {os.getegid(), *os.getgroups()})
    return f"{pwd.getpwuid(os.geteuid()).pw_name} in {' '.join(groups)}"


def capabilities(which: str) -> str:
    status = Path("/proc/self/status").read_text()
    return status.partition(f"\n{which}:\t")[2].split("\n")[0].lstrip("0") or "none"


def as_unpacker(what: str) -> str:
    """The unpacker's own cage, inside the agent's: in a child, as there is no way back."""
    staging = os.open(f"{ROOT}/releases", os.O_RDONLY | os.O_DIRECTORY)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        confine(staging)
        told = attempt(UNPACKER[what], what)
        os.write(writing, told.encode())
        os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    return os.read(reading, 4096).decode()


UNPACKER: dict[str, Callable[[str], str]] = {
    f"{ROOT}/releases": write,
    f"{ROOT}/shared": write,
    "/etc/passwd": read,
    "/usr/bin/id": run,
    "AF_UNIX": open_socket,
}


def attempt(act: Callable[[str], str], place: str) -> str:
    try:
        return act(place)
    except OSError as error:
        return f"refused: {error.strerror}"


def main() -> None:
    for verb, (act, places) in ATTEMPTS.items():
        for place in places:
            print(f"{verb} {place}: {attempt(act, place)}", flush=True)


ATTEMPTS: dict[str, tuple[Callable[[str], str], tuple[str, ...]]] = {
    "be": (identity, ("somebody",)),
    "hold": (capabilities, ("CapEff", "CapBnd", "NoNewPrivs", "Seccomp")),
    "lease": (lease, (f"{DROP}/private.tar",)),
    "read": (
        read,
        (
            f"{DROP}/private.tar",
            f"{DROP}/private/deep/file",
            f"{ROOT}/shared/.env",
            "/etc/dropdeploy/apps.d/probed.toml",
            "/etc/shadow",
            "/etc/ssh/ssh_host_ed25519_key",
            "/etc/sudoers",
            "/etc/polkit-1/rules.d/50-dropdeploy-probed.rules",
            "/root/secret",
            "/home/laptop/.ssh/id_ed25519",
            "/home/laptop/secret",
            "/var/lib/secret",
            "/var/run/secret",
            "/srv/secret",
            "/opt/secret",
            "/mnt/secret",
            "/proc/1/environ",
            "/run/credentials/x",
        ),
    ),
    "list": (listed, ("/home", "/srv", "/root", "/var", "/var/lib", "/opt", "/etc/ssl")),
    "see": (see, ("/proc",)),
    "write": (
        write,
        (
            *(ROOT, f"{ROOT}/releases", f"{ROOT}/shared", DROP, "/var/lib/dropdeploy", "/run/dropdeploy", "/tmp"),
            *("/srv/drop", "/home", "/home/laptop", "/root", "/etc", "/etc/dropdeploy/apps.d", "/usr/bin", "/var"),
            *("/run", "/run/lock", "/run/systemd/system", "/dev", "/sys/fs/cgroup"),
        ),
    ),
    "change": (change, ("/etc/hosts", "/etc/dropdeploy/apps.d/probed.toml", "/proc/sys/kernel/hostname")),
    "chmod": (change_mode, (f"{DROP}/private.tar", f"{ROOT}/shared/.env")),
    "remove": (remove, (f"{DROP}/private.tar", f"{DROP}/private/deep/file")),
    "run": (run, ("/usr/bin/id -un", "sudo -n id -un", "journalctl -q -n 1 -o cat -u probed.service")),
    "call": (call, tuple(CALLS)),
    "map": (map_writable_code, ("code",)),
    "mknod": (make_device, (f"{ROOT}/disk",)),
    "kill": (end, ("1",)),
    "open": (open_socket, ("AF_UNIX", "AF_INET", "AF_INET6", "AF_NETLINK", "AF_PACKET", "AF_VSOCK")),
    "raw": (open_raw, ("socket",)),
    "connect": (connect, ("127.0.0.1:22", "localhost:22")),
    "bus": (
        run,
        (
            *(f"systemctl --no-ask-password {verb} probed.service" for verb in ("restart", "reset-failed")),
            *(f"systemctl --no-ask-password {verb} ssh.service" for verb in ("restart", "stop", "mask")),
            "systemctl --no-ask-password daemon-reload",
            "systemctl --no-ask-password reboot",
            "systemctl --no-ask-password set-environment X=1",
            "systemd-run --no-ask-password --quiet /usr/bin/id",
            "hostnamectl --no-ask-password hostname mine",
        ),
    ),
    "unpack": (as_unpacker, tuple(UNPACKER)),
}


if __name__ == "__main__":
    main()
