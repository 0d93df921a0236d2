"""The rules, alerts and panels themselves, without a server: what can be told of them beforehand."""

import re
import subprocess

from prometheus import ALERTS, RULES, alerts, panels, rules
from servers import ROOT
from test_alerts import SCENARIOS


def test_every_alert_has_a_scenario_and_a_line_in_the_runbook():
    assert set().union(*SCENARIOS.values()) == set(alerts())
    runbook = (ROOT / "infra/README.md").read_text()
    for name, rule in alerts().items():
        assert rule["annotations"]["runbook"] == f"infra/README.md#{name.lower()}"
        assert len(re.findall(rf"^#### {name}$", runbook, flags=re.M)) == 1, name


def test_promtool_finds_nothing_wrong():
    subprocess.run(["promtool", "check", "rules", "--lint=all", "--lint-fatal", RULES, ALERTS], check=True)
    subprocess.run(["promtool", "test", "rules", ROOT / "tests/platforms/alerts.test.yaml"], check=True)


def test_every_recorded_rule_is_used_and_every_alert_has_a_test_of_promtool():
    asked = " ".join([*(rule["expr"] for rule in rules(ALERTS)), *panels().values(), autoscaling()])
    for rule in rules(RULES):
        assert rule["record"] in asked, f"nobody asks for {rule['record']}"
    tested = (ROOT / "tests/platforms/alerts.test.yaml").read_text()
    assert {name for name in alerts() if f"alertname: {name}\n        exp_alerts" not in tested} == set()


def autoscaling() -> str:
    return (ROOT / "infra/kubernetes/overlays/nats/autoscaling.yaml").read_text()
