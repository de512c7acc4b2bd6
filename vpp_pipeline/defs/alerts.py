"""Alerts: runs that failed and bids that are late, by a webhook and by e-mail, as environment variables say.

An address of a webhook is a key: whoever has it may write to the channel. So neither it nor the password is logged,
stored, or part of a run's configuration. Delivery has a limit of time and raises nothing: what cannot be delivered is
logged with what to do, and tried again at the next tick.
"""

from __future__ import annotations

import json
import logging
import os
import smtplib
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from email.message import EmailMessage
from typing import Any
from urllib.parse import urlsplit

import dagster as dg

from vpp_pipeline.core.calendar import PACIFIC, bid_deadline_utc
from vpp_pipeline.core.display import printable
from vpp_pipeline.core.errors import Again, InputError, without_secrets
from vpp_pipeline.core.http import Refused, post
from vpp_pipeline.core.portfolios import portfolio
from vpp_pipeline.defs.asset_factory import BIDS_DUE
from vpp_pipeline.defs.keys import is_own
from vpp_pipeline.defs.resources import Prices, Storage
from vpp_pipeline.defs.run_inputs import BIDS_JOB
from vpp_pipeline.warehouse.day import published

#: environment variable -> what it says
VARIABLES = {
    "VPP_ALERT_WEBHOOK": 'address that takes {"text": …} as JSON, as incoming webhooks of Slack and Mattermost do',
    "VPP_ALERT_MAIL_TO": "addresses of e-mail, with commas between them",
    "VPP_ALERT_MAIL_FROM": "the sender's address; the first of VPP_ALERT_MAIL_TO where it is not set",
    "VPP_SMTP_HOST": "server that takes e-mail",
    "VPP_SMTP_SECURITY": "starttls (default), ssl, or none; none is refused together with a password",
    "VPP_SMTP_PORT": "its port; 587, 465, or 25 where it is not set",
    "VPP_SMTP_USER": "user at that server, if it asks for one",
    "VPP_SMTP_PASSWORD": "the user's password",
    "VPP_DAGSTER_URL": "address of Dagster's pages, for links; `vpp-pipeline dev` sets its own",
}
PORTS = {"starttls": 587, "ssl": 465, "none": 25}
TIMEOUT_S = 10.0  # of each delivery, all told: a tick of a sensor has 60 s
TELL_WITHIN = timedelta(hours=2)  # failures that are older when they are first seen are no news
REMEMBERED = timedelta(days=7)  # of what was told: back-fills last days
MOST_AT_ONCE = 5  # alerts of one tick: each may take TIMEOUT_S by each way
LONGEST = 1_500  # characters of an error

OF_PORTFOLIO = f", portfolio {portfolio()}" if portfolio() else ""

Told = dict[str, dict[str, Any]]  # thing -> when it was told first, and by which ways


@dataclass(frozen=True)
class Alert:
    """What is told: one thing, in one line and in a paragraph."""

    thing: str
    title: str
    text: str


@dataclass(frozen=True)
class Mail:
    """How e-mail is sent."""

    to: tuple[str, ...]
    sender: str
    host: str
    port: int
    security: str
    user: str
    password: str

    def send(self, alert: Alert) -> None:
        """Raises OSError or smtplib.SMTPException where the server does not take it."""
        message = EmailMessage()
        message["Subject"] = " ".join(f"vpp-pipeline: {alert.title}".split())
        message["From"], message["To"] = self.sender, ", ".join(self.to)
        message.set_content(f"{alert.title}\n\n{alert.text}\n")
        tls = ssl.create_default_context()
        if self.security == "ssl":
            server: smtplib.SMTP = smtplib.SMTP_SSL(self.host, self.port, timeout=TIMEOUT_S, context=tls)
        else:
            server = smtplib.SMTP(self.host, self.port, timeout=TIMEOUT_S)
        with server:
            if self.security == "starttls":
                server.starttls(context=tls)
            if self.user:
                server.login(self.user, self.password)
            server.send_message(message)


