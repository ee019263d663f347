"""Signatures made and verified by the real ssh-keygen."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from dropdeploy.intake.proof import SignatureCheck, check_sha256, parse_sha256
from dropdeploy.model.fault import ErrorCode, Fault

DIGEST = "ab" * 32
CONTENT = b"the build\n" * 10_000


@pytest.mark.parametrize(
    "text",
    [
        DIGEST,
        DIGEST.upper() + "\r\n",
        f"{DIGEST}  build.zip\n",
        f"{DIGEST} *build.zip\n",
        f"\\{DIGEST}  bu\\nild.zip\n",
        f"SHA256 (build.zip) = {DIGEST}\n",
        f"\ufeff{DIGEST}  build.zip",
    ],
)
def test_every_spelling_of_a_checksum(text: str) -> None:
    assert parse_sha256(text) == DIGEST


@pytest.mark.parametrize("text", ["", "hello", DIGEST[:-1], DIGEST + "0", "md5 " + DIGEST])
def test_what_is_no_checksum(text: str) -> None:
    assert parse_sha256(text) is None


def test_a_mismatch_tells_both() -> None:
    fault = check_sha256("build.zip", "cd" * 32, DIGEST)
    assert fault is not None
    assert fault.message == f"build.zip has the SHA-256 checksum {DIGEST}, but build.zip.sha256 says {'cd' * 32}"


class Signer:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.allowed = path / "allowed_signers"
        self.key("release")
        public = (path / "release.pub").read_text()
        self.allowed.write_text(f'ci@example.org namespaces="dropdeploy" {public}')

    def key(self, name: str) -> None:
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.path / name)], check=True, timeout=30
        )

    def sign(self, content: bytes, key: str = "release", namespace: str = "dropdeploy") -> bytes:
        done = subprocess.run(
            ["ssh-keygen", "-q", "-Y", "sign", "-n", namespace, "-f", str(self.path / key)],
            input=content,
            capture_output=True,
            check=True,
            timeout=30,
        )
        return done.stdout


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    return Signer(tmp_path_factory.mktemp("keys"))


async def verify(signer: Signer, signature: bytes, content: bytes = CONTENT) -> Fault | None:
    check = await SignatureCheck.begin("build.zip", signature, signer.allowed)
    if isinstance(check, Fault):
        return check
    try:
        os.write(check.tap, content)
        return await check.verdict()
    finally:
        check.close()


async def test_a_good_signature(signer: Signer) -> None:
    assert await verify(signer, signer.sign(CONTENT[:50_000]), CONTENT[:50_000]) is None


async def test_other_bytes_another_key_another_namespace_and_nonsense(signer: Signer) -> None:
    signer.key("other")
    content = CONTENT[:1000]
    cases = [
        await verify(signer, signer.sign(content), content + b"!"),
        await verify(signer, signer.sign(content, key="other"), content),
        await verify(signer, signer.sign(content, namespace="git"), content),
        await verify(signer, b"no signature at all", content),
    ]
    for fault in cases:
        assert fault is not None
        assert fault.code is ErrorCode.SIGNATURE_INVALID
        assert fault.message.startswith("build.zip.sig is no valid signature of build.zip: ")


async def test_an_expired_key(signer: Signer, tmp_path: Path) -> None:
    public = (signer.path / "release.pub").read_text()
    signer_then = Signer.__new__(Signer)
    signer_then.allowed = tmp_path / "allowed_signers"
    signer_then.allowed.write_text(f'ci@example.org namespaces="dropdeploy",valid-before="20200101" {public}')
    fault = await verify(signer_then, signer.sign(b"x"), b"x")
    assert fault is not None
    assert fault.code is ErrorCode.SIGNATURE_INVALID


async def test_giving_up_leaves_nothing(signer: Signer) -> None:
    check = await SignatureCheck.begin("build.zip", signer.sign(b"x"), signer.allowed)
    assert isinstance(check, SignatureCheck)
    check.close()
    assert await check.verdict() is not None
