#!/bin/sh
# Fill .venv from a lock, with beacond itself installed editable:  .ci/venv.sh requirements.lock
#
# Plain pip, every file checked against the hashes of the lock. Does nothing where that was done
# before with the same lock and Python; a .venv of another Python is built anew.
set -eu

lock=$1
python=${PYTHON:-python3}

die() {
    echo "beacond: $*" >&2
    exit 1
}

command -v "$python" >/dev/null ||
    die "needs Python 3.11 or newer, and there is no '$python'; name one: make PYTHON=python3.12 ..."
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
    die "needs Python 3.11 or newer, and '$python' is $("$python" -V 2>&1 | head -n 1); name one: make PYTHON=python3.12 ..."
"$python" -c 'import ensurepip, venv' 2>/dev/null ||
    die "'$python' has no venv module; on Debian and Ubuntu: apt-get install python3-venv"

# The base, so that an activated .venv counts as the Python it was made from.
which_python='import sys; print(sys.base_prefix, sys.version.replace("\n", " "))'
wanted=$("$python" -c "$which_python")
found=$(.venv/bin/python -c "$which_python" 2>/dev/null || echo none)
# The programs in a .venv hold its path, so a checkout that was moved needs another.
grep -qsF "$(pwd -P)/.venv" .venv/pyvenv.cfg && [ -x .venv/bin/pip ] || found=none

stamp=.venv/installed-$lock
contents="$wanted $(cat "$lock" pyproject.toml | cksum)"
if [ "$found" = "$wanted" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$contents" ]; then
    exit 0
fi

echo "building .venv from $lock with $("$python" -V) (a minute the first time)"
if [ "$found" != "$wanted" ]; then
    "$python" -m venv --clear .venv
fi
pip() { .venv/bin/python -m pip --disable-pip-version-check --no-input "$@"; }
pip install --quiet --require-hashes -r "$lock"
pip install --quiet --no-deps --no-build-isolation --editable .
echo "$contents" >"$stamp"
