"""Whose signatures are taken: lines of ssh-keygen(1)'s ALLOWED SIGNERS that cannot work are told."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from dropdeploy.cli.agent_state import Agent
from dropdeploy.cli.check.ground import Ground
from dropdeploy.cli.check.keys import check_notify, check_signers, check_token
from dropdeploy.model.app import Accept, App, Notify
from dropdeploy.model.config import Config, Settings


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("key") / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "ada at home", "-f", str(path)], check=True)
    return path.with_suffix(".pub").read_text().strip()


def told(tmp_path: Path, signers: str | None) -> list[str]:
    path = tmp_path / "allowed_signers"
    if signers is not None:
        path.write_text(signers)
    app = App("shop", tmp_path, tmp_path, "shop.service", accept=Accept(signature="required", allowed_signers=path))
    ground = Ground(Config(Settings(), (app,)), tmp_path, Agent.STOPPED, 0)
    return [finding.what.removeprefix(str(path)) for finding in check_signers(app, ground)]


def test_good_lines(tmp_path: Path, key: str) -> None:
    lines = f"""
        # a comment
        ada@example.org {key}
        ada@example.org,*@ci namespaces="file,dropdeploy",valid-before="20300101" {key}
        ada@example.org cert-authority,namespaces="dropdeploy" {key}
    """
    assert told(tmp_path, lines) == []


def test_none_at_all(tmp_path: Path) -> None:
    assert told(tmp_path, None) == [f"there is no {tmp_path}/allowed_signers"]
    assert told(tmp_path, "# nobody\n\n") == [" lists nobody, and every build must be signed"]


def test_lines_that_cannot_work(tmp_path: Path, key: str) -> None:
    kind, _, rest = key.partition(" ")
    lines = f'{key}\nada\nada namespaces="git" {key}\nada {kind} x{rest}\n'
    assert told(tmp_path, lines) == [
        ", line 1: no signer: expected principals, options and a public key",
        ", line 2: no signer: expected principals, options and a public key",
        ', line 3: signatures for "git" only, and builds are signed for "dropdeploy"',
        ", line 4: the public key is none",
    ]


def test_the_key_of_a_webhook(tmp_path: Path) -> None:
    app = App("shop", tmp_path, tmp_path, "shop.service", notify=Notify(webhook="x", secret_file=tmp_path / "key"))
    ground = Ground(Config(Settings(), (app,)), tmp_path, Agent.STOPPED, 0)
    (finding,) = check_notify(app, ground)
    assert finding.what == f"there is no {tmp_path}/key"
    (tmp_path / "key").write_text("x")
    assert list(check_notify(app, ground)) == []


def test_the_agent_must_read_the_token_of_its_page(tmp_path: Path) -> None:
    token = tmp_path / "token"

    def found(*, is_in_its_place: bool) -> list[str]:
        config = Config(Settings(listen_token_file=token), ())
        ground = Ground(config, tmp_path, Agent.STOPPED, 0, is_in_its_place=is_in_its_place)
        return [finding.what for finding in check_token(ground)]

    assert found(is_in_its_place=True) == [f"{token} is not there, or hidden from the agent"]
    assert found(is_in_its_place=False) == []  # told already
    token.touch()
    assert found(is_in_its_place=True) == []
