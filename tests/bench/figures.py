"""The figures of the table in README.md here: gathered from what was measured, shown, and compared with those that were kept.

    figures.py gather DIRECTORY BINARY [--quick]   what tests/bench/run measured, as one JSON document
    figures.py table FIGURES                       as a table
    figures.py compare KEPT NEW PERCENT            1 if something is worse by more than so many percent
    figures.py machine | slug                      this machine, and its name for a file
"""

import datetime
import json
import os
import re
import subprocess
import sys
from pathlib import Path

# How many times the tolerance a figure gets. What waits (for the disk, for a turn on a processor) is seldom the same twice.
WAITS = 4
NOT_JUDGED = 0


def machine() -> dict:
    cpus = re.findall(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.M) or [os.uname().machine]
    kib = int(re.search(r"MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text())[1])
    cores, load = len(os.sched_getaffinity(0)), round(os.getloadavg()[0], 1)
    return {"cpu": cpus[0], "cores": cores, "memory_gib": round(kib / 2**20), "load_before": load}


def slug() -> str:
    found = machine()
    return re.sub(r"[^a-z0-9]+", "-", f"{found['cpu']} {found['cores']} cores".lower()).strip("-")


def figure(name, value, unit, bare=None, goal="", slack=1, better="lower", bare_unit=None) -> dict:
    """One figure; `bare` is the same of bare hyper, in the same run."""
    return {
        "name": name,
        "value": round(value, 3),
        "unit": unit,
        "bare": bare and round(bare, 3),
        "bare_unit": bare_unit or unit,
        "ratio": round(value / bare, 4) if bare else None,
        "goal": goal,
        "slack": slack,
        "better": better,
    }


def gather(directory: str, binary: str, quick: bool) -> dict:
    of = {path.stem: json.loads(path.read_text()) for path in Path(directory).glob("*.json")}
    figures = [
        *load("5,000/s", *of["load_5000"]["runs"]),
        *load("2,500/s", *of["load_2500"]["runs"]),
        *fanout(*of["fanout"]["runs"]),
        *first_token(*of["first_token"]["runs"]),
        *idle(of["idle"]["runs"][0], of["idle_bare"]["runs"][0], of["load_2500"]["runs"][1]),
        *start(of["start"]),
        figure("binary", os.path.getsize(binary) / 1e6, "MB", goal="≤ 25"),
    ]
    taken, commit = datetime.date.today().isoformat(), git("rev-parse", "--short", "HEAD")
    changed = "+" if git("status", "--porcelain", "--", "src", "Cargo.lock") else ""
    return {"machine": of["machine"], "taken": taken, "commit": commit + changed, "quick": quick, "figures": figures}


def load(name: str, ours: dict, bare: dict) -> list[dict]:
    def beside(key: str, unit: str, **more) -> dict:
        return figure(f"{name}: {key.replace('_', ' ')}", ours["figures"][key], unit, bare["figures"][key], **more)

    # A server that does not keep up has a queue, and the wait in it grows with the run: then it tells nothing.
    waits = NOT_JUDGED if ours["latency"]["started"]["p50_ms"] > 10 else WAITS
    return [
        figure(f"{name}: replies not ok", ours["bad"], "", goal="0"),
        beside("replies_per_second", "/s", better="higher"),
        beside("server_cpu_us_per_reply", "µs", goal="≤ 3.8 × bare"),
        latency(name, "whole_reply", "p50", ours, bare, slack=waits),
        latency(name, "whole_reply", "p99", ours, bare, slack=waits, goal="≤ 6"),
        figure(f"{name}: server peak", ours["figures"]["server_peak_mib"], "MiB", goal="≤ 114"),
    ]


def latency(name: str, what: str, which: str, ours: dict, bare: dict, slack=WAITS, **more) -> dict:
    mine, other = (run["latency"][what][f"{which}_ms"] for run in (ours, bare))
    return figure(f"{name}: {what.replace('_', ' ')} {which}", mine, "ms", other, slack=slack, **more)


def fanout(ours: dict, bare: dict) -> list[dict]:
    return [
        figure("fan-out 1,000: replies not ok", ours["bad"], "", goal="0"),
        latency("fan-out 1,000", "behind_first", "p50", ours, bare, goal="≤ 1.3 × bare"),
        latency("fan-out 1,000", "behind_first", "p99", ours, bare, goal="≤ 1.3 × bare"),
    ]


def first_token(ours: dict, upstream: dict) -> list[dict]:
    return [
        figure("first token: replies not ok", ours["bad"], "", goal="0"),
        latency("one client", "first_token", "p50", ours, upstream, goal="≤ bare + 0.3"),
    ]


def idle(ours: dict, bare: dict, busy_bare: dict) -> list[dict]:
    """Bare hyper sends no heartbeats; how slow the machine is today, its CPU for a reply tells."""
    memory, cpu = "memory_kib_per_stream_at_end", "server_cpu_percent"
    yardstick = busy_bare["figures"]["server_cpu_us_per_reply"]
    return [
        figure("8,000 idle: streams ended", ours["bad"], "", goal="0"),
        figure("8,000 idle: memory each", ours["figures"][memory], "KiB", bare["figures"][memory], goal="≤ 14"),
        figure("8,000 idle: CPU", ours["figures"][cpu], "%", yardstick, goal="≤ 1", bare_unit="µs/reply"),
    ]


def start(of: dict) -> list[dict]:
    return [
        figure("start to first answer, new DATA_DIR", of["new_ms"], "ms", of["bare_ms"], goal="≤ 15", slack=WAITS),
        figure("start to first answer, old DATA_DIR", of["old_ms"], "ms", of["bare_ms"], goal="≤ 50", slack=WAITS),
        figure("idle memory", of["idle_mib"], "MiB", goal="≤ 20"),
    ]


def git(*words: str) -> str:
    return subprocess.run(["git", *words], capture_output=True, text=True, check=False).stdout.strip()


def table(of: dict) -> str:
    machine = of["machine"]
    how = "shortened run" if of["quick"] else "whole run"
    lines = [
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, load before {machine['load_before']}; "
        f"{of['taken']}, {of['commit']}, {how}",
        "",
        "| figure | goal | measured | bare | × bare |",
        "|---|---|---:|---:|---:|",
    ]
    for one in of["figures"]:
        bare, ratio = shown(one["bare"], one["bare_unit"]), shown(one["ratio"])
        lines.append(f"| {one['name']} | {one['goal']} | {shown(one['value'], one['unit'])} | {bare} | {ratio} |")
    return "\n".join(lines)


def shown(value, unit: str = "") -> str:
    return "" if value is None else f"{value:,.{0 if value >= 1000 else 2}f} {unit}".strip()


def compare(kept: dict, new: dict, percent: int) -> tuple[str, bool]:
    """A table of how many times as much everything is, and whether something is worse than it may be."""
    before = {one["name"]: one for one in kept["figures"]}
    rows, bad = [], False
    for now in new["figures"]:
        was = before.pop(now["name"], None)
        times, verdict = judge(was, now, percent)
        bad |= verdict.startswith("WORSE")
        old = pair(was) if was else ""
        rows.append(f"{now['name']:<48}{old:>26}{pair(now):>26}{times:>9}  {verdict}")
    gone = [f"{name:<48} was not measured" for name in before]
    head = f"{'figure (× bare, in the same run)':<48}{'kept ' + kept['taken']:>26}{'now':>26}{'times':>9}"
    end = f"{'something is WORSE' if bad else 'nothing is worse'} (tolerance: {percent} %)"
    return "\n".join([head, *rows, *gone, "", *busy(new), end]), bad


def busy(of: dict) -> list[str]:
    machine = of.get("machine", {})
    if machine.get("load_before", 0) <= machine.get("cores", 1) / 2:
        return []
    return [f"The machine was busy (load {machine['load_before']}): do not trust what waits, that is latencies and starts."]


def judge(was: dict | None, now: dict, percent: int) -> tuple[str, str]:
    # Of some things a single one is too many.
    if now["goal"] == "0":
        return "", "WORSE: there were some" if now["value"] else "ok"
    if not was:
        return "", "new"
    # Beside bare hyper where both were; else as it is.
    key = "ratio" if was["ratio"] and now["ratio"] else "value"
    if not was[key]:
        return "", "not judged"
    times = now[key] / was[key]
    worse = times if now["better"] == "lower" else 1 / times if times else float("inf")
    if now["slack"] == NOT_JUDGED or was["slack"] == NOT_JUDGED:
        return f"{times:.2f}", "not judged: it does not keep up"
    allowed = 1 + percent / 100 * now["slack"]
    return f"{times:.2f}", f"WORSE than {allowed:.2f}" if worse > allowed else "ok"


def pair(one: dict) -> str:
    ratio = f" ({one['ratio']:.2f} ×)" if one["ratio"] else ""
    return shown(one["value"], one["unit"]) + ratio


def read(path: str) -> dict:
    return json.loads(Path(path).read_text())


def main(command: str, *words: str) -> int:
    match command:
        case "gather":
            print(json.dumps(gather(words[0], words[1], "--quick" in words), indent=1, ensure_ascii=False))
        case "table":
            print(table(read(words[0])))
        case "compare":
            text, bad = compare(read(words[0]), read(words[1]), int(words[2]))
            print(text)
            return int(bad)
        case "machine":
            print(json.dumps(machine()))
        case "slug":
            print(slug())
        case _:
            sys.exit(__doc__)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