@dataclass(frozen=True)
class Channels:
    """The ways that are set up."""

    webhook: str | None = None
    mail: Mail | None = None

    @property
    def names(self) -> tuple[str, ...]:
        return (("webhook",) if self.webhook else ()) + (("e-mail",) if self.mail else ())

    def in_words(self) -> Iterator[str]:
        """Each way, without its key or password."""
        if self.webhook:
            yield f"webhook: {_place_of(self.webhook)}"
        if self.mail:
            mail, by = self.mail, f" as {self.mail.user}" if self.mail.user else ""
            yield f"e-mail: to {', '.join(mail.to)}, by {mail.host}:{mail.port} ({mail.security}){by}"

    def deliver(self, alert: Alert, ways: tuple[str, ...]) -> dict[str, str | None]:
        """Send it by each of ``ways``: None for one that took it, else why not and what to do."""
        return {way: self._by_webhook(alert) if way == "webhook" else self._by_mail(alert) for way in ways}

    def _by_webhook(self, alert: Alert) -> str | None:
        assert self.webhook is not None
        text = f"*{alert.title}*\n{alert.text}"
        for sign, written in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):  # else Slack calls out <!channel>
            text = text.replace(sign, written)
        try:
            post(self.webhook, {"text": text}, timeout_s=TIMEOUT_S)
        except (Again, Refused) as error:
            return self._undelivered(
                f"the webhook at {_place_of(self.webhook)} did not take it: {error}",
                "Compare VPP_ALERT_WEBHOOK with the address that the channel's settings show",
            )
        return None

    def _by_mail(self, alert: Alert) -> str | None:
        assert self.mail is not None
        mail = self.mail
        try:
            _within(TIMEOUT_S, lambda: mail.send(alert))
        except (OSError, smtplib.SMTPException, UnicodeError, ValueError) as error:
            return self._undelivered(
                f"{mail.host}:{mail.port} did not take the e-mail ({mail.security}): {type(error).__name__}: {error}",
                "Compare VPP_SMTP_HOST, VPP_SMTP_PORT, VPP_SMTP_SECURITY, VPP_SMTP_USER, and VPP_SMTP_PASSWORD with "
                "what the server's owner gives",
            )
        return None

    def _undelivered(self, problem: str, remedy: str) -> str:
        said = " ".join(without_secrets(problem).split())[:LONGEST]
        for secret in (self.webhook, self.mail and self.mail.password):
            said = said.replace(secret, "***") if secret else said
        return printable(f"{said}. {remedy}, then try it: vpp-pipeline alerts --test")


def _place_of(address: str) -> str:
    """The server of an address alone: the rest may be a key."""
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.hostname or ''}"


def _within(seconds: float, work: Callable[[], None]) -> None:
    """Do the work in a thread of its own; raises TimeoutError where it takes longer, as its own limits are per read."""
    done, errors = threading.Event(), list[BaseException]()

    def run() -> None:
        try:
            work()
        except BaseException as error:  # raised again by who waits
            errors.append(error)
        finally:
            done.set()

    threading.Thread(target=run, name="alert", daemon=True).start()
    if not done.wait(seconds):
        raise TimeoutError(f"not done within {seconds:g} s")
    if errors:
        raise errors[0]


def channels_of(environment: Mapping[str, str] = os.environ) -> Channels:
    """The ways that the environment names. Raises InputError, which shows no key, where it cannot be used."""

    def said(name: str) -> str:
        return environment.get(name, "").strip()

    webhook = said("VPP_ALERT_WEBHOOK")
    if webhook and not (webhook.startswith(("http://", "https://")) and _host_of(webhook)):
        raise _wrong("VPP_ALERT_WEBHOOK", None, "it must begin with https://, and name a server")
    receivers = tuple(filter(None, (one.strip() for one in said("VPP_ALERT_MAIL_TO").split(","))))
    if not receivers:
        return Channels(webhook or None)
    sender = said("VPP_ALERT_MAIL_FROM") or receivers[0]
    for name, address in [*(("VPP_ALERT_MAIL_TO", one) for one in receivers), ("VPP_ALERT_MAIL_FROM", sender)]:
        before, _, after = address.rpartition("@")
        if not (before and after) or any(not sign.isprintable() or sign in ' <>,;:"()' for sign in address):
            raise _wrong(name, address, "it must be written as desk@example.com")
    if not (host := said("VPP_SMTP_HOST")):
        raise _wrong("VPP_SMTP_HOST", "", "VPP_ALERT_MAIL_TO is set, so the server that takes e-mail must be too")
    security = said("VPP_SMTP_SECURITY").lower() or "starttls"
    if security not in PORTS:
        raise _wrong("VPP_SMTP_SECURITY", security, "it must be starttls, ssl, or none")
    port = said("VPP_SMTP_PORT") or str(PORTS[security])
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65_536):
        raise _wrong("VPP_SMTP_PORT", port, "it must be a number from 1 to 65535")
    user, password = said("VPP_SMTP_USER"), environment.get("VPP_SMTP_PASSWORD", "")
    if password and not user:
        raise _wrong("VPP_SMTP_USER", "", "VPP_SMTP_PASSWORD is set, so its user must be too")
    if password and security == "none":
        raise _wrong("VPP_SMTP_SECURITY", security, "a password would be sent in the open: it must be starttls or ssl")
    return Channels(webhook or None, Mail(receivers, sender, host, int(port), security, user, password))


