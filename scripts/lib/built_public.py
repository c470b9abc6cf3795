"""What scripts/score-detection --build does: builds the public trees of `build_set` by the Dockerfiles that aish proposes.

Arguments: the program, a directory of configuration whose packages.toml names the bases, an image with the services that
applications need, the directory of checkouts, the expected facts, then the names of trees (all of `build_set` without one).
A row is printed for each tree. The exit code is 1 where a goal is missed; of trees that are named, where one is not built by
both builders, or has an error.
"""

import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.parse

from building import (
    ANSWERS_S, Failed, address_of, by_classic, by_node, container_of, engine, get, holds_no_tools, nobody_is_root, output_of,
    own_node, ports_of, run, said,
)

AISH, CONFIG, SERVICES_IMAGE, CHECKOUTS, EXPECTED = sys.argv[1:6]
# So many are built by both builders; so many of these pass the corpus's check, or have none.
BUILT, PASSED = 20, 17
COMPILED = {"cpp", "go", "rust"}
# How a service is started, as nobody in particular; `{user}` and `{database}` are of the address that the check names.
SERVICES = {
    "postgres": (
        'PATH=/usr/lib/database/bin:$PATH; initdb -D /tmp/data -U {user} -A trust > /dev/null && '
        'echo "host all all all trust" >> /tmp/data/pg_hba.conf && '
        'echo "CREATE DATABASE {database}" | postgres --single -D /tmp/data postgres > /dev/null && '
        'exec postgres -D /tmp/data -h 0.0.0.0 -k /tmp'
    ),
    "redis": "exec redis-server --bind 0.0.0.0 --protected-mode no --dir /tmp --save ''",
}
# What says where the database is, where a check names no address of it.
DATABASE = {"PGHOST": "postgres", "PGPORT": "5432", "PGUSER": "tried", "PGPASSWORD": "tried", "PGDATABASE": "tried"}


def variables(example):
    """The environment in which a tree's checks want it."""
    found = {}
    for check in example["http_checks"] + example["stdout_checks"]:
        given = check.get("envs") or {}
        found |= given if isinstance(given, dict) else dict(each.split("=", 1) for each in given if "=" in each)
    return found


@contextlib.contextmanager
def services(names, environment):
    """Runs the services that a tree needs on a network of its own; gives options of a container that reaches them."""
    options = [word for key, value in environment.items() for word in ("--env", f"{key}={value}")]
    known = sorted(set(names) & set(SERVICES))
    if not known:
        yield options
        return
    address = urllib.parse.urlparse(environment.get("DATABASE_URL") or "")
    values = {"user": address.username or DATABASE["PGUSER"], "database": address.path[1:] or DATABASE["PGDATABASE"]}
    if not all(value.isidentifier() for value in values.values()):
        raise Failed(f"{values} are no names of a database")
    for key, value in DATABASE.items():
        options += ["--env", f"{key}={value}"]
    network, containers = engine("network", "create", f"aigis-public-{os.getpid()}"), []
    try:
        for name in known:
            command = ["sh", "-c", SERVICES[name].format(**values)]
            more = ["--network", network, "--network-alias", name, "--user", "nobody", "--memory", "1g"]
            containers.append(engine("run", "--detach", *more, SERVICES_IMAGE, *command))
        wait_for(dict(zip(known, containers, strict=True)))
        yield [*options, "--network", network]
    finally:
        for container in containers:
            engine("rm", "-f", "-v", container)
        engine("network", "rm", network)


def wait_for(containers):
    """Waits until each service says that it takes connections."""
    until = time.monotonic() + ANSWERS_S
    for name, container in containers.items():
        # The database is up for a moment before, to be made.
        while "eady to accept connections" not in output_of(container):
            if time.monotonic() > until or not address_of(container):
                raise Failed(f"{name} does not start:{said(output_of(container).splitlines())}")
            time.sleep(0.2)


def lacking(text, output):
    """What is said of a text that a program did not write: it may have written that of another version."""
    pattern = r"\d+(\.\d+)+".join(re.escape(part) for part in re.split(r"\d+(?:\.\d+)+", text))
    other = re.search(pattern, output)
    return f"wrote {other[0]!r} for {text!r}" if other else f"wrote no {text!r}"


def missing(example, container, ports):
    """What the checks of a tree still lack. Where it has none, its port has to answer, or it has to have ended with 0."""
    address, lacks = address_of(container), []
    for check in example["http_checks"]:
        status, text = get(address, check["port"], check["path"]) if address else (0, "it has ended")
        if status != (check.get("status") or 200) or not all(each in text for each in check["contains"]):
            lacks.append(f"GET {check['path']}: {status} {text[:100]!r}")
    output = output_of(container)
    lacks += [lacking(text, output) for check in example["stdout_checks"] for text in check["contains"] if text not in output]
    if example["http_checks"] or example["stdout_checks"]:
        return lacks
    if address:
        return [f"nothing answers on {port}" for port in ports if not get(address, port, "/")[0]]
    code = engine("inspect", "-f", "{{.State.ExitCode}}", container)
    return [] if code == "0" else [f"it ended with {code}"]


