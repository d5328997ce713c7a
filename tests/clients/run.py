"""Runs the clients that people use against the real binary.

Installs them into a folder below `target`, starts `fulgurite serve` with the embedded model, runs the
tests beside this file, and checks that the server ends as it should. What cannot be installed is
skipped, visibly; REQUIRE_CLIENTS=1 makes that a failure.
"""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
PACKAGES = TARGET / "clients"
KEY = "key-of-the-tests"


def skip(reason):
    print(f"skipped: tests with Python clients, {reason}", file=sys.stderr)
    sys.exit(1 if os.environ.get("REQUIRE_CLIENTS") == "1" else 0)


def install():
    """Once for each list of versions."""
    wanted = (HERE / "requirements.txt").read_text()
    done = PACKAGES / "done.txt"
    if done.exists() and done.read_text() == wanted:
        return
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    command += ["--no-warn-conflicts", "--root-user-action=ignore", "--upgrade"]
    command += ["--target", str(PACKAGES), "-r", str(HERE / "requirements.txt")]
    try:
        installed = subprocess.run(command, timeout=600).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        installed = False
    if not installed:
        skip("which cannot be installed here")
    done.write_text(wanted)


def binary():
    said = os.environ.get("FULGURITE_BINARY")
    candidates = [Path(said)] if said else [TARGET / kind / "fulgurite" for kind in ("release", "debug")]
    for path in candidates:
        if path.exists():
            return path
    sys.exit("error: there is no binary: run `cargo build --release` first")


def wait_until_ready(address, process):
    end = time.monotonic() + 120
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{address}/ready", timeout=5) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.1)
    sys.exit("error: the server does not get ready")


def main():
    install()
    log = (TARGET / "clients-server.log").open("w+")
    arguments = [binary(), "serve", "--port", "0", "--api-key", KEY, "--grace", "5", "--memory", "1"]
    # What is kept goes with the tests.
    home = tempfile.TemporaryDirectory()
    server = {**os.environ, "FULGURITE_HOME": home.name}
    process = subprocess.Popen(arguments, env=server, stderr=log, stdout=subprocess.DEVNULL)
    try:
        found = None
        end = time.monotonic() + 60
        while found is None and time.monotonic() < end and process.poll() is None:
            time.sleep(0.05)
            found = re.search(r"http://\S+(?=\n)", Path(log.name).read_text())
        if found is None:
            sys.exit(f"error: the server does not start: {Path(log.name).read_text()}")
        address = found.group()
        wait_until_ready(address, process)
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(PACKAGES), str(HERE)]),
            "FULGURITE_ADDRESS": address,
            "FULGURITE_KEY": KEY,
            "NO_PROXY": "*",
        }
        tests = [sys.executable, "-m", "unittest", "discover", "--start-directory", str(HERE)]
        failed = subprocess.run(tests, env=environment, timeout=1500).returncode != 0
        if process.poll() is not None:
            sys.exit(f"error: the server ended by itself: {Path(log.name).read_text()}")
        process.send_signal(signal.SIGTERM)
        code = process.wait(timeout=30)
        if code != 0:
            sys.exit(f"error: the server ended with {code} after SIGTERM, expected 0")
        said = Path(log.name).read_text()
        if "internal error" in said or "panicked" in said:
            sys.exit(f"error: the server failed meanwhile: {said}")
        sys.exit(1 if failed else 0)
    finally:
        process.kill()
        process.wait()
        home.cleanup()


if __name__ == "__main__":
    main()