def _host_of(address: str) -> str | None:
    try:
        return urlsplit(address).hostname
    except ValueError:
        return None


def _wrong(name: str, value: str | None, words: str) -> InputError:
    return InputError(
        f"the environment variable {name} cannot be used: {words}",
        value=value or None,
        remedy=f"Set {name} ({VARIABLES[name]}), or unset it",
    )


def tell(alerts: list[Alert], told: Told, channels: Channels, now: datetime, log: logging.Logger) -> list[str]:
    """Deliver what has not been told yet by each way, and note it in ``told``; the titles of what was delivered."""
    delivered = []
    for alert in alerts:
        known = told.get(alert.thing, {"at": now.isoformat(), "by": []})
        ways = tuple(way for way in channels.names if way not in known["by"])
        answers = channels.deliver(alert, ways)
        for problem in answers.values():
            if problem:
                log.error(f"an alert could not be delivered ({alert.title}): {problem}")
        if by := [way for way, problem in answers.items() if problem is None]:
            told[alert.thing] = known | {"by": [*known["by"], *by]}
            delivered.append(f"{alert.title} ({', '.join(by)})")
    return delivered


def failed_runs(instance: dg.DagsterInstance, told: Told, ways: tuple[str, ...], now: datetime) -> list[Alert]:
    """An alert for each run that failed lately, and one for all of a back-fill, as far as not all ``ways`` have it.

    Not for runs that Dagster starts again by itself: the last of them is told.
    """
    lately = dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], updated_after=now - TELL_WITHIN)
    found: dict[str, Alert] = {}
    for record in reversed(instance.get_run_records(lately)):
        run, ended = record.dagster_run, datetime.fromtimestamp(record.end_time or now.timestamp(), UTC)
        if not is_own(run) or run.tags.get("dagster/will_retry") == "true" or now - ended > TELL_WITHIN:
            continue
        backfill = run.tags.get("dagster/backfill")
        thing = backfill or run.run_id
        if thing in found or set(ways) <= set(told.get(thing, {}).get("by", ())):
            continue
        if len(found) == MOST_AT_ONCE:
            break
        day = run.tags.get("dagster/partition", "no day")
        title = f"{run.job_name} of {day} failed{OF_PORTFOLIO}"
        if backfill:
            title += f", the first of back-fill {backfill}, whose other failures are not told"
        where = f"\n{link}/runs/{run.run_id}" if (link := os.environ.get("VPP_DAGSTER_URL", "").rstrip("/")) else ""
        text = f"{_why(instance, run.run_id)}\nrun {run.run_id}, ended {ended.astimezone(PACIFIC):%H:%M} Pacific{where}"
        found[thing] = Alert(thing, title, text)
    return list(found.values())


def _why(instance: dg.DagsterInstance, run_id: str) -> str:
    """The innermost error of the first step that failed, else what the run's own failure says."""
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_FAILURE):
        event = entry.get_dagster_event()
        error = event.step_failure_data.error
        while error is not None and error.cause is not None:
            error = error.cause
        words = "" if error is None else error.message.strip()
        if words.startswith("vpp_pipeline."):  # an error of ours, whose words say what to do
            words = words.partition(": ")[2]
        return printable(without_secrets(f"{event.step_key}: {words}"))[:LONGEST]
    ends = instance.all_logs(run_id, of_type=dg.DagsterEventType.RUN_FAILURE)
    said = (entry.get_dagster_event().message or "" for entry in ends)
    return printable(without_secrets(next(filter(None, said), "it ended without a message")))[:LONGEST]