def checked(image, example, needed):
    """Looks into an image and starts it: what its checks lack after their time."""
    with contextlib.ExitStack() as stack:
        options = stack.enter_context(services(needed, variables(example)))
        container = stack.enter_context(container_of(image, *options))
        holds_no_tools(container, example["provider"] in COMPILED)
        engine("start", container)
        until, ports = time.monotonic() + ANSWERS_S, ports_of(image)
        while True:
            runs = address_of(container)
            lacks = missing(example, container, ports)
            if not lacks or not runs or time.monotonic() > until:
                break
            time.sleep(0.5)
        try:
            nobody_is_root(container)
        except Failed:
            # What has ended has no processes any more.
            if address_of(container):
                raise
        return lacks


def tried(builder, directory, example, needed):
    """Whether a builder builds a tree, and why it does not pass."""
    try:
        # Without its services no start can succeed: what counts here is what was built.
        with builder(AISH, directory) as (image, _):
            try:
                return True, checked(image, example, needed)
            except Failed as why:
                return True, [f"FAULT {why}"]
    except Failed as why:
        return False, [str(why)]
    except subprocess.TimeoutExpired as late:
        return False, [f"{' '.join(late.cmd[:3])} did not end within {late.timeout:.0f} s"]


def faults(directory, port):
    """Errors in what is proposed, what lies outside the subset, and whether it exposes the port that is known, and no other."""
    proposal = json.loads(run(AISH, "dockerfile", str(directory), "--json"))
    rules = {"outside-subset", "port-not-exposed", "root-user", "shell-form-cmd"}
    found = [each["rule"] for each in proposal["lint"] if each["level"] == "error" or each["rule"] in rules]
    [text] = [file["content"] for file in proposal["files"] if file["path"].endswith("Dockerfile")]
    exposed = re.findall(r"^EXPOSE (.*)$", text, re.MULTILINE)
    return found + ["port"] * (exposed != [str(port)] * (port is not None))


def row(example, directory):
    """What came of a tree: whether each builder builds it, of its check and of the lint, and why."""
    analysis = json.loads(run(AISH, "analyze", str(directory), "--json"))
    [primary] = [one for one in analysis["applications"] if one["name"] == analysis["primary"]]
    wrong = faults(directory, primary["port"]["value"])
    needed = [each["name"] for each in primary["services"]]
    (node, node_lacks), (plain, plain_lacks) = (tried(builder, directory, example, needed) for builder in (by_node, by_classic))
    lacks = list(dict.fromkeys(node_lacks + plain_lacks))
    has_check = bool(example["http_checks"] or example["stdout_checks"])
    check = "-" if not (node and plain) else "missed" if lacks else "passed" if has_check else "none"
    return node, plain, check, wrong, lacks


def main():
    # Ended from outside, it still clears away.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    examples = json.loads(pathlib.Path(EXPECTED).read_text())["examples"]
    listed = sorted(name for name, example in examples.items() if example.get("build_set"))
    names = sys.argv[6:] or listed
    unknown = [name for name in names if name not in listed]
    if unknown:
        sys.exit(f"{', '.join(unknown)}: not in the build_set of {EXPECTED}")
    built = passed = clean = faulty = 0
    print(f"{'TREE':30} {'BUILDKIT':8} {'CLASSIC':8} {'CHECK':7} {'LINT':6} {'S':>4} WHY", flush=True)
    with tempfile.TemporaryDirectory(prefix="aigis-public-") as work, own_node(AISH, CONFIG, work, "public"):
        for name in names:
            example, began = examples[name], time.monotonic()
            directory = pathlib.Path(work, name.replace("/", "-"))
            shutil.copytree(pathlib.Path(CHECKOUTS, example["corpus"], example["path"]), directory, symlinks=True)
            try:
                node, plain, check, wrong, why = row(example, directory)
            except Failed as failure:
                node, plain, check, wrong, why = False, False, "-", ["nothing"], [str(failure)]
            built += node and plain
            passed += check in ("passed", "none")
            clean += not wrong
            faulty += any(each.startswith("FAULT") for each in why)
            words = ["built" if each else "failed" for each in (node, plain)]
            lint, seconds = ",".join(wrong) or "clean", time.monotonic() - began
            print(f"{name:30} {words[0]:8} {words[1]:8} {check:7} {lint:6} {seconds:4.0f} {'; '.join(why)}".rstrip(), flush=True)
    print(f"{len(names)} trees: {built} built by both builders, {passed} of them pass their check or have none, {clean} clean, "
          f"{faulty} with a process of root or with tools in the image")
    goals = (len(names), 0) if sys.argv[6:] else (BUILT, PASSED)
    sys.exit(built < goals[0] or passed < goals[1] or clean < len(names) or faulty > 0)


main()
