# shellcheck shell=bash
# The images of the demo and the tests, made here from the distribution's packages: nothing is pulled, and nothing is
# installed on the host. Sourced after setup.sh. Each image is tagged with the digest of what it is made of, so it is
# made once, and anew when its source under samples/ changes.

IMAGE_CACHE=$DATA/cache/images

# Downloads packages with all they depend on, as for an empty machine, and unpacks them under $1.
unpack_packages() {
    local root=$1 debs=$IMAGE_CACHE/debs directory deb tries
    shift
    mkdir -p "$debs/partial" "$root/usr"
    for directory in bin sbin lib lib64; do
        mkdir -p "$root/usr/$directory"
        ln -sfn "usr/$directory" "$root/$directory"
    done
    # An empty status file: apt resolves without regard to what this host has, and needs no root for it.
    local options=(-q -y --no-install-recommends --download-only -o Dir::State::status=/dev/null
        -o "Dir::Cache::archives=$debs" -o Debug::NoLocking=1 -o APT::Sandbox::User="$(id -un)")
    rm -f "$debs"/*.deb
    for tries in 1 2; do
        if timeout 300 apt-get "${options[@]}" install "$@" >"$IMAGE_CACHE/apt.log" 2>&1; then break; fi
        [ "$tries" = 1 ] || { tail -n 20 "$IMAGE_CACHE/apt.log" >&2; die "cannot download $*" "see apt-get's words above"; }
        apt_update
    done
    for deb in "$debs"/*.deb; do
        dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$root" --keep-directory-symlink --no-same-owner \
            --exclude='./usr/share/doc/*' --exclude='./usr/share/man/*' --exclude='./usr/share/locale/*' --exclude='./dev/*'
    done
    rm -f "$debs"/*.deb
}

# The few files that the packages' own scripts would have made.
write_users() {
    mkdir -p "$1/etc" "$1/tmp" "$1/run" "$1/root" "$1/var/log" "$1/var/tmp"
    chmod 1777 "$1/tmp" "$1/var/tmp"
    printf '%s\n' 'root:x:0:0:root:/root:/bin/sh' 'www-data:x:33:33:www-data:/var/www:/bin/false' \
        'nobody:x:65534:65534:nobody:/:/bin/false' >"$1/etc/passwd"
    printf '%s\n' 'root:x:0:' 'www-data:x:33:' 'nogroup:x:65534:' >"$1/etc/group"
}

root_base() {
    unpack_packages "$1" busybox-static
    mkdir -p "$1/bin"
    local tool
    for tool in sh sleep cat echo printf ls mkdir rm dd head tail wget nc httpd hostname id seq touch kill; do
        ln -sf busybox "$1/usr/bin/$tool"
    done
    write_users "$1"
}

# All that busybox can do, under the names by which it is called: what assistants of the library stand on.
root_busybox() {
    unpack_packages "$1" busybox-static
    mkdir -p "$1/bin"
    local tool
    for tool in $("$1/bin/busybox" --list); do
        [ -e "$1/bin/$tool" ] || ln -s busybox "$1/bin/$tool"
    done
    write_users "$1"
}

# Python with pip, as this distribution has it.
root_python() {
    unpack_packages "$1" python3 python3-pip python3-venv bash coreutils ca-certificates
    [ -e "$1/usr/bin/sh" ] || ln -s bash "$1/usr/bin/sh"
    ln -sf python3 "$1/usr/bin/python"
    # The image is the environment: pip may write to it.
    rm -f "$1"/usr/lib/python3*/EXTERNALLY-MANAGED
    mkdir -p "$1/etc/ssl/certs"
    cp -L /etc/ssl/certs/ca-certificates.crt "$1/etc/ssl/certs/ca-certificates.crt"
    write_users "$1"
}

