"""What infra/build makes is installed, runs, and is removed again."""

import os
import subprocess

from servers import ROOT, Rejoinder
from test_manifests import run


def test_the_debian_package_installs_runs_and_leaves(directory, started):
    package = run(ROOT / "infra/build/deb", os.environ["REJOINDER_BIN"], directory).strip()
    version = run(os.environ["REJOINDER_BIN"], "--version").split()[1]
    assert package.endswith(f"/rejoinder_{version}_{run('dpkg', '--print-architecture').strip()}.deb")
    assert "libc6" in run("dpkg-deb", "--field", package, "Depends")
    root = directory / "root"
    for part in ("info", "updates"):
        (root / "var/lib/dpkg" / part).mkdir(parents=True)
    (root / "var/lib/dpkg/status").touch()
    dpkg = ["dpkg", f"--root={root}", "--force-script-chrootless", "--force-depends", "--force-not-root"]
    run(*dpkg, "--install", package)
    installed = root / "usr/bin/rejoinder"
    server = Rejoinder(directory / "server", str(installed))
    started.append(server)
    server.wait_ready()
    assert server.reply("hello") == 200
    unit = root / "usr/lib/systemd/system/rejoinder.service"
    assert unit.read_text() == (ROOT / "infra/systemd/rejoinder.service").read_text()
    subprocess.run(["bash", "-n", root / "usr/share/bash-completion/completions/rejoinder"], check=True)
    settings = root / "etc/rejoinder/env"
    with open(settings, "a") as changed:
        changed.write("PORT=8081\n")
    kept = root / "var/lib/private/rejoinder"
    kept.mkdir(parents=True)
    run(*dpkg, "--remove", "rejoinder")
    assert not installed.exists() and settings.read_text().endswith("PORT=8081\n") and kept.exists()
    run(*dpkg, "--purge", "rejoinder")
    assert not settings.exists() and not kept.exists()
