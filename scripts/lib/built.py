"""What scripts/test --built does: builds projects of deploy/corpus by the Dockerfiles that aish proposes, and asks them.

Arguments: the repository, the program, a directory of configuration whose packages.toml names the bases, then the names of
projects (all of them without one). A row is printed for each: what the test on a node said (BuildKit, where the engine has
it), and what the classic builder's image said. The exit code is 1 where fewer passed than is the goal, or one of those named
did not.
"""

import http.client
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import tomllib

ROOT, AISH, CONFIG = sys.argv[1:4]
CORPUS = pathlib.Path(ROOT, "deploy/corpus")
BUILD_S = 900
ANSWERS_S = 60
COMPILERS = re.compile(r"(^|/)bin/(gcc|g\+\+|cc|c\+\+|cpp|clang|ld|as|make|cmake|meson|ninja|rustc|cargo|go)(-[\d.]+)?$")
CACHES = re.compile(
    r"^(root/\.(cache|npm|cargo|bun)/|usr/local/cargo/|(root/)?go/pkg/|var/lib/apt/lists/.|var/cache/apt/archives/.*deb$|tmp/.)"
)
TRUST = re.compile(r"^(etc/ssl/certs/.|usr/share/ca-certificates/.)")


class Failed(Exception):
    """Why a project did not pass."""


