#!/usr/bin/env bash
# Installs Debian packages if this user may: apt-install.sh PACKAGE… Prints a message and fails if they are unavailable.
set -euo pipefail
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    # Set-up scripts run in parallel, and of two apt-get one would fail. A service that apt-get starts gets no lock.
    exec 8>/run/ranklog-apt.lock
    flock 8
    export DEBIAN_FRONTEND=noninteractive
    install=(apt-get install -y -q --no-install-recommends "$@")
    { "${install[@]}" || { apt-get update -q && "${install[@]}"; }; } >/dev/null 2>&1 8>&- && exit 0
fi
echo "These packages are not installed: apt-get install $*" >&2
exit 1