def late_bids(
    storage: Storage, prices: Prices, instance: dg.DagsterInstance, now: datetime
) -> tuple[Alert | None, str]:
    """An alert where no bids of tomorrow are published though they are due, and how things stand."""
    here = now.astimezone(PACIFIC)
    day = here.date() + timedelta(days=1)
    if here.time() < BIDS_DUE:
        return None, f"bids of {day} are due at {BIDS_DUE:%H:%M} Pacific"
    if published(storage.lake, day) is not None:
        return None, f"bids of {day} are published"
    closes = bid_deadline_utc(day)
    option = f" --portfolio {portfolio()}" if portfolio() else ""
    until = "the market closes at" if now < closes else "the market closed at"
    title = f"no bids of {day} are published{OF_PORTFOLIO}"
    text = (
        f"They were due at {BIDS_DUE:%H:%M} Pacific; {until} {closes.astimezone(PACIFIC):%H:%M}. "
        f"{_what_became_of(instance, day, prices)}\nTo bid by hand: vpp-pipeline bids --date {day}{option}"
    )
    return Alert(f"bids of {day}", title, text), title


def _what_became_of(instance: dg.DagsterInstance, day: date, prices: Prices) -> str:
    """The last run of the day's bids, else why there was none."""
    of_day = dg.RunsFilter(job_name=BIDS_JOB, tags={"dagster/partition": day.isoformat()})
    for run in filter(is_own, instance.get_runs(of_day)):
        return f"The last run is {run.run_id}: {run.status.value.lower()}."
    try:
        skips = prices.unnamed()
    except InputError as error:
        return f"No run of them was started: {error}"
    return f"No run of them was started{f': {skips}' if skips else '; the ticks of bid_at_eight say why'}."


def _remembered(cursor: str | None, now: datetime) -> Told:
    """What earlier ticks have told, of the last days."""
    told: Told = json.loads(cursor) if cursor else {}
    return {thing: of for thing, of in told.items() if datetime.fromisoformat(of["at"]) > now - REMEMBERED}


def _ready(context: dg.SensorEvaluationContext) -> Channels | dg.SkipReason:
    """The ways that are set up, else why there are none."""
    try:
        channels = channels_of()
    except InputError as error:
        context.log.error(str(error))
        return dg.SkipReason(str(error))
    unset = "no alerts are set up: VPP_ALERT_WEBHOOK and VPP_ALERT_MAIL_TO are not set (docs/operations.md)"
    return channels if channels.names else dg.SkipReason(unset)


def _outcome(told: Told, delivered: list[str], otherwise: str) -> dg.SensorResult:
    words = f"told: {'; '.join(delivered)}" if delivered else otherwise
    return dg.SensorResult(skip_reason=words, cursor=json.dumps(told, sort_keys=True))


@dg.sensor(
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Tells by webhook and e-mail of each run that failed, and of a back-fill once. Environment variables "
    "set it up: docs/operations.md.",
)
def alert_of_failed_runs(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    channels, now = _ready(context), datetime.now(UTC)
    if isinstance(channels, dg.SkipReason):
        return channels
    told = _remembered(context.cursor, now)
    alerts = failed_runs(context.instance, told, channels.names, now)
    delivered = tell(alerts, told, channels, now, context.log)
    return _outcome(told, delivered, "an alert waits to be delivered" if alerts else "no run has failed lately")


@dg.sensor(
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=f"Tells by webhook and e-mail, from {BIDS_DUE:%H:%M} Pacific on, that no bids of tomorrow are "
    "published. Environment variables set it up: docs/operations.md.",
)
def alert_of_late_bids(
    context: dg.SensorEvaluationContext, prices_source: Prices, storage: Storage
) -> dg.SensorResult | dg.SkipReason:
    channels, now = _ready(context), datetime.now(UTC)
    if isinstance(channels, dg.SkipReason):
        return channels
    told = _remembered(context.cursor, now)
    alert, words = late_bids(storage, prices_source, context.instance, now)
    return _outcome(told, tell([alert] if alert else [], told, channels, now, context.log), words)
