# Writes what pip installs for a lock file, or for a manifest without one: python requirements.py LOCK requirements.txt
import json, os, platform, re, sys
try:
    import tomllib
except ImportError:
    from pip._vendor import tomli as tomllib
from pip._vendor.packaging.markers import Marker

def same(name):
    return re.sub("[-_.]+", "-", name).lower()

def holds(marker, extra=""):
    return not marker or Marker(marker).evaluate({"extra": extra})

def toml(path):
    with open(path, "rb") as file:
        return tomllib.load(file)

def line(name, version, hashes):
    if not hashes:
        sys.exit(name + " has no digest in the lock file: lock it again from a package index")
    return " ".join([name + "==" + version] + ["--hash=" + hash for hash in sorted(set(hashes))])

def walk(packages, start, edges):
    # All that is reached from the start: name, version if one is named, extras.
    by_name, seen, todo, found = {}, set(), list(start), {}
    for package in packages:
        by_name.setdefault(same(package["name"]), []).append(package)
    while todo:
        name, version, extra = todo.pop()
        if (name, version, extra) in seen:
            continue
        seen.add((name, version, extra))
        for package in by_name.get(name, []):
            if version in (None, package.get("version")) and usable(package):
                found[id(package)] = package
                todo += edges(package, extra)
    return found.values()

def usable(package):
    markers = package.get("resolution-markers") or package.get("markers") or package.get("marker")
    if isinstance(markers, dict):
        markers = markers.get("main")
    if isinstance(markers, str):
        markers = [markers]
    return not markers or any(holds(marker) for marker in markers)

def uv(path):
    def edges(package, extra):
        listed = package.get("optional-dependencies", {}).get(extra, []) if extra else package.get("dependencies", [])
        for dependency in listed:
            if holds(dependency.get("marker"), extra):
                for wanted in [""] + dependency.get("extra", []):
                    yield same(dependency["name"]), dependency.get("version"), wanted
    packages = toml(path)["package"]
    here = os.path.relpath(".", os.path.dirname(path) or ".")
    def is_root(source):
        return here in (source.get("editable"), source.get("virtual"), source.get("directory"))
    start = [(same(p["name"]), p.get("version"), "") for p in packages if is_root(p["source"])]
    for package in walk(packages, start, edges):
        if "registry" in package["source"]:
            files = package.get("wheels", []) + [package[key] for key in ["sdist"] if key in package]
            yield line(package["name"], package["version"], [file["hash"] for file in files])

def grouped(path, groups, main):
    lock = toml(path)
    packages, elsewhere = lock["package"], lock.get("metadata", {}).get("files", {})
    def edges(package, extra):
        listed = package.get("dependencies", {})
        if isinstance(listed, list):
            for name, marker in map(split, listed):
                if holds(marker):
                    yield same(name), None, ""
            return
        for name, spec in listed.items():
            spec = spec[0] if isinstance(spec, list) else spec
            if isinstance(spec, str) or not spec.get("optional") and holds(spec.get("markers")):
                yield same(name), None, ""
    if any("groups" in package for package in packages):
        chosen = [p for p in packages if groups & set(p.get("groups", [])) and usable(p)]
    else:
        chosen = walk(packages, [(same(name), None, "") for name in main()], edges)
    for package in chosen:
        if not package.get("develop") and package.get("source", {}).get("type") not in ("directory", "file"):
            files = package.get("files") or elsewhere.get(package["name"]) or elsewhere.get(package["name"] + " " + package["version"], [])
            yield line(package["name"], package["version"], [file["hash"] for file in files])

def split(requirement):
    return re.match("[A-Za-z0-9._-]+", requirement).group(), requirement.partition(";")[2].strip()

def poetry_main():
    manifest = toml("pyproject.toml")
    named = [split(text)[0] for text in manifest.get("project", {}).get("dependencies", [])]
    return named + [name for name in manifest.get("tool", {}).get("poetry", {}).get("dependencies", {}) if name != "python"]

def pipenv(path):
    with open(path, encoding="utf-8") as file:
        packages = json.load(file)["default"]
    for name, package in packages.items():
        if holds(package.get("markers")) and "version" in package:
            yield line(name, package["version"].removeprefix("=="), package.get("hashes", []))

def pipfile(path):
    for name, wanted in toml(path).get("packages", {}).items():
        table = wanted if isinstance(wanted, dict) else {"version": wanted}
        version = table.get("version", "*")
        extras = "[" + ",".join(table["extras"]) + "]" if table.get("extras") else ""
        yield name + extras + ("" if version == "*" else version)

def bounds(version):
    # `^1.2` and `~1.2` of Poetry as pip writes them.
    if version[:1] not in "^~" or version[:2] == "~=":
        return "" if version == "*" else version if version[:1] in "<>=!~" else "==" + version
    parts = [int(part) for part in re.findall("[0-9]+", version)[:3]]
    last = min(1, len(parts) - 1) if version[0] == "~" else next((i for i, part in enumerate(parts) if part), len(parts) - 1)
    return ">=" + version[1:] + ",<" + ".".join(map(str, parts[:last] + [parts[last] + 1]))

def pyproject(path):
    manifest = toml(path)
    yield from manifest.get("project", {}).get("dependencies", [])
    for name, wanted in manifest.get("tool", {}).get("poetry", {}).get("dependencies", {}).items():
        table = wanted if isinstance(wanted, dict) else {"version": wanted}
        if name != "python" and "version" in table and not table.get("optional"):
            extras = "[" + ",".join(table["extras"]) + "]" if table.get("extras") else ""
            yield name + extras + ",".join(bounds(part.strip()) for part in table["version"].split(","))

path = sys.argv[1]
kinds = {
    "uv.lock": uv,
    "poetry.lock": lambda path: grouped(path, {"main"}, poetry_main),
    "pdm.lock": lambda path: grouped(path, {"default"}, poetry_main),
    "Pipfile.lock": pipenv,
    "Pipfile": pipfile,
    "pyproject.toml": pyproject,
}
lines = list(kinds[os.path.basename(path)](path))
with open(sys.argv[2], "w") as file:
    file.write("".join(line + "\n" for line in lines))
