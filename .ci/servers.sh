#!/bin/sh
# See that the programs that the tests start are there:  .ci/servers.sh tests/apt.txt
#
# As root on a Debian or Ubuntu the missing ones are installed, none of their daemons started or
# enabled. Elsewhere they are named, and the tests that need them are skipped; with CI=true a
# missing one is a failure.
set -eu

list=$1
PATH=$PATH:/usr/sbin:/sbin:/usr/lib/rabbitmq/bin:/opt/rabbitmq/sbin

# Column $1 (1: program, 2: Debian package) of the list's lines whose program is missing.
missing() {
    grep -v -e '^#' -e '^$' "$list" | while read -r program package; do
        command -v "$program" >/dev/null || { [ "$1" = 1 ] && echo "$program" || echo "$package"; }
    done
}

no_daemons_start() {
    [ ! -e /usr/sbin/policy-rc.d ] || return 0
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    trap 'exit 130' INT TERM HUP
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
    chmod 755 /usr/sbin/policy-rc.d
}

install() {
    echo "installing for the tests, with apt-get: $*"
    no_daemons_start
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq && apt-get install -qq -y --no-install-recommends "$@" >/dev/null || return 1
    if [ -d /run/systemd/system ]; then
        for unit in $(dpkg -L "$@" | sed -n 's,.*/systemd/system/\([^/@]*\.service\)$,\1,p' | sort -u); do
            systemctl disable --quiet "$unit" || true
        done
    fi
}

[ -n "$(missing 1)" ] || exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    # shellcheck disable=SC2046 # package names hold no spaces
    install $(missing 2 | sort -u) || echo "apt-get could not install all of them" >&2
fi

still=$(missing 1 | tr '\n' ' ')
[ -n "$still" ] || exit 0
if [ "${CI:-}" = true ]; then
    echo "missing, and with CI=true that is a failure: $still" >&2
    exit 1
fi
echo "not on this machine, so the tests that need them are skipped: $still"
