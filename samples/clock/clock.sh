#!/bin/sh
# Prints the time each second. As process 1 it must take the stop signal itself, or a stop lasts its whole grace period.
trap 'exit 0' TERM INT
while :; do
    date -u '+tick %Y-%m-%dT%H:%M:%SZ'
    sleep 1 &
    wait $!
done
