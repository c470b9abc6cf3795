"""What `scripts/reproduce` does: two builds of each project, and a row for each that says whether they agree."""

import contextlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib

AISH = os.environ["AISH"]
# How long a build, and how long anything else may take, in seconds.
BUILD, SHORT = 3600, 300
# After how long a phase has ended that nobody waits for, in seconds.
ENDS = 45
# The first line of a file in a project of deploy/corpus.
FILE = re.compile(r"^-- (\S+)( \w+)? --$")
# What is no part of a project, and may be large.
LEFT_OUT = {".git", "target", "node_modules", ".venv"}


class Host:
    """Who builds: `aish` with an environment and options of its own."""

    def __init__(self, environment, options=()):
        self.environment, self.options = environment, options

    def run(self, *words, within=SHORT):
        environment = {**os.environ, **self.environment}
        return subprocess.run(
            [AISH, *words], env=environment, capture_output=True, text=True, errors="replace", timeout=within, check=False
        )

    def build(self, project):
        """The record of a project's package, or why there is none."""
        try:
            ran = self.run("packages", "build", str(project), "--no-cache", "--json", *self.options, within=BUILD)
        except subprocess.TimeoutExpired:
            return None, f"it took longer than {BUILD} s"
        if ran.returncode == 0:
            return json.loads(ran.stdout), None
        return None, reason(ran.stderr)


def reason(text):
    """What went wrong, of all that was said."""
    for line in reversed(text.strip().splitlines()):
        try:
            return " ".join(json.loads(line)["message"].split())
        except (ValueError, KeyError, TypeError):
            continue
    return text.strip().splitlines()[-1] if text.strip() else "it does not say why"


def shared():
    """What both hosts have in common: the settings, which name base images, and the program of the bus."""
    home = pathlib.Path.home()
    config = pathlib.Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config", "aigis")
    data = pathlib.Path(os.environ.get("XDG_DATA_HOME") or home / ".local/share", "aigis")
    bus = data / "bin" / "nats-server"
    found = {"AIGIS_CONFIG_DIR": os.environ.get("AIGIS_CONFIG_DIR") or str(config)}
    if not (os.environ.get("AIGIS_NATS_SERVER") or shutil.which("nats-server")) and bus.exists():
        found["AIGIS_NATS_SERVER"] = str(bus)
    return found


@contextlib.contextmanager
def own_hosts(work):
    """Two hosts, each in a mesh of its own."""
    surroundings = {"TZ": "Asia/Kathmandu", "LANG": "tr_TR.UTF-8", "HOME": str(work / "home")}
    hosts, common = [], shared()
    for unset in ("AIGIS_BUS", "AIGIS_CA", "AIGIS_CREDS", "AIGIS_MESH"):
        os.environ.pop(unset, None)
    try:
        for name, other in (("one", {}), ("two", surroundings)):
            host = Host({**common, "AIGIS_DATA": str(work / name), **other})
            hosts.append(host)
            started = host.run("up", "--detach", "--name", name)
            if started.returncode != 0:
                sys.exit(f"no node can be started: {reason(started.stderr)}")
        yield hosts
    except KeyboardInterrupt:
        # A phase that nobody follows any more ends by itself, and its container goes with it.
        print(f"interrupted; what runs ends within {ENDS} s", file=sys.stderr, flush=True)
        time.sleep(ENDS)
        sys.exit(130)
    finally:
        for host in hosts:
            host.run("down")


@contextlib.contextmanager
def hosts_of_mesh(_):
    """This host, and another node of its mesh, if there is one that has an engine."""
    listed = Host({}).run("nodes", "--json")
    if listed.returncode != 0:
        sys.exit(f"this host is in no mesh: {reason(listed.stderr)}")
    nodes = [node for node in json.loads(listed.stdout) if node["state"] == "live" and (node["engine"] or {}).get("reachable")]
    if not nodes:
        sys.exit("no node of the mesh has an engine that answers")
    names = [node["name"] for node in nodes]
    yield [Host({}, ("--on", names[0])), Host({"TZ": "Asia/Kathmandu", "LANG": "tr_TR.UTF-8"}, ("--on", names[-1]))]


