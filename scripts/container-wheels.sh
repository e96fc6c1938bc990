#!/usr/bin/env bash
# Collects the wheels of the tests' image in the folder $2, so builds need no package index:
#
#     container-wheels.sh VENV DIR
#
# Uses the versions of containers/constraints.txt, this machine's pip settings, and the build of torch in VENV. Reads pip's
# options from TORCH, like setup-env.sh. Writes the arguments to build an image from these wheels to DIR/build-args.
set -euo pipefail
cd "$(dirname "$0")/.."
python=$1/bin/python
dir=$2
# Small, because each test run may build it: one backend, and the packages for examples/.
extras="torch tensorboard"
packages="scikit-learn"

torch=$("$python" -c 'from importlib.metadata import version; print(version("torch"))')
[[ $torch == *+cpu ]] && variant=cpu || variant=cuda
read -ra words <<<"${TORCH:-}"
key=$(cat containers/constraints.txt pyproject.toml "$0" <(echo "$torch ${words[*]}") | sha256sum | cut -c1-16)
[ "$(cat "$dir/key" 2>/dev/null)" != "$key" ] || exit 0
echo "Collecting the wheels of the tests' image in $dir"
rm -rf "$dir"
mkdir -p "$dir"
# For the Python of Debian 12 in container-base.sh, regardless of this environment's Python.
pip() {
    "$python" -m pip --disable-pip-version-check download -q -d "$dir" -c containers/constraints.txt --find-links "$dir" \
        --python-version 3.11 --only-binary=:all: "$@" 2> >(grep -v '^WARNING: Location' >&2)
}
pip --no-deps "torch==$torch" ${words[1]+"${words[@]:1}"}
mapfile -t requirements < <("$python" containers/requirements.py "$extras")
# shellcheck disable=SC2086 # packages are several
pip "torch==$torch" hatchling $packages "${requirements[@]}"
printf '%s\n' "EXTRAS=$extras" "PACKAGES=$packages" "VARIANT=$variant" "BACKENDS=tensorboard" >"$dir/build-args"
echo "$key" >"$dir/key"
