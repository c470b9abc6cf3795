# shellcheck shell=bash
# The demo on a lab of several hosts. Sourced after setup.sh, by scripts/demo.

LAB_PROGRAM=${CARGO_TARGET_DIR:-$ROOT/target}/debug/lab
LAB_DIRECTORY=$DATA/lab

lab() { as_root timeout 300 env ${AIGIS_NATS_SERVER:+AIGIS_NATS_SERVER="$AIGIS_NATS_SERVER"} "$LAB_PROGRAM" --dir "$LAB_DIRECTORY" "$@"; }

# on HOST ARGUMENT…: runs aish on a host.
on() { local host=$1; shift; lab run "$host" "$AISH" "$@"; }

remove_lab() {
    [ -x "$LAB_PROGRAM" ] && as_root test -e "$LAB_DIRECTORY/lab.json" || return 0
    lab down
    say "removed the lab"
}

# show_on HOST ARGUMENT…: the same, with the command line before it.
show_on() {
    local host=$1
    shift
    printf '\n%s$ aish' "$host" >&2
    printf ' %s' "$1" >&2
    [ $# -lt 2 ] || printf ' "%s"' "${@:2}" >&2
    printf '\n' >&2
    on "$host" "$@"
}

# sample_on HOST NAME IMAGE [OPTION…]: runs a sample container on a host.
sample_on() {
    local host=$1 name=$2 image=$3
    shift 3
    lab run "$host" docker run -d --name "$name" --log-opt max-size=10m --log-opt max-file=3 "$@" "$image" >/dev/null
}

# Waits until a host sees so many CIs live.
wait_for_live() {
    local host=$1 count=$2 tries
    for ((tries = 0; tries < 60; tries++)); do
        if [ "$(on "$host" list 2>/dev/null | awk -F '\t' '$4 == "live"' | wc -l)" -ge "$count" ]; then return 0; fi
        sleep 0.5
    done
    on "$host" list >&2 || true
    die "after 30 s $host does not see $count CIs live" "$LAB_PROGRAM --dir $LAB_DIRECTORY list"
}

# Makes a lab, a mesh over it and two containers a host; or says what is there, if that was done before.
demo_hosts() {
    local hosts=(alpha beta gamma delta epsilon zeta eta theta) host first last
    hosts=("${hosts[@]:0:$1}")
    first=${hosts[0]} last=${hosts[-1]}
    if as_root test -e "$LAB_DIRECTORY/lab.json"; then
        say "removing the lab that is there"
        lab down
    fi
    say "making a lab of ${#hosts[@]} hosts"
    lab up "${hosts[@]}" --image aigis-sample/web --image aigis-sample/clock >&2
    say "starting a mesh on $first"
    on "$first" up --detach --name "$first" --listen "$(lab address bus):4222"
    for host in "${hosts[@]:1}"; do
        say "joining $host"
        on "$first" tokens create --role node | on "$host" join - --name "$host"
    done
    for host in "${hosts[@]}"; do
        sample_on "$host" "web-$host" aigis-sample/web --memory 64m --label aigis.purpose=web
        sample_on "$host" "clock-$host" aigis-sample/clock --memory 16m
    done
    for host in "${hosts[@]}"; do wait_for_live "$host" $((3 * ${#hosts[@]})); done

    show_on "$first" nodes
    show_on "$last" list
    show_on "$first" "web-$last" status
    show_on "$last" "clock-$first" 'are you healthy?'
    show_on "$last" --all health

    printf '\nA mesh over %s hosts is up. Try next, after this:\n' "${#hosts[@]}" >&2
    printf '    on() { %s%q --dir %q run "$1" %q "${@:2}"; }\n' "$([ "$(id -u)" = 0 ] || echo 'sudo ')" "$LAB_PROGRAM" "$LAB_DIRECTORY" "$AISH" >&2
    cat >&2 <<TEXT
    on $last list
    on $last web-$first status
    on $first call clock-$last.logs tail=5
To see what the mesh says of a host that is cut off, and of one that is back:
    alias lab='$([ "$(id -u)" = 0 ] || echo 'sudo ')$LAB_PROGRAM --dir $LAB_DIRECTORY'
    lab cut $last; on $first list --watch
    lab heal $last
More of this: docs/lab.md. To remove it all: $SCRIPT --stop
TEXT
}
