"""A real Prometheus that scrapes servers, with the rules and alerts of infra/prometheus at the pace of a test."""

import json
import urllib.parse
from pathlib import Path

import yaml

from servers import ROOT, Program, ask, free_port, status, until

RULES = ROOT / "infra/prometheus/rules.yaml"
ALERTS = ROOT / "infra/prometheus/alerts.yaml"
DASHBOARD = ROOT / "infra/grafana/rejoinder.json"

# Windows of minutes become as many seconds as a test can wait.
WINDOWS = {"5m": "3s", "30m": "10s"}
# And what takes minutes, or a disk of gigabytes, to come true.
THRESHOLDS = {
    "rejoinder_projection_lag_seconds > 600": "rejoinder_projection_lag_seconds > 2",
    "2^30": "2^25",
    "rejoinder_webhook_waiting_seconds > 300": "rejoinder_webhook_waiting_seconds > 2",
    "(rejoinder_webhook_endpoint_failing_seconds) > 3600": "(rejoinder_webhook_endpoint_failing_seconds) > 1",
}


def rules(path: Path) -> list[dict]:
    return [rule for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]


def alerts() -> dict[str, dict]:
    return {rule["alert"]: rule for rule in rules(ALERTS)}


def panels() -> dict[str, str]:
    """What the dashboard asks, by panel and number."""
    board = json.loads(DASHBOARD.read_text())
    asked = {
        f"{panel['title']} ({target['refId']})": target["expr"]
        for panel in board["panels"]
        for target in panel.get("targets", [])
    }
    return asked | {note["name"]: note["expr"] for note in board["annotations"]["list"]}


def hastened(expression: str) -> str:
    for long, short in WINDOWS.items():
        expression = expression.replace(f"[{long}]", f"[{short}]")
    for usual, small in THRESHOLDS.items():
        expression = expression.replace(usual, small)
    return expression


class Prometheus(Program):
    def __init__(self, directory: Path, targets: list[str]) -> None:
        self.base = f"http://127.0.0.1:{free_port()}"
        directory.mkdir(exist_ok=True)
        for path in (RULES, ALERTS):
            document = yaml.safe_load(path.read_text())
            for rule in (rule for group in document["groups"] for rule in group["rules"]):
                rule["expr"] = hastened(rule["expr"])
                rule.pop("for", None)
            (directory / path.name).write_text(yaml.safe_dump(document))
        scrape = {"job_name": "rejoinder", "static_configs": [{"targets": targets}]}
        config = {
            "global": {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "500ms"},
            "rule_files": [RULES.name, ALERTS.name],
            "scrape_configs": [scrape],
        }
        (directory / "prometheus.yaml").write_text(yaml.safe_dump(config))
        flags = [
            f"--config.file={directory}/prometheus.yaml",
            f"--storage.tsdb.path={directory}/data",
            f"--web.listen-address={self.base.removeprefix('http://')}",
            "--query.lookback-delta=2s",
        ]
        super().__init__(["prometheus", *flags], directory / "log")
        until("Prometheus", lambda: status(f"{self.base}/-/ready") == 200)
        # (It begins some seconds later.)
        until("it scrapes", lambda: len(self.query("up")) == len(targets))

    def query(self, expression: str) -> list[dict]:
        url = f"{self.base}/api/v1/query?" + urllib.parse.urlencode({"query": expression})
        answer = json.loads(ask(url)[1])
        assert answer["status"] == "success", answer
        return answer["data"]["result"]

    def firing(self, instances: set[str]) -> set[str]:
        """What fires of these instances, or of all together."""
        found = json.loads(ask(f"{self.base}/api/v1/alerts")[1])["data"]["alerts"]
        fires = [alert["labels"] for alert in found if alert["state"] == "firing"]
        return {labels["alertname"] for labels in fires if labels.get("instance") in instances | {None}}

    def shown(self, expression: str) -> bool:
        """Whether a panel of the dashboard has something to show."""
        variables = {"$job": "rejoinder", "$instance": ".*", "$__rate_interval": "3s", "[1m]": "[10s]"}
        for name, value in variables.items():
            expression = expression.replace(name, value)
        return bool(self.query(expression))
