#!/usr/bin/env bash
# OPA 1.20.2: floor and ceil are wrong between -1 and 0: floor gives 0, and ceil gives 1.
#
# ceil(x) promises the smallest whole number that is not less than x, floor(x) the largest that is not more. Every other
# number, below -1 too, is rounded as promised, and so is every number by round. A policy on floor or ceil of a difference
# can therefore hold in OPA and not in another engine of Rego, or the other way round.
#
# Seen with OPA 1.20.2, as opa-golib-python-bindings 0.4.4 has it, on 29 November 2026:
#
#   -2.1: floor -3, ceil -2, round -2
#   -1.5: floor -2, ceil -1, round -2
#   -0.9: floor 0, ceil 1, round -1
#   -0.5: floor 0, ceil 1, round -1
#   -0.1: floor 0, ceil 1, round 0
#   0.5: floor 0, ceil 1, round 1
#
# Ends with 1 if any of this is otherwise. Installs into a temporary directory, and needs python3 on x86-64.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# The package says that it needs a newer Python than its files do: it is unpacked, not installed.
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip --quiet --disable-pip-version-check download --no-deps --only-binary=:all: \
    --python-version 3.14 --platform manylinux_2_34_x86_64 'opa-golib-python-bindings==0.4.4' -d "$work/wheel"
python3 -m zipfile -e "$work"/wheel/*.whl "$work/lib"

seen=$(PYTHONPATH=$work/lib python3 - <<'PYTHON'
from opa_bindings import OpaEngine

for number in [-2.1, -1.5, -0.9, -0.5, -0.1, 0.5]:
    with OpaEngine() as engine:
        query = "given := [floor(input.x), ceil(input.x), round(input.x)]"
        floor, ceil, nearest = engine.eval_query(query, {"x": number})[0]["given"]
    print(f"{number}: floor {floor}, ceil {ceil}, round {nearest}")
PYTHON
)
echo "$seen"
expected=$(sed -n 's/^#   //p' "$0")
[ "$seen" = "$expected" ] || { echo "this is otherwise now" >&2; exit 1; }