def run(*command, limit_s=120, **more):
    """The output of a program that has to succeed."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=limit_s, check=False, **more)
    if done.returncode:
        words = (done.stderr or done.stdout).splitlines()
        raise Failed(f"{' '.join(command[:3])}:{said(words)}")
    return done.stdout


def said(lines):
    """The last lines of what a program said, below its row."""
    lines = [line[:200] for line in lines if line.strip()]
    return "".join(f"\n    {line}" for line in lines[-12:])


def projects():
    """The goal, and what has to be answered by the name of each project."""
    table = tomllib.loads((CORPUS / "built.toml").read_text())
    return table["goal"], table["project"]


def write(name, directory):
    """Lays a project out, as deploy/corpus/README.md describes its file."""
    files, here = {}, None
    for line in (CORPUS / f"{name}.txt").read_text().splitlines(keepends=True):
        header = re.fullmatch(r"-- (\S+) --\n", line)
        if header:
            here = files.setdefault(header[1], [])
        elif here is not None:
            here.append(line)
    for path, lines in files.items():
        file = directory / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(lines))


def engine(*words, limit_s=60):
    return run("docker", *words, limit_s=limit_s).strip()


def ask(container, port, path, text):
    """Waits until the container answers, and looks at what it says."""
    address = engine("inspect", "-f", "{{.NetworkSettings.IPAddress}}", container)
    until, answer = time.monotonic() + ANSWERS_S, "nothing"
    while address and time.monotonic() < until:
        try:
            connection = http.client.HTTPConnection(address, port, timeout=5)
            connection.request("GET", path)
            response = connection.getresponse()
            answer = f"{response.status} {response.read(1 << 20).decode(errors='replace')}"
            if response.status == 200 and text in answer:
                return
        except (OSError, http.client.HTTPException) as error:
            answer = str(error)
        time.sleep(0.2)
    # What it writes to its standard error is not told apart from what docker says.
    log = subprocess.run(["docker", "logs", "--tail", "10", container], capture_output=True, text=True, timeout=60, check=False)
    raise Failed(f"GET {path} has no {text!r}: {answer[:300]}{said((log.stdout + log.stderr).splitlines())}")


def nobody_is_root(container):
    users = engine("top", container, "-eo", "pid,uid,args").splitlines()[1:]
    roots = [line for line in users if line.split()[1] == "0"]
    if roots or not users:
        raise Failed(f"runs as root: {roots}")


def holds_no_tools(container, compiled):
    """Looks for package caches in the image, and for compilers and certificates in that of a compiled program."""
    banned = [CACHES, COMPILERS, TRUST] if compiled else [CACHES]
    with subprocess.Popen(["docker", "export", container], stdout=subprocess.PIPE) as packing:
        with tarfile.open(fileobj=packing.stdout, mode="r|") as archive:
            names = [entry.name for entry in archive if not entry.isdir()]
    found = [name for name in names if any(one.search(name) for one in banned)]
    if found:
        raise Failed(f"the image holds {found[:5]}")


def looked_at(image, wanted):
    """Starts an image and looks at what runs. An image that starts, and is gone afterwards with its container."""
    port = json.loads(engine("image", "inspect", "-f", "{{json .Config.ExposedPorts}}", image))
    if not port or len(port) != 1:
        raise Failed(f"it exposes {port}")
    [port] = port
    container = engine("create", "--memory", "1g", "--pids-limit", "512", image)
    try:
        holds_no_tools(container, wanted.get("compiled", False))
        engine("start", container)
        ask(container, int(port.split("/")[0]), wanted["path"], wanted["text"])
        nobody_is_root(container)
    finally:
        engine("rm", "-f", "-v", container)


def on_node(directory, wanted):
    """The test of aish, and what its image answers."""
    command = [AISH, "dockerfile", str(directory), "--test", "--keep", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_S, check=False)
    told = json.loads(done.stdout or done.stderr.splitlines()[-1])
    report = told if done.stdout else (told.get("data") or {}).get("report", {})
    try:
        if done.returncode:
            raise Failed(told["message"][:300] + said(report.get("log", [])))
        looked_at(report["image"], wanted)
    finally:
        if report.get("image"):
            engine("image", "rm", report["image"])


def classic(directory, wanted):
    """The saved Dockerfile by the classic builder, and what that image answers."""
    run(AISH, "dockerfile", str(directory), "--save")
    surroundings = dict(os.environ, DOCKER_BUILDKIT="0")
    command = ["docker", "build", "--force-rm", str(directory)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_S, check=False, env=surroundings)
    steps = re.findall(r"^ ---> ([0-9a-f]{12})$", done.stdout, re.MULTILINE)
    try:
        if done.returncode:
            raise Failed("docker build:" + said((done.stdout + done.stderr).splitlines()))
        looked_at(steps[-1], wanted)
    finally:
        remove(steps)


def remove(steps):
    """Removes what the classic builder leaves of each stage: of the images that it tells of, those without a name."""
    for step in reversed(steps):
        names = subprocess.run(
            ["docker", "image", "inspect", "-f", "{{len .RepoTags}}", step], capture_output=True, text=True, timeout=60, check=False
        )
        if names.stdout.strip() == "0":
            subprocess.run(["docker", "image", "rm", step], capture_output=True, timeout=60, check=False)


def tried(how, directory, wanted):
    """What came of it in a word or more, and whether it passed."""
    began = time.monotonic()
    try:
        how(directory, wanted)
    except Failed as why:
        return f"FAILED {why}", False
    except subprocess.TimeoutExpired as late:
        return f"FAILED {' '.join(late.cmd[:3])} did not end within {late.timeout:.0f} s", False
    return f"ok {time.monotonic() - began:.0f} s", True


def main():
    # Ended from outside, it still clears away.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    goal, table = projects()
    names = sys.argv[4:] or sorted(table)
    unknown = [name for name in names if name not in table]
    if unknown:
        sys.exit(f"built.toml has no {', '.join(unknown)}")
    goal = min(goal, len(names)) if not sys.argv[4:] else len(names)
    passed, languages = 0, set()
    with tempfile.TemporaryDirectory(prefix="aigis-built-") as work:
        os.environ.update(AIGIS_DATA=f"{work}/data", AIGIS_CONFIG_DIR=CONFIG)
        run(AISH, "up", "--detach", "--listen", "127.0.0.1:0", "--name", "built")
        try:
            for name in names:
                directory = pathlib.Path(work, name)
                directory.mkdir()
                write(name, directory)
                results = [tried(how, directory, table[name]) for how in (on_node, classic)]
                (node, is_good), (plain, is_plain_good) = results
                print(f"{name} ({table[name]['language']}): test {node}; classic builder {plain}", flush=True)
                if is_good and is_plain_good:
                    passed += 1
                    languages.add(table[name]["language"])
        finally:
            run(AISH, "down")
    print(f"built and answered: {passed} of {len(names)}, in {len(languages)} languages; the goal is {goal}")
    # As a test runner closes.
    print(f"{passed} passed, {len(names) - passed} failed")
    sys.exit(passed < goal)


main()