# A Debian that can install packages, of which it has none yet: where they come from is up to who uses it.
root_debian() {
    unpack_packages "$1" apt dpkg dash coreutils grep sed diffutils tar libc-bin
    [ -e "$1/usr/bin/sh" ] || ln -s dash "$1/usr/bin/sh"
    write_users "$1"
    printf '%s\n' '_apt:x:42:65534::/nonexistent:/bin/false' >>"$1/etc/passwd"
    # What asks questions before an installation needs Perl.
    rm -f "$1/etc/apt/apt.conf.d/70debconf"
    mkdir -p "$1"/etc/apt/{sources.list.d,preferences.d} "$1"/var/lib/dpkg/{info,updates,triggers} \
        "$1/var/lib/apt/lists/partial" "$1/var/cache/apt/archives/partial" "$1/var/log/apt"
    touch "$1/var/lib/dpkg/status" "$1/etc/apt/sources.list"
}

# The JavaScript runtime bun, from its package, with the C library that it was built for.
root_bun() {
    unpack_packages "$1" bash coreutils libc6 libgcc-s1 libstdc++6
    [ -e "$1/usr/bin/sh" ] || ln -s bash "$1/usr/bin/sh"
    local machine package
    machine=$(uname -m)
    case $machine in x86_64) package=bun-linux-x64-baseline ;; aarch64) package=bun-linux-aarch64 ;; *) die "bun has no package for $machine" ;; esac
    mkdir -p "$1/usr/local/bin" "$IMAGE_CACHE/bun"
    (cd "$IMAGE_CACHE/bun" && timeout 300 npm pack --silent "@oven/$package@1.2.23" >/dev/null && tar -xzf oven-"$package"-*.tgz)
    install -m 755 "$IMAGE_CACHE/bun/package/bin/bun" "$1/usr/local/bin/bun"
    rm -rf "$IMAGE_CACHE/bun"
    write_users "$1"
}

root_clock() {
    root_base "$1"
    install -m 755 "$ROOT/samples/clock/clock.sh" "$1/usr/bin/clock.sh"
}

root_web() {
    root_base "$1"
    unpack_packages "$1" nginx-light busybox-static
    mkdir -p "$1/srv/www" "$1/var/log/nginx" "$1/var/lib/nginx"
    install -m 644 "$ROOT/samples/web/nginx.conf" "$1/etc/nginx/nginx.conf"
    install -m 644 "$ROOT/samples/web/index.html" "$1/srv/www/index.html"
}

root_stack() {
    unpack_packages "$1" bash coreutils busybox-static nginx-light redis-server gunicorn supervisor python3
    # A package's own script would make this link.
    [ -e "$1/usr/bin/sh" ] || ln -s bash "$1/usr/bin/sh"
    write_users "$1"
    mkdir -p "$1/srv/www" "$1/var/log/nginx" "$1/var/lib/nginx" "$1/var/lib/redis"
    install -m 644 "$ROOT/samples/web/nginx.conf" "$1/etc/nginx/nginx.conf"
    install -m 644 "$ROOT/samples/web/index.html" "$1/srv/www/index.html"
    install -m 644 "$ROOT/samples/stack/supervisord.conf" "$1/etc/supervisor/supervisord.conf"
    install -m 644 "$ROOT/samples/stack/app.py" "$ROOT/samples/stack/nginx_log_parser.py" "$1/srv/"
}

root_srv() {
    mkdir -p "$1"
    timeout 60 gcc -static -Os -o "$1/srv" "$ROOT/samples/srv/srv.c"
    cp "$1/srv" "$1/node_exporter"
}

