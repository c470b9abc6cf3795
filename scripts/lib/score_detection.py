"""What scripts/score-detection does: runs the program on each tree, and scores what it says.

Arguments: the repository, the directory of checkouts (may be empty), the expected facts (may be empty).
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

LIMIT_S = 20


def analyzed(tree):
    """What the program says of a tree: its analysis or None, its exit code, how long it took."""
    began = time.monotonic()
    command = [os.environ["AISH"], "analyze", str(tree), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    took = time.monotonic() - began
    return (json.loads(done.stdout) if done.returncode == 0 else None), done.returncode, took


def primary(analysis):
    """The facts of the primary application, by the names that the scorer knows."""
    if analysis is None:
        return {}
    [one] = [one for one in analysis["applications"] if one["name"] == analysis["primary"]]
    manager = one["assets"]["package_manager"] if one["assets"] else one["package_manager"]
    return {
        "provider": one["provider"]["value"],
        "framework": one["framework"]["value"],
        "package_manager": manager["value"],
        "start_cmd": one["start"]["value"],
        "port": one["port"]["value"],
        "output_dir": one["output_dir"]["value"],
    }


def without_line(node, tree, found):
    """Collects the places of evidence that do not exist, and known values that have none."""
    if isinstance(node, dict):
        if node.get("value") is not None and "evidence" in node and not node["evidence"]:
            found.append(f"no evidence: {node}")
        if "file" in node and "line" in node:
            path = tree / node["file"]
            lines = path.read_bytes().count(b"\n") + 1 if path.is_file() else 0
            if not 1 <= node["line"] <= lines:
                found.append(f"{node['file']}:{node['line']}")
        for value in node.values():
            without_line(value, tree, found)
    elif isinstance(node, list):
        for value in node:
            without_line(value, tree, found)


def public(root, expected):
    """Scores the public trees."""
    examples = json.loads(expected.read_text())["examples"]
    results, times, bad = {}, [], []
    for key, example in sorted(examples.items()):
        tree = root / example["corpus"] / example["path"]
        if not tree.is_dir():
            sys.exit(f"{tree} is no directory: fetch the revision that {expected} names")
        analysis, code, took = analyzed(tree)
        times.append(took)
        results[key] = primary(analysis)
        if code not in (0, 1):
            bad.append(f"{key}: exit {code}")
        without_line(analysis, tree, bad)
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(results, file)
        file.flush()
        scorer = expected.parent / "score.py"
        subprocess.run([sys.executable, str(scorer), str(expected), file.name, "--root", str(root), "--misses"], check=True)
    wrong = [key for key, example in sorted(examples.items())
             if results[key].get("framework") not in (None, example["framework"]) and example["framework"]]
    times.sort()
    print(f"frameworks named wrongly: {len(wrong)} {' '.join(wrong)}".rstrip())
    print(f"time a tree, whole process: p50 {times[len(times) // 2] * 1e3:.1f} ms, "
          f"p95 {times[len(times) * 95 // 100] * 1e3:.1f} ms, most {times[-1] * 1e3:.1f} ms")
    for line in bad:
        print(f"BAD | {line}")
    return not bad


def parsed(path):
    """A project of our own: what is expected, and its files."""
    expected, files, name, how = None, {}, None, ""
    for line in path.read_text().splitlines():
        if line.startswith("-- ") and line.endswith(" --"):
            name, _, how = line[3:-3].partition(" ")
            files[name] = (how, [])
        elif name is not None:
            files[name][1].append(line + "\n")
        elif line.startswith("expect "):
            expected = json.loads(line.removeprefix("expect "))
    return expected, {name: written(how, "".join(lines)) for name, (how, lines) in files.items()}


def written(how, text):
    """The bytes of a file that is written that way."""
    return {
        "": lambda: text.encode(),
        "crlf": lambda: text.replace("\n", "\r\n").encode(),
        "bom": lambda: b"\xef\xbb\xbf" + text.encode(),
        "utf16": lambda: b"\xff\xfe" + text.encode("utf-16-le"),
        "latin1": lambda: text.encode("latin-1"),
        "bare": lambda: text.rstrip("\n").encode(),
    }[how]()


def said(analysis):
    """What is said of a project, by the keys of deploy/corpus/README.md."""
    if analysis is None:
        return {"nothing": True}
    [one] = [one for one in analysis["applications"] if one["name"] == analysis["primary"]]
    keys = "provider framework runtime package_manager start release port output_dir dockerfile install build".split()
    facts = {key: one[key]["value"] for key in keys}
    facts |= {
        "ambiguous": one["ambiguous"],
        "primary": analysis["primary"],
        "applications": [each["name"] for each in analysis["applications"]],
        "assets": one["assets"] and one["assets"]["package_manager"]["value"],
        "env": [each["name"] for each in one["env"]],
        "services": [each["name"] for each in one["services"]],
        "alternatives": [f"{each['provider']} {each['role']}" for each in one["alternatives"]],
        "warnings": [each["code"] for each in analysis["warnings"]],
        "nothing": False,
    }
    return facts


def own(directory):
    """Scores our own projects in a directory: how many are right, of how many."""
    right, projects = 0, sorted(directory.glob("*.txt"))
    for path in projects:
        expected, files = parsed(path)
        with tempfile.TemporaryDirectory() as root:
            for name, content in files.items():
                file = pathlib.Path(root, name)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
            facts = said(analyzed(root)[0])
        misses = [key for key, value in expected.items() if facts.get(key) != value]
        right += not misses
        for key in misses:
            print(f"MISS | {path.stem} | {key} | {expected[key]} | {facts.get(key)}")
    print(f"{directory.name}: {right} of {len(projects)} projects right")
    return right == len(projects)


def main():
    """Runs it; exit 1 where a project of our own is wrong, or a place of evidence does not exist."""
    root, checkouts, expected = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    expected = pathlib.Path(expected) if expected else root.parent / "shared/corpus/detection/visible.json"
    good = True
    if not checkouts:
        print("no directory of checkouts was named: our own projects are scored alone")
    elif not expected.is_file():
        print(f"{expected} is not there: our own projects are scored alone")
    else:
        good = public(pathlib.Path(checkouts), expected)
    good &= own(root / "deploy/corpus")
    good &= own(root / "deploy/corpus/adversarial")
    sys.exit(0 if good else 1)


main()
