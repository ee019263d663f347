"""What the agent's unit leaves to whoever has taken over the agent: everything that is tried, and what comes of it.

He has the apps' releases, their secrets, all drop directories, the history, the apps' units and the network: what the
agent works with. What is in /run he reads, as the apps' sockets are there. Nothing else of the machine is there.
"""

from __future__ import annotations

import pytest

from tests.box.server import AGENT_UNIT, Server

EXPECTED = """
be somebody: dropdeploy in dropdeploy probed systemd-journal
hold CapEff: 10000004
hold CapBnd: 10000004
hold NoNewPrivs: 1
hold Seccomp: 2
lease /srv/drop/probed/private.tar: granted
read /srv/drop/probed/private.tar: build
read /srv/drop/probed/private/deep/file: x
read /home/probed/shared/.env: PASSWORD=x
read /etc/dropdeploy/apps.d/probed.toml: (nothing)
read /etc/shadow: refused: No such file or directory
read /etc/ssh/ssh_host_ed25519_key: refused: No such file or directory
read /etc/sudoers: refused: No such file or directory
read /etc/polkit-1/rules.d/50-dropdeploy-probed.rules: refused: No such file or directory
read /root/secret: refused: No such file or directory
read /home/laptop/.ssh/id_ed25519: refused: No such file or directory
read /home/laptop/secret: refused: No such file or directory
read /var/lib/secret: refused: No such file or directory
read /var/run/secret: of the hour
read /srv/secret: refused: No such file or directory
read /opt/secret: refused: No such file or directory
read /mnt/secret: refused: No such file or directory
read /proc/1/environ: refused: No such file or directory
read /run/credentials/x: refused: No such file or directory
list /home: probed
list /srv: drop
list /root: (nothing)
list /var: lib log run tmp
list /var/lib: dropdeploy
list /opt: (nothing)
list /etc/ssl: certs openssl.cnf
see /proc: 0 processes of others
write /home/probed: written
write /home/probed/releases: written
write /home/probed/shared: written
write /srv/drop/probed: written
write /var/lib/dropdeploy: written
write /run/dropdeploy: written
write /tmp: written
write /srv/drop: refused: Permission denied
write /home: refused: Read-only file system
write /home/laptop: refused: No such file or directory
write /root: refused: Read-only file system
write /etc: refused: Read-only file system
write /etc/dropdeploy/apps.d: refused: Read-only file system
write /usr/bin: refused: Read-only file system
write /var: refused: Read-only file system
write /run: refused: Read-only file system
write /run/lock: refused: Read-only file system
write /run/systemd/system: refused: Read-only file system
write /dev: refused: Read-only file system
write /sys/fs/cgroup: refused: Read-only file system
change /etc/hosts: refused: Permission denied
change /etc/dropdeploy/apps.d/probed.toml: refused: Permission denied
change /proc/sys/kernel/hostname: refused: Permission denied
chmod /srv/drop/probed/private.tar: refused: Operation not permitted
chmod /home/probed/shared/.env: refused: Operation not permitted
remove /srv/drop/probed/private.tar: removed
remove /srv/drop/probed/private/deep/file: refused: Permission denied
run /usr/bin/id -un: dropdeploy
run sudo -n id -un: refused: sudo: The "no new privileges" flag is set, which prevents sudo from running as root.
run journalctl -q -n 1 -o cat -u probed.service: ready
call open_by_handle_at: refused: Operation not permitted
call ptrace: refused: Operation not permitted
call mount: refused: Operation not permitted
call unshare: refused: Operation not permitted
call setns: refused: Operation not permitted
call bpf: refused: Operation not permitted
call keyctl: refused: Operation not permitted
call chroot: refused: Operation not permitted
call setuid: refused: Operation not permitted
call init_module: refused: Operation not permitted
call sethostname: refused: Operation not permitted
call clock_settime: refused: Operation not permitted
call reboot: refused: Operation not permitted
call perf_event_open: refused: Operation not permitted
call io_uring_setup: refused: Operation not permitted
call process_vm_readv: refused: Operation not permitted
call fanotify_init: refused: Operation not permitted
map code: refused
mknod /home/probed/disk: refused: Operation not permitted
kill 1: refused: Operation not permitted
open AF_UNIX: opened
open AF_INET: opened
open AF_INET6: opened
open AF_NETLINK: refused: Address family not supported by protocol
open AF_PACKET: refused: Address family not supported by protocol
open AF_VSOCK: refused: Address family not supported by protocol
raw socket: refused: Operation not permitted
connect 127.0.0.1:22: connected
connect localhost:22: connected
bus systemctl --no-ask-password restart probed.service: done
bus systemctl --no-ask-password reset-failed probed.service: done
bus systemctl --no-ask-password restart ssh.service: not authorised
bus systemctl --no-ask-password stop ssh.service: not authorised
bus systemctl --no-ask-password mask ssh.service: not authorised
bus systemctl --no-ask-password daemon-reload: not authorised
bus systemctl --no-ask-password reboot: not authorised
bus systemctl --no-ask-password set-environment X=1: not authorised
bus systemd-run --no-ask-password --quiet /usr/bin/id: not authorised
bus hostnamectl --no-ask-password hostname mine: not authorised
unpack /home/probed/releases: written
unpack /home/probed/shared: refused: Permission denied
unpack /etc/passwd: refused: Permission denied
unpack /usr/bin/id: refused: Operation not permitted
unpack AF_UNIX: refused: Operation not permitted
"""

