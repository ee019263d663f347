"""Proof of origin, with the real ssh-keygen: what its owner did not sign never becomes a release."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.agent.world import World, build, wait_for


class Keys:
    """An uploader's keys, one of which the server knows."""

    def __init__(self, path: Path) -> None:
        self.path = path
        for name in ("known", "unknown"):
            self._run("-q", "-t", "ed25519", "-N", "", "-f", str(path / name))
        self.allowed = path / "allowed_signers"
        self.allow("")

    def allow(self, options: str) -> None:
        self.allowed.write_text(f"ci@example.org {options} {(self.path / 'known.pub').read_text()}")

    def sign(self, content: bytes, key: str = "known", namespace: str = "dropdeploy") -> bytes:
        return self._run("-q", "-Y", "sign", "-n", namespace, "-f", str(self.path / key), content=content)

    @staticmethod
    def _run(*arguments: str, content: bytes = b"") -> bytes:
        done = subprocess.run(["ssh-keygen", *arguments], input=content, capture_output=True, check=True, timeout=30)
        return done.stdout


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    (tmp_path / "keys").mkdir()
    return Keys(tmp_path / "keys")


@pytest.fixture
def strict(world: World, keys: Keys) -> World:
    """An agent that takes nothing unsigned."""
    world.configure(f'stall = "500ms"\n[accept]\nsignature = "required"\nallowed_signers = "{keys.allowed}"')
    world.start()
    return world


def error(world: World, name: str) -> tuple[Any, Any, Any]:
    result = world.result(name)
    return result["status"], result["error"]["code"], result["error"].get("step")


def test_a_signed_build_is_deployed_whichever_comes_first(strict: World, keys: Keys) -> None:
    first, second = build("v1"), build("v2")
    strict.put("v1.tar.gz.sig", keys.sign(first))
    strict.put("v1.tar.gz", first)
    assert strict.result("v1.tar.gz")["status"] == "deployed"
    strict.put("v2.tar.gz", second)
    strict.put("v2.tar.gz.sig", keys.sign(second))
    assert strict.result("v2.tar.gz")["status"] == "deployed"
    assert strict.ask()["version"] == "v2"
    wait_for("upload to be cleared away", lambda: strict.dropped() == [])


def test_an_unsigned_build_waits_and_goes_on_when_it_is_signed(strict: World, keys: Keys) -> None:
    content = build("v1")
    strict.put("v1.tar.gz", content)
    assert error(strict, "v1.tar.gz") == ("incomplete", "signature-missing", "preflight")
    assert strict.releases() == []
    strict.put("v1.tar.gz.sig", keys.sign(content))
    wait_for("deploy", strict.live)
    assert strict.result("v1.tar.gz")["status"] == "deployed"


@pytest.mark.parametrize(
    "case", ["other bytes", "unknown key", "other namespace", "nonsense", "expired key", "unlisted"]
)
def test_what_is_not_properly_signed_never_gets_a_release(strict: World, keys: Keys, case: str) -> None:
    content = build("v1")
    signature = {
        "other bytes": lambda: keys.sign(content + b"!"),
        "unknown key": lambda: keys.sign(content, key="unknown"),
        "other namespace": lambda: keys.sign(content, namespace="file"),
        "nonsense": lambda: b"-----BEGIN SSH SIGNATURE-----\n",
    }.get(case, lambda: keys.sign(content))()
    if case == "expired key":
        keys.allow('valid-before="20200101"')
    if case == "unlisted":
        keys.allowed.write_text("")
    seen: set[str] = set()
    strict.put("v1.tar.gz.sig", signature)
    strict.put("v1.tar.gz", content)

    def watch() -> bool:
        seen.update(name for name in strict.releases() if not name.startswith("."))
        return (strict.drop / "v1.tar.gz.result.toml").exists()

    wait_for("verdict", watch)
    status, code, _ = error(strict, "v1.tar.gz")
    assert (status, code) == ("rejected", "signature-invalid")
    assert strict.releases() == []
    assert not seen
    assert not strict.live()


def test_a_wrong_signature_is_mended_by_a_right_one(strict: World, keys: Keys) -> None:
    content = build("v1")
    strict.put("v1.tar.gz.sig", keys.sign(b"something else"))
    strict.put("v1.tar.gz", content)
    assert error(strict, "v1.tar.gz") == ("rejected", "signature-invalid", "extract")
    strict.put("v1.tar.gz.sig", keys.sign(content))
    wait_for("deploy", strict.live)


def test_a_directory_cannot_be_signed(strict: World) -> None:
    (strict.drop / "site").mkdir()
    strict.put("site.ready")
    assert error(strict, "site")[:2] == ("rejected", "signature-missing")


def test_a_required_checksum_is_waited_for(world: World) -> None:
    world.configure('stall = "500ms"\n[accept]\nchecksum = "required"')
    world.start()
    world.put("v1.tar.gz", build("v1"))
    assert error(world, "v1.tar.gz") == ("incomplete", "checksum-missing", "preflight")
    digest = subprocess.run(["sha256sum", "v1.tar.gz"], cwd=world.drop, capture_output=True, check=True).stdout
    world.put("v1.tar.gz.sha256", digest)
    wait_for("deploy", world.live)
    assert os.readlink(world.root / "app") == f"releases/{world.live()}"