def copied(source, to, mask, backwards):
    """A project's files elsewhere."""
    before = os.umask(mask)
    try:
        entries = []
        for above, directories, files in os.walk(source):
            directories[:] = [name for name in directories if name not in LEFT_OUT]
            entries += [pathlib.Path(above, name) for name in files]
        to.mkdir(parents=True)
        for number, entry in enumerate(sorted(entries, reverse=backwards)):
            path = to / entry.relative_to(source)
            path.parent.mkdir(parents=True, exist_ok=True)
            if entry.is_symlink():
                path.symlink_to(os.readlink(entry))
                continue
            shutil.copyfile(entry, path)
            path.chmod((0o777 if os.access(entry, os.X_OK) else 0o666) & ~mask)
            os.utime(path, (10**9 + number, 10**9 + number))
        return to
    finally:
        os.umask(before)


def unpacked(text, to):
    """The files of a project that one file of deploy/corpus holds."""
    path, lines = None, []

    def end():
        if path is not None:
            (to / path).parent.mkdir(parents=True, exist_ok=True)
            (to / path).write_text("\n".join(lines) + "\n", encoding="utf-8")

    for line in text.splitlines():
        begins = FILE.match(line)
        if begins:
            end()
            path, lines = begins[1], []
        else:
            lines.append(line)
    end()
    return to


def listed(root, work):
    """The projects that are built if none is named."""
    corpus = root / "deploy" / "corpus"
    try:
        names = tomllib.loads((corpus / "built.toml").read_text(encoding="utf-8"))["project"]
    except FileNotFoundError:
        sys.exit("deploy/corpus/built.toml is not there: name directories that hold projects")
    return [unpacked((corpus / f"{name}.txt").read_text(encoding="utf-8"), work / "listed" / name) for name in sorted(names)]


def layers(record):
    """The layers of all images of a package, by what they are called."""
    found = {}
    for image in record["images"]:
        for number, layer in enumerate(image["layers"]):
            name = f"{layer['kind']} {layer.get('application') or number}"
            found[f"{image['container']} {image['platform']} {name}"] = layer["digest"]
    return found


def differing(a, b, host):
    """Which layers differ, and what a verification says of it."""
    one, other = layers(a), layers(b)
    names = sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))
    try:
        report = json.loads(host.run("packages", "verify", a["id"], "--json", within=BUILD).stdout)
        said = [f"{each['kind']} {each['path']}" + (f" ({each['hint']})" if each["hint"] else "") for each in report["differences"]]
    except (ValueError, subprocess.TimeoutExpired):
        said = []
    if a["inputs"] != b["inputs"]:
        said.insert(0, "its inputs are others")
    return f"{', '.join(names) or 'no layer'}: {'; '.join(said[:3]) or 'nothing that a verification shows'}"


def row(project, work, hosts):
    """What came of a project: its name, the result, the digest, and what is to be said."""
    name = project.resolve().name
    first = copied(project, work / "a" / name, 0o022, backwards=False)
    second = copied(project, work / "elsewhere" / "further" / "below" / f"{name}-copy", 0o077, backwards=True)
    a, failure = hosts[0].build(first)
    if a is None:
        return name, "not built", "", failure
    lock = first / "aigis.lock"
    if lock.exists():
        # What a base image is, is part of what goes in.
        shutil.copyfile(lock, second / "aigis.lock")
    b, failure = hosts[1].build(second)
    if b is None:
        return name, "not built", "", f"the second time: {failure}"
    if a["output"] == b["output"]:
        return name, "same", a["output"], ""
    return name, "differs", a["output"], differing(a, b, hosts[0])


def main():
    root, words = pathlib.Path(sys.argv[1]), sys.argv[2:]
    in_mesh = "--mesh" in words
    unknown = [word for word in words if word.startswith("-") and word != "--mesh"]
    if unknown:
        sys.exit(f"{unknown[0]} is no option; see: scripts/reproduce --help")
    given = [pathlib.Path(word) for word in words if word != "--mesh"]
    missing = [path for path in given if not path.is_dir()]
    if missing:
        sys.exit(f"{missing[0]} is no directory")
    with tempfile.TemporaryDirectory(prefix="aigis-reproduce-") as directory:
        work = pathlib.Path(directory)
        (work / "home").mkdir()
        projects = given or listed(root, work)
        with (hosts_of_mesh if in_mesh else own_hosts)(work) as hosts:
            results = []
            print(f"{'PROJECT':28} {'RESULT':10} {'OUTPUT':20} WHAT", flush=True)
            for number, project in enumerate(projects):
                name, result, output, what = row(project, work / str(number), hosts)
                results.append(result)
                print(f"{name:28} {result:10} {output[:19]:20} {what}".rstrip(), flush=True)
    counts = {result: results.count(result) for result in ("same", "differs", "not built")}
    print(", ".join(f"{count} {result}" for result, count in counts.items()))
    sys.exit(1 if counts["differs"] or not counts["same"] else 0)


main()
