"""What an administrator is told: by the journal's fields, `dropdeploy logs`, the page, a webhook and a mail; from the
sandbox."""

from __future__ import annotations

import email.policy
import json
import textwrap

import pytest

from dropdeploy.diary import Kind
from tests.box.machine import wait_until
from tests.box.server import AGENT_UNIT, PACKAGING, Server
from tests.box.uploading import Shop, open_shop

CONFIG = """
[notify]
webhook = "http://127.0.0.1:8099/T0K3N"
secret_file = "/etc/dropdeploy/notify.key"
email = "root"
on = ["rolled-back"]
"""

# Prints what is POSTed, a JSON object a line.
RECEIVER = textwrap.dedent("""
    import json
    from http.server import BaseHTTPRequestHandler, HTTPServer

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            print(json.dumps({"headers": dict(self.headers), "body": json.loads(body)}), flush=True)
            self.send_response(204)
            self.end_headers()

    HTTPServer(("127.0.0.1", 8099), Handler).serve_forever()
""")

COUNT = """
import sqlite3
history = sqlite3.connect("/var/lib/dropdeploy/history.db")
print(history.execute("SELECT count(*) FROM outbox").fetchone()[0])
"""


@pytest.fixture(scope="module")
def shop(own_server: Server) -> Shop:
    """An app whose failures are told to a webhook and to root, as an administrator sets it up without the package."""
    box = own_server.box
    shop = open_shop(own_server, "flask", "shop", CONFIG)
    main = 'listen = "/run/dropdeploy/http.sock"\n'
    box.write("/etc/dropdeploy/dropdeploy.toml", main, mode=0o640, owner="root:dropdeploy")
    box.write("/etc/dropdeploy/notify.key", "s3cret\n", mode=0o640, owner="root:dropdeploy")
    box.copy_in(PACKAGING / "systemd/dropdeploy.catalog", "/usr/lib/systemd/catalog/dropdeploy.catalog")
    box.run("journalctl", "--update-catalog")
    box.copy_in(PACKAGING / "systemd/dropdeploy-mail@.service", "/etc/systemd/system/dropdeploy-mail@.service")
    box.run("systemd-analyze", "verify", "--man=no", "/etc/systemd/system/dropdeploy-mail@.service")
    box.copy_in(PACKAGING / "polkit/dropdeploy-mail.rules", "/etc/polkit-1/rules.d/50-dropdeploy-mail.rules")
    box.run("systemctl", "restart", "polkit.service")
    own_server.agent("start")
    return shop


def test_events_are_entries_with_fields(shop: Shop) -> None:
    result = shop.deploy("v1")
    told = shop.box.run("journalctl", "-o", "json", "DROPDEPLOY_APP=shop", f"DROPDEPLOY_ID={result['id']}").out
    begun, decided = (json.loads(line) for line in told.splitlines())
    assert begun["MESSAGE_ID"] == Kind.BEGUN
    assert begun["DROPDEPLOY_UPLOAD"] == "v1.tar.gz"
    assert decided["MESSAGE_ID"] == Kind.DECIDED
    assert decided["DROPDEPLOY_STATUS"] == "deployed"
    assert decided["DROPDEPLOY_RELEASE"] == result["release"]
    assert decided["MESSAGE"] == f"shop: deploy {result['id']}: {result['summary']}"
    assert (decided["PRIORITY"], decided["SYSLOG_IDENTIFIER"]) == ("6", "dropdeploy")
    assert decided["_SYSTEMD_UNIT"] == AGENT_UNIT
    assert decided["_TRANSPORT"] == "journal"
    diary = shop.box.journal(AGENT_UNIT)
    assert diary.count(f"shop: deploy {result['id']}: {result['summary']}") == 1
    explained = shop.box.run("journalctl", "--catalog", f"DROPDEPLOY_ID={result['id']}").out
    assert f"Subject: deploy {result['id']} of shop: deployed" in explained


