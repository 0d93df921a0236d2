"""On a platform that starts and stops instances by their open streams nothing is lost, and nobody is shown an error."""

import os

from autoscaler import GRACE
from swing import Plan, run


def test_load_swings_instances_come_and_go_and_nobody_notices():
    binary = os.environ["REJOINDER_BIN"]
    older = os.environ.get("OLDER_BIN", binary)
    plan = Plan(binary, older, seconds=(2, 10, 6), people=4, kill_every=4, words=(20, 100), night=15)
    found = run(plan)
    print(found)
    assert found["faults"] == []
    assert found["accepted and not ended"] == 0
    assert found["replies"] > 40
    assert found["most instances"] > 3
    assert found["kill -9"] > 0
    assert (found["killed since the grace period was over"], found["exit codes"]) == (0, [0])
    assert found["from SIGTERM to the end, s, median and most"][1] < GRACE
