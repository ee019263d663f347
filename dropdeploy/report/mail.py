"""A verdict as a mail (RFC 5322), for sendmail(8): who sends it, and from which domain, its configuration knows."""

from __future__ import annotations

from collections.abc import Sequence
from email.message import EmailMessage
from email.policy import SMTP

from dropdeploy.model.outcome import Outcome
from dropdeploy.report.harmless import end_of_log
from dropdeploy.report.notice import facts, headline
from dropdeploy.report.result import outcome_table, to_toml


def compose_mail(outcome: Outcome, to: Sequence[str], host: str) -> bytes:
    """The whole message, with the result as a file.

    Its Message-ID is always the same, so that readers show it once although it may be sent twice.
    """
    message = EmailMessage(policy=SMTP.clone(linesep="\n"))  # sendmail reads the system's own lines
    message["To"] = ", ".join(to)
    message["Subject"] = headline(outcome)
    message["Date"] = outcome.finished
    message["Message-ID"] = f"<dropdeploy.{outcome.id}.{outcome.finished:%Y%m%d%H%M%S}@{host}>"
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no holiday greetings, please
    log = end_of_log(outcome.fault.log) if outcome.fault else ""
    text = "\n".join([headline(outcome), "", *facts(outcome, host), *(["", "log:", "", log] if log else [])])
    message.set_content(text + "\n")
    message.add_attachment(to_toml(outcome_table(outcome)), filename="result.toml")
    return message.as_bytes()
