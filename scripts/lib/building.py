"""How projects are built by the Dockerfiles that aish proposes, and what is looked at in what was built."""

import contextlib
import http.client
import json
import os
import re
import subprocess
import tarfile
import time

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


def engine(*words, limit_s=60):
    return run("docker", *words, limit_s=limit_s).strip()


@contextlib.contextmanager
def own_node(aish, config, work, name):
    """A node with its own data while the block runs: the builders of aish ask it."""
    os.environ.update(AIGIS_DATA=f"{work}/data", AIGIS_CONFIG_DIR=config)
    run(aish, "up", "--detach", "--listen", "127.0.0.1:0", "--name", name)
    try:
        yield
    finally:
        run(aish, "down")


@contextlib.contextmanager
def by_node(aish, directory):
    """What aish's own test builds (BuildKit, where the engine has it): the image, and why its test failed, if it did."""
    command = [aish, "dockerfile", str(directory), "--test", "--keep", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_S, check=False)
    told = json.loads(done.stdout or done.stderr.splitlines()[-1])
    report = told if done.stdout else (told.get("data") or {}).get("report", {})
    failure = told["message"][:300] + said(report.get("log", [])) if done.returncode else None
    try:
        if not report.get("image"):
            raise Failed(failure)
        yield report["image"], failure
    finally:
        if report.get("image"):
            engine("image", "rm", report["image"])


@contextlib.contextmanager
def by_classic(aish, directory):
    """The image that the classic builder makes by the saved Dockerfile; it tries nothing, so nothing fails."""
    proposal = json.loads(run(aish, "dockerfile", str(directory), "--json"))
    [path] = [file["path"] for file in proposal["files"] if file["path"].endswith("Dockerfile")]
    run(aish, "dockerfile", str(directory), "--save", "--replace")
    surroundings = dict(os.environ, DOCKER_BUILDKIT="0")
    command = ["docker", "build", "--force-rm", "-f", str(directory / path), str(directory / proposal["root"])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_S, check=False, env=surroundings)
    steps = re.findall(r"^ ---> ([0-9a-f]{12})$", done.stdout, re.MULTILINE)
    try:
        if done.returncode:
            raise Failed("docker build:" + said((done.stdout + done.stderr).splitlines()))
        yield steps[-1], None
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


@contextlib.contextmanager
def container_of(image, *options):
    """A container that is not started yet, and gone afterwards. No image may ask for another user than a number that is not 0."""
    user = engine("image", "inspect", "-f", "{{.Config.User}}", image)
    if not re.fullmatch(r"[1-9]\d*:[1-9]\d*", user):
        raise Failed(f"its user is {user!r}")
    container = engine("create", "--memory", "1g", "--pids-limit", "512", *options, image)
    try:
        yield container
    finally:
        engine("rm", "-f", "-v", container)


def ports_of(image):
    """The ports that an image exposes."""
    return [int(port.split("/")[0]) for port in json.loads(engine("image", "inspect", "-f", "{{json .Config.ExposedPorts}}", image)) or []]


def address_of(container):
    """Where a container is reached from this host; empty once it has ended."""
    return engine("inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", container)


def get(address, port, path):
    """Status and text of an answer; status 0 where there is none."""
    try:
        connection = http.client.HTTPConnection(address, port, timeout=5)
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read(1 << 20).decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        return 0, str(error)


def output_of(container):
    """What a container wrote, on both of its streams."""
    log = subprocess.run(["docker", "logs", container], capture_output=True, text=True, timeout=60, check=False, errors="replace")
    return log.stdout + log.stderr


def ask(container, port, path, text):
    """Waits until the container answers, and looks at what it says."""
    address = address_of(container)
    until, answer = time.monotonic() + ANSWERS_S, (0, "nothing")
    while address and time.monotonic() < until:
        answer = get(address, port, path)
        if answer[0] == 200 and text in answer[1]:
            return
        time.sleep(0.2)
    raise Failed(f"GET {path} has no {text!r}: {answer[0]} {answer[1][:300]}{said(output_of(container).splitlines()[-10:])}")


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


def finds_tools(image):
    """Whether that search sees the tools of an image that has them: it would prove nothing otherwise."""
    container = engine("create", image)
    try:
        holds_no_tools(container, compiled=True)
    except Failed:
        return
    finally:
        engine("rm", "-f", "-v", container)
    raise Failed(f"no compiler is found in {image}, which has one")