PROBE_INSTEAD = """
[Service]
Type=oneshot
Environment=PYTHONPATH=/src PYTHONDONTWRITEBYTECODE=1
ExecStart=
ExecStart=/usr/bin/python3 -P /src/tests/box/sandbox_probe.py probed
StandardOutput=truncate:/run/told
Restart=no
WatchdogSec=0
"""
SECRETS = ("/root/secret", "/home/laptop/secret", "/var/lib/secret", "/srv/secret", "/opt/secret", "/mnt/secret")
APP = "[Service]\nExecStart=/bin/sh -c 'echo ready; exec sleep infinity'\n"
PACK = "umask 077; mkdir -p private/deep; printf x > private/deep/file; printf build > private.tar"


@pytest.fixture
def probed(fresh_server: Server) -> Server:
    """An app with all that whoever is in the agent's place may want, and secrets of others."""
    server, box = fresh_server, fresh_server.box
    site = server.add_app("probed")
    server.add_unit("probed.service", APP)
    box.run("systemctl", "start", "probed.service")
    for secret in SECRETS:
        box.write(secret, "a secret", mode=0o600)
    box.write("/run/secret", "of the hour", mode=0o600)
    box.write(f"{site.root}/shared/.env", "PASSWORD=x", mode=0o600, owner="probed")
    box.run("install", "-d", "-o", "dropdeploy", "-g", "probed", f"{site.root}/releases")
    box.run("sh", "-c", PACK, user="laptop")
    site.sftp("put -p private.tar", "put -r private")
    assert box.run("stat", "-c", "%A %U", f"{site.drop}/private.tar").out == "-rw------- up-probed\n"
    return server


def test_who_has_taken_over_the_agent(probed: Server) -> None:
    box = probed.box
    box.write(f"/run/systemd/system/{AGENT_UNIT}.d/probe.conf", PROBE_INSTEAD)
    box.run("systemctl", "daemon-reload")
    probed.agent("start")
    assert box.path("/run/told").read_text().splitlines() == EXPECTED.strip().splitlines()


def test_systemd_finds_nothing_to_say_about_the_unit(server: Server) -> None:
    done = server.box.run("systemd-analyze", "verify", "--man=no", f"/etc/systemd/system/{AGENT_UNIT}")
    assert (done.out, done.err) == ("", "")


def test_its_exposure_is_at_most_two_of_ten(server: Server) -> None:
    done = server.box.run("systemd-analyze", "security", "--no-pager", "--threshold=20", AGENT_UNIT, check=False)
    assert done.code == 0, done
