"""Failed runs and late bids are told by webhook and e-mail, each thing once, and no key is ever shown."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import dagster as dg
import pytest

from vpp_pipeline.cli.main import main
from vpp_pipeline.core.errors import InputError
from vpp_pipeline.defs import alerts
from vpp_pipeline.defs.alerts import VARIABLES, Alert, Told, alert_of_failed_runs, channels_of, late_bids, tell
from vpp_pipeline.defs.resources import Prices, Storage
from vpp_pipeline_tests.defs.desk import TradingDesk, new_desk
from vpp_pipeline_tests.defs.local_smtp import Mailbox, certificate, receiving
from vpp_pipeline_tests.market.local_http import LocalHandler, serving_with
from vpp_pipeline_tests.warehouse.rows import rows

KEY = "T0KEN/B0KEN/s3cr3t"  # the part of a webhook's address that lets anyone write to its channel
PASSWORD = "pa55 word"
PACIFIC = ZoneInfo("America/Los_Angeles")
LOG = logging.getLogger("alerts")
ALERT = Alert("thing", "bid_day of 2023-08-15 failed", "a price is <!channel> & wrong")


class Hook(LocalHandler):
    """A channel that notes what it is sent, and answers with a status."""

    said: list[dict[str, str]]
    status: list[int]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers["Content-Type"] == "application/json" and self.path == f"/{KEY}":
            self.said.append(json.loads(body))
        self.send(self.status[0], b"ok")


@pytest.fixture
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def hook(unset: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hook]:
    said, status = list[dict[str, str]](), [204]
    with serving_with(Hook, said=said, status=status) as address:
        monkeypatch.setenv("VPP_ALERT_WEBHOOK", f"{address}/{KEY}")
        Hook.said, Hook.status = said, status
        yield Hook


def by_mail(box: Mailbox, **others: str) -> dict[str, str]:
    named = {"VPP_ALERT_MAIL_TO": "ops@example.com, desk@example.com", "VPP_SMTP_HOST": "127.0.0.1"}
    return named | {"VPP_SMTP_PORT": str(box.port), "VPP_SMTP_SECURITY": box.security} | others


@pytest.mark.parametrize("security", ["none", "starttls", "ssl"])
def test_an_alert_comes_by_email(security: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    certified, login = certificate(tmp_path), {"VPP_SMTP_USER": "desk", "VPP_SMTP_PASSWORD": PASSWORD}
    box = Mailbox(security, password=None if security == "none" else PASSWORD)
    with receiving(box, certified):
        channels = channels_of(by_mail(box, **({} if security == "none" else login)))
        if security != "none":  # a server whose certificate is not known gets neither password nor message
            (problem,) = channels.deliver(ALERT, channels.names).values()
            assert "certificate" in str(problem)
            assert PASSWORD not in str(problem)
        monkeypatch.setenv("SSL_CERT_FILE", str(certified))
        assert channels.deliver(ALERT, channels.names) == {"e-mail": None}
    (message,) = box.messages
    assert message["Subject"] == f"vpp-pipeline: {ALERT.title}"
    assert (message["From"], message["To"]) == ("ops@example.com", "ops@example.com, desk@example.com")
    assert box.receivers == [["ops@example.com", "desk@example.com"]]
    assert box.was_encrypted == [security != "none"]
    assert ALERT.text in message.get_payload()


def test_a_wrong_password_is_told_and_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    certified = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certified))
    box = Mailbox("ssl", password="another")
    with receiving(box, certified):
        channels = channels_of(by_mail(box, VPP_SMTP_USER="desk", VPP_SMTP_PASSWORD=PASSWORD))
        (problem,) = channels.deliver(ALERT, channels.names).values()
    assert "wrong user or password" in str(problem)
    assert "VPP_SMTP_PASSWORD" in str(problem)
    assert PASSWORD not in str(problem) + " ".join(channels.in_words())
    assert not box.messages


def test_a_server_that_drips_does_not_hold_a_tick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(alerts, "TIMEOUT_S", 0.4)
    box = Mailbox(drip_s=0.3)  # each read is quicker than the limit, all of them are not
    with receiving(box, certificate(tmp_path)):
        begun = time.monotonic()
        (problem,) = channels_of(by_mail(box)).deliver(ALERT, ("e-mail",)).values()
    assert "not done within 0.4 s" in str(problem)
    assert time.monotonic() - begun < 2.0


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"VPP_ALERT_WEBHOOK": f"hooks.example.com/{KEY}"}, "VPP_ALERT_WEBHOOK"),
        ({"VPP_ALERT_WEBHOOK": f"https://[{KEY}"}, "VPP_ALERT_WEBHOOK"),
        ({"VPP_ALERT_MAIL_TO": "desk@example.com"}, "VPP_SMTP_HOST"),
        ({"VPP_ALERT_MAIL_TO": "desk", "VPP_SMTP_HOST": "mail"}, "VPP_ALERT_MAIL_TO"),
        ({"VPP_ALERT_MAIL_TO": "a@b\r\nBcc: c@d", "VPP_SMTP_HOST": "mail"}, "VPP_ALERT_MAIL_TO"),
        ({"VPP_ALERT_MAIL_TO": "a@b", "VPP_ALERT_MAIL_FROM": "A <a@b>", "VPP_SMTP_HOST": "m"}, "VPP_ALERT_MAIL_FROM"),
        ({"VPP_ALERT_MAIL_TO": "a@b", "VPP_SMTP_HOST": "m", "VPP_SMTP_SECURITY": "tls"}, "VPP_SMTP_SECURITY"),
        ({"VPP_ALERT_MAIL_TO": "a@b", "VPP_SMTP_HOST": "m", "VPP_SMTP_PORT": "0"}, "VPP_SMTP_PORT"),
        ({"VPP_ALERT_MAIL_TO": "a@b", "VPP_SMTP_HOST": "m", "VPP_SMTP_PORT": "²"}, "VPP_SMTP_PORT"),
        ({"VPP_ALERT_MAIL_TO": "a@b", "VPP_SMTP_HOST": "m", "VPP_SMTP_PASSWORD": PASSWORD}, "VPP_SMTP_USER"),
        (
            {"VPP_ALERT_MAIL_TO": "a@b", "VPP_SMTP_HOST": "m", "VPP_SMTP_SECURITY": "none"}
            | {"VPP_SMTP_USER": "desk", "VPP_SMTP_PASSWORD": PASSWORD},
            "VPP_SMTP_SECURITY",
        ),
    ],
)
def test_what_cannot_be_used_is_named_without_its_secret(environment: dict[str, str], named: str):
    with pytest.raises(InputError) as refused:
        channels_of(environment)
    assert f"the environment variable {named} cannot be used" in str(refused.value)
    assert KEY not in str(refused.value)
    assert PASSWORD not in str(refused.value)


def test_a_message_cannot_call_a_whole_channel(hook: Hook):
    channels = channels_of()
    assert channels.deliver(ALERT, channels.names) == {"webhook": None}
    assert hook.said == [{"text": f"*{ALERT.title}*\na price is &lt;!channel&gt; &amp; wrong"}]
    assert KEY not in " ".join(channels.in_words())


def test_what_one_way_has_taken_is_sent_by_the_other_alone(
    hook: Hook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """Undelivered alerts are tried again, with what to do in the log; delivered ones are not sent twice."""
    told: Told = {}
    now = datetime.now(UTC)
    with receiving(Mailbox(), certificate(tmp_path)) as box:
        for name, value in by_mail(box).items():
            monkeypatch.setenv(name, value)
        hook.status[0] = 500
        tell([ALERT], told, channels_of(), now, LOG)
        assert told["thing"]["by"] == ["e-mail"]
        assert f"an alert could not be delivered ({ALERT.title})" in caplog.text
        assert "vpp-pipeline alerts --test" in caplog.text
        assert KEY not in caplog.text
        hook.status[0], hook.said[:] = 200, []
        for _ in range(2):
            tell([ALERT], told, channels_of(), now, LOG)
    assert (len(hook.said), len(box.messages)) == (1, 1)


@pytest.fixture(scope="module")
def failed() -> tuple[TradingDesk, str]:
    """A desk whose run failed for want of its file of prices, and that run."""
    desk = new_desk()
    run = desk.run("ingest_market", prices={"kind": "file", "path": str(desk.data / "absent.csv")})
    assert not run.success
    return desk, run.run_id


def tick(desk: TradingDesk, cursor: str | None = None) -> dg.SensorResult:
    found = alert_of_failed_runs(dg.build_sensor_context(instance=desk.instance, cursor=cursor))
    assert isinstance(found, dg.SensorResult)
    return found


def test_a_failed_run_is_told_once_with_its_reason(
    failed: tuple[TradingDesk, str], hook: Hook, monkeypatch: pytest.MonkeyPatch
):
    desk, run_id = failed
    monkeypatch.setenv("VPP_DAGSTER_URL", "http://127.0.0.1:3000")
    first = tick(desk)
    (message,) = hook.said
    assert message["text"].startswith(
        "*ingest_market of 2023-08-15 failed*\nmarket__prices: no such file or directory of prices "
    )
    assert "absent.csv" in message["text"]
    assert f"http://127.0.0.1:3000/runs/{run_id}" in message["text"]
    tick(desk, first.cursor)
    assert len(hook.said) == 1


def test_an_alert_that_does_not_arrive_comes_at_a_later_tick(failed: tuple[TradingDesk, str], hook: Hook):
    hook.status[0] = 503
    waits = tick(failed[0])
    assert str(waits.skip_reason and waits.skip_reason.skip_message) == "an alert waits to be delivered"
    hook.status[0], hook.said[:] = 200, []
    tick(failed[0], waits.cursor)
    assert len(hook.said) == 1


def test_a_backfill_is_told_once_and_a_run_that_is_started_again_not_at_all(hook: Hook):
    desk = new_desk()
    none = {"kind": "file", "path": str(desk.data / "absent.csv")}
    desk.run("ingest_market", day="2023-08-10", prices=none, tags={"dagster/will_retry": "true"})
    for day in ("2023-08-11", "2023-08-12"):
        desk.run("ingest_market", day=day, prices=none, tags={"dagster/backfill": "abcdefgh"})
    cursor = tick(desk).cursor
    desk.run("ingest_market", day="2023-08-13", prices=none, tags={"dagster/backfill": "abcdefgh"})
    tick(desk, cursor)
    assert [said["text"].splitlines()[0] for said in hook.said] == [
        "*ingest_market of 2023-08-11 failed, the first of back-fill abcdefgh, whose other failures are not told*"
    ]


@pytest.mark.parametrize("environment", [{}, {"VPP_ALERT_WEBHOOK": KEY}])
def test_sensors_skip_with_the_reason_where_nothing_can_be_sent(
    environment: dict[str, str], failed: tuple[TradingDesk, str], unset: None, monkeypatch: pytest.MonkeyPatch
):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = alert_of_failed_runs(dg.build_sensor_context(instance=failed[0].instance))
    assert isinstance(found, dg.SkipReason)
    assert "VPP_ALERT_WEBHOOK" in str(found.skip_message)
    assert KEY not in str(found.skip_message)


@pytest.fixture
def late(tmp_path: Path) -> Callable[..., tuple[Alert | None, str]]:
    """The late bids as the sensor finds them at a Pacific time of 2023-08-14."""

    def at(hour: int, minute: int, toml: str = "", bids_of: date | None = None) -> tuple[Alert | None, str]:
        (tmp_path / "prices.toml").write_text(toml or 'kind = "synthetic"')
        storage, prices = Storage(data_folder=str(tmp_path)), Prices(defaults=str(tmp_path / "prices.toml"))
        if bids_of:
            storage.lake.write("bids.final_bids", bids_of, rows("bids.final_bids", bids_of))
        now = datetime(2023, 8, 14, hour, minute, tzinfo=PACIFIC).astimezone(UTC)
        return late_bids(storage, prices, dg.DagsterInstance.ephemeral(), now)

    return at


def test_bids_are_late_from_nine_until_they_are_published(late: Callable[..., tuple[Alert | None, str]]):
    tomorrow = date(2023, 8, 15)
    assert late(8, 59) == (None, "bids of 2023-08-15 are due at 09:00 Pacific")
    alert, _ = late(9, 0)
    assert alert is not None
    assert alert.title == "no bids of 2023-08-15 are published"
    assert "the market closes at 10:00" in alert.text
    assert "the ticks of bid_at_eight say why" in alert.text
    assert "vpp-pipeline bids --date 2023-08-15" in alert.text
    again, _ = late(10, 30)
    assert again is not None
    assert again.thing == alert.thing
    assert "the market closed at 10:00" in again.text
    assert late(11, 0, bids_of=tomorrow) == (None, "bids of 2023-08-15 are published")


@pytest.mark.parametrize(
    ("toml", "words"), [("[meters]\nnode = 1", "node"), ("[retention]", "no source of prices is named")]
)
def test_late_bids_say_what_keeps_the_schedule_from_bidding(
    toml: str, words: str, late: Callable[..., tuple[Alert | None, str]]
):
    alert, _ = late(9, 1, toml)
    assert alert is not None
    assert words in alert.text


def test_the_command_tries_each_way(hook: Hook, capsys: pytest.CaptureFixture[str]):
    assert main(["alerts"]) == 0
    assert hook.said == []
    assert main(["alerts", "--test"]) == 0
    assert "webhook: delivered" in capsys.readouterr().out
    assert len(hook.said) == 1
    hook.status[0] = 404
    assert main(["alerts", "--test"]) == 2
    printed = capsys.readouterr()
    assert "webhook: not delivered" in printed.out
    assert "HTTP 404" in printed.err
    assert KEY not in printed.out + printed.err


def test_the_command_says_how_to_begin(unset: None, capsys: pytest.CaptureFixture[str]):
    assert main(["alerts"]) == 2
    assert "VPP_ALERT_WEBHOOK" in capsys.readouterr().err


def test_old_failures_are_no_news(failed: tuple[TradingDesk, str], hook: Hook):
    later = datetime.now(UTC) + alerts.TELL_WITHIN + timedelta(minutes=1)
    assert alerts.failed_runs(failed[0].instance, {}, ("webhook",), later) == []
