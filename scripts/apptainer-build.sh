#!/usr/bin/env bash
# Runs `apptainer build` for tests, even if root lacks a capability, as in a container: apptainer-build.sh APPTAINER WORDS…
# Apptainer requests every capability to enter %post, and would fail. Root has all of them inside a user namespace that
# maps each id to itself, which is sufficient.
set -euo pipefail
full=$(printf '%x' $(((1 << ($(cat /proc/sys/kernel/cap_last_cap) + 1)) - 1)))
have=$(sed -n 's/^CapPrm:[[:space:]]*0*//p' /proc/self/status)
apptainer=${1:?usage: apptainer-build.sh APPTAINER WORDS…}
shift
if [ "$(id -u)" != 0 ] || [ "$have" = "$full" ]; then
    exec "$apptainer" build "$@"
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkfifo "$work/entered" "$work/mapped"
# Ids can be mapped only from outside, after the namespace was created.
# shellcheck disable=SC2016
unshare --user sh -c 'echo >"$1/entered"; read -r _ <"$1/mapped"; shift; exec "$@"' sh "$work" "$apptainer" build "$@" &
read -r _ <"$work/entered"
for map in uid_map gid_map; do echo "0 0 65536" >"/proc/$!/$map"; done
echo >"$work/mapped"
wait $!