# make_image NAME ROOT [CHANGE…]: makes the image NAME of the files that root_ROOT lays out, unless it is there.
make_image() {
    local name=$1 kind=$2 root digest change status tag changes=()
    shift 2
    digest=$({ cat "${BASH_SOURCE[0]}"; printf '%s\0' "$name" "$@"; find "$ROOT/samples" -type f -print0 | LC_ALL=C sort -z | xargs -0 cat; } | sha256sum | cut -c 1-12)
    if ! timeout 30 docker image inspect "$name:$digest" >/dev/null 2>&1; then
        say "making the image $name"
        mkdir -p "$IMAGE_CACHE"
        root=$(mktemp -d "$IMAGE_CACHE/root.XXXXXX")
        # Bash ignores `set -e` left of `||`, so the status is taken by hand.
        set +e
        (set -e; "root_$kind" "$root")
        status=$?
        set -e
        [ $status = 0 ] || { rm -rf "$root"; die "cannot make the image $name"; }
        chmod 755 "$root"
        for change in "$@"; do changes+=(-c "$change"); done
        tar -C "$root" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -c . |
            timeout 300 docker import "${changes[@]}" - "$name:$digest" >/dev/null || { rm -rf "$root"; die "cannot import the image $name"; }
        rm -rf "$root"
    fi
    timeout 30 docker tag "$name:$digest" "$name:latest"
    for tag in $(timeout 30 docker image ls --format '{{.Tag}}' "$name"); do
        case $tag in
            "$digest" | latest) ;;
            *) timeout 60 docker image rm "$name:$tag" >/dev/null 2>&1 || true ;; # Still in use: stays until the next run.
        esac
    done
}

# name_image NAME OWN: has the engine know the image OWN by the name that a Dockerfile asks for, unless it has one of that name.
name_image() {
    timeout 30 docker image inspect "$1" >/dev/null 2>&1 || timeout 30 docker tag "$2" "$1"
}

images_lock() {
    mkdir -p "$DATA"
    exec 8>"$DATA/images.lock"
    timeout 900 flock 8 || die "another run has held $DATA/images.lock for 15 minutes" "end it, then run this again"
}

images_unlock() { exec 8>&-; }

# The demo's two: a web server with a health check, and a program that prints the time.
sample_images() {
    images_lock
    make_image aigis-sample/web web 'CMD ["/usr/sbin/nginx","-g","daemon off;"]' 'EXPOSE 80' \
        'HEALTHCHECK --interval=5s --timeout=3s --retries=3 CMD ["/usr/bin/busybox","wget","-q","-O","/dev/null","http://127.0.0.1/health"]'
    make_image aigis-sample/clock clock 'CMD ["/usr/bin/busybox","sh","/usr/bin/clock.sh"]'
    images_unlock
}

# The tests' own. `stack` runs nginx, redis-server and gunicorn under one supervisor, and is also the image to run any
# of them, bash or Python in alone; `nginx` has no health check, so the engine's event stream stays silent; `srv` has
# one static program and no shell.
test_images() {
    images_lock
    apt_install gcc libc6-dev
    make_image aigis-test/busybox base 'CMD ["/usr/bin/busybox","sleep","86400"]'
    make_image aigis-test/nginx web 'CMD ["/usr/sbin/nginx","-g","daemon off;"]' 'EXPOSE 80'
    make_image aigis-test/stack stack 'CMD ["/usr/bin/supervisord","-n","-c","/etc/supervisor/supervisord.conf"]' \
        'ENV PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' 'EXPOSE 80' 'EXPOSE 6379' 'EXPOSE 8000'
    make_image aigis-test/srv srv 'CMD ["/srv"]' 'EXPOSE 9000'
    command -v npm >/dev/null || apt_install npm
    make_image aigis-test/tools busybox 'CMD ["sh"]' 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'
    make_image aigis-test/python python 'CMD ["python"]' 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
        'ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt' 'ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt'
    make_image aigis-test/debian debian 'CMD ["sh"]' 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'
    # One test builds on it: without the package registry of npm all others still run.
    (make_image aigis-test/bun bun 'CMD ["bun"]' 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin') ||
        say "there is no image of bun: the test that builds on it will fail"
    name_image busybox:latest aigis-test/tools:latest
    name_image python:3.12-slim aigis-test/python:latest
    name_image oven/bun:alpine aigis-test/bun:latest || true
    images_unlock
}
