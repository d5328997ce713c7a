"""Runs the tests of the web page: the real binary with the embedded model, and Chromium.

Installs playwright-core into a folder below `target`, and Debian's chromium if there is no browser and
that is allowed here. What cannot be had is skipped, visibly; REQUIRE_WEB=1 makes that a failure.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
PACKAGES = TARGET / "web"
PLAYWRIGHT = "playwright-core@1.65.1"
BROWSERS = ["chromium", "chromium-browser", "google-chrome"]
# As many as an x86-64 machine with 2 cores runs in a third of that.
LONGEST_SECONDS = 600


def skip(reason):
    print(f"skipped: tests of the web page, {reason}", file=sys.stderr)
    sys.exit(1 if os.environ.get("REQUIRE_WEB") == "1" else 0)


def succeeds(command, seconds):
    try:
        ended = subprocess.run(command, timeout=seconds, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return ended.returncode == 0


def install_playwright():
    """Once for each version. It comes without browsers."""
    done = PACKAGES / "done.txt"
    if done.exists() and done.read_text() == PLAYWRIGHT:
        return
    PACKAGES.mkdir(parents=True, exist_ok=True)
    (PACKAGES / "package.json").write_text("{}\n")
    command = ["npm", "install", "--no-save", "--no-audit", "--no-fund", "--ignore-scripts"]
    if not succeeds([*command, "--prefix", str(PACKAGES), PLAYWRIGHT], 300):
        skip("playwright-core cannot be installed here")
    done.write_text(PLAYWRIGHT)


def browser():
    said = os.environ.get("FULGURITE_CHROMIUM")
    found = said or next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        command = ["apt-get", "install", "--yes", "--no-install-recommends", "chromium"]
        if succeeds(["apt-get", "update"], 300) and succeeds(command, 900):
            found = shutil.which("chromium")
    return found or skip("there is no Chromium, and it cannot be installed here")


def binary():
    said = os.environ.get("FULGURITE_BINARY")
    candidates = [Path(said)] if said else [TARGET / kind / "fulgurite" for kind in ("release", "debug")]
    found = [path for path in candidates if path.exists()]
    if not found:
        sys.exit("error: there is no binary: run `cargo build --release` first")
    # The one built last: the page is part of it.
    return max(found, key=lambda path: path.stat().st_mtime)


def main():
    if shutil.which("node") is None or shutil.which("npm") is None:
        skip("there is no Node.js")
    install_playwright()
    environment = {
        **os.environ,
        "FULGURITE_BINARY": str(binary()),
        "FULGURITE_CHROMIUM": browser(),
        "FULGURITE_PLAYWRIGHT": str(PACKAGES),
        "NO_PROXY": "*",
    }
    tests = sorted(map(str, HERE.glob("*.test.mjs")))
    command = ["node", "--test", "--test-concurrency=1", "--test-timeout=120000", *sys.argv[1:], *tests]
    sys.exit(subprocess.run(command, env=environment, timeout=LONGEST_SECONDS).returncode)


if __name__ == "__main__":
    main()