def test_a_hostile_name_is_one_entry(shop: Shop) -> None:
    name = "a\nPRIORITY=0\nMESSAGE=b.pdf"
    shop.box.path(f"{shop.site.drop}/{name}").write_text("x")
    wait_until(
        lambda: (
            "DROPDEPLOY_UPLOAD"
            in shop.box.run("journalctl", "-o", "json", f"MESSAGE_ID={Kind.DECIDED}", "DROPDEPLOY_STATUS=rejected").out
        ),
        "the entry",
    )
    (entry,) = shop.box.run("journalctl", "-o", "json", "DROPDEPLOY_STATUS=rejected").out.splitlines()
    assert json.loads(entry)["DROPDEPLOY_UPLOAD"] == name
    assert json.loads(entry)["PRIORITY"] == "4"


def test_an_illness_is_told_to_the_webhook_and_by_mail(shop: Shop) -> None:
    shop.good()
    receiver = shop.box.popen("python3", "-c", RECEIVER)
    try:
        bad = shop.deploy("bad", needs="DATABASE_URL")
        assert bad["status"] == "rolled-back"
        assert receiver.stdout is not None
        told = json.loads(receiver.stdout.readline())
    finally:
        receiver.kill()
        receiver.communicate()
    assert told["body"]["id"] == bad["id"]
    assert told["headers"]["X-Dropdeploy-Signature"].startswith("sha256=")
    assert "T0K3N" not in shop.box.journal()
    mailbox = shop.box.path("/var/mail/root")
    wait_until(lambda: mailbox.exists() and "result.toml" in mailbox.read_text(), "a mail to root")
    mail = email.message_from_bytes(mailbox.read_bytes(), policy=email.policy.default)
    assert mail["Subject"] == f"shop: rolled-back: {bad['summary']}"
    assert mail["From"] == "dropdeploy@box"
    text = mail.get_body()
    assert text is not None
    assert bad["error"]["message"] in text.get_content()
    assert bad["error"]["log"].splitlines()[-1] in text.get_content()
    wait_until(lambda: shop.box.run("python3", "-c", COUNT).out == "0\n", "the end of the outbox")


def test_the_apps_log_since_a_deploy(shop: Shop) -> None:
    first, second = shop.deploy("v7"), shop.deploy("v8", needs="DATABASE_URL")
    told = shop.box.run("dropdeploy", "logs", "shop", str(second["id"])).out
    assert "booting v8" in told
    assert "DATABASE_URL" in told
    assert "booting v7" not in told.split("booting v8")[0]
    assert "DATABASE_URL" not in shop.box.run("dropdeploy", "logs", "shop", str(first["id"])).out
    assert shop.box.run("dropdeploy", "logs", "shop").out
    entries = shop.box.run("dropdeploy", "logs", "shop", str(second["id"]), "--json", "-n", "200").out.splitlines()
    assert "booting v8" in [json.loads(entry)["MESSAGE"] for entry in entries]


def test_the_page_is_read_through_a_socket_by_whoever_is_there(shop: Shop) -> None:
    ask = ("curl", "-fsS", "--max-time", "30", "--unix-socket", "/run/dropdeploy/http.sock")
    result = shop.deploy("v9", needs="DATABASE_URL")
    address = f"http://localhost/apps/shop/deploys/{result['id']}"
    told = json.loads(shop.box.run(*ask, f"{address}.json", user="laptop").out)
    assert told["error"] == result["error"]
    assert result["error"]["message"] in shop.box.run(*ask, address, user="laptop").out


def test_who_may_not_read_the_journal_is_told_what_to_do(shop: Shop) -> None:
    box = shop.box
    box.run("usermod", "--append", "--groups", "dropdeploy", "laptop")  # the configuration and the history, no more
    done = box.run("dropdeploy", "logs", "shop", user="laptop", check=False)
    assert done.code == 3, done
    assert done.err == (
        "the journal of shop.service may not be read by laptop: run this as root,\n"
        "or join the group that may, `usermod --append --groups systemd-journal laptop`, and log in anew\n"
    )
