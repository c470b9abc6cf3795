"""What scripts/test --built does: builds projects of deploy/corpus by the Dockerfiles that aish proposes, and asks them.

Arguments: the repository, the program, a directory of configuration whose packages.toml names the bases, then the names of
projects (all of them without one). A row is printed for each: what the test on a node said (BuildKit, where the engine has
it), and what the classic builder's image said. The exit code is 1 where fewer passed than is the goal, or one of those named
did not.
"""

import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time
import tomllib

from building import Failed, ask, by_classic, by_node, container_of, engine, finds_tools, holds_no_tools, nobody_is_root, own_node, ports_of

ROOT, AISH, CONFIG = sys.argv[1:4]
CORPUS = pathlib.Path(ROOT, "deploy/corpus")


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


def looked_at(image, wanted):
    """Starts an image and looks at what runs."""
    ports = ports_of(image)
    if len(ports) != 1:
        raise Failed(f"it exposes {ports}")
    with container_of(image) as container:
        holds_no_tools(container, wanted.get("compiled", False))
        engine("start", container)
        ask(container, ports[0], wanted["path"], wanted["text"])
        nobody_is_root(container)


def on_node(directory, wanted):
    """The test of aish, and what its image answers."""
    with by_node(AISH, directory) as (image, failure):
        if failure:
            raise Failed(failure)
        looked_at(image, wanted)


def classic(directory, wanted):
    """The saved Dockerfile by the classic builder, and what that image answers."""
    with by_classic(AISH, directory) as (image, _):
        looked_at(image, wanted)


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
    # That search would prove nothing if it found no compiler where there is one.
    finds_tools(tomllib.loads(pathlib.Path(CONFIG, "packages.toml").read_text())["bases"]["cpp"])
    passed, languages = 0, set()
    with tempfile.TemporaryDirectory(prefix="aigis-built-") as work:
        with own_node(AISH, CONFIG, work, "built"):
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
    print(f"built and answered: {passed} of {len(names)}, in {len(languages)} languages; the goal is {goal}")
    # As a test runner closes.
    print(f"{passed} passed, {len(names) - passed} failed")
    sys.exit(passed < goal)


main()
