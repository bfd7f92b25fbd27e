#!/usr/bin/env bash
# regorus 0.14.1: six built-in functions of Rego give other values than OPA's own engine, and no error.
#
# OPA's documentation says "Rego strings are UTF-8", that strings.count counts "non-overlapping" instances, and that
# add_date is Go's. regorus counts a string in units of UTF-16, finds "aa" twice in "aaa", keeps a date within the month
# that was reached, and has one more piece at each end of a string that is split at nothing. Between an object and a set
# its order is the other way round. A verb of sprintf that does not fit leaves nothing, where OPA leaves Go's mark.
#
# Seen with regorus 0.14.1, and OPA 1.20.2 of opa-golib-python-bindings 0.4.4, on 29 November 2026:
#
#   count("\ud83d\udc4d"): regorus 2, OPA 1
#   strings.count("aaa", "aa"): regorus 2, OPA 1
#   time.date(time.add_date(1769817600000000000, 0, 1, 0)): regorus [2026,2,28], OPA [2026,3,3]
#   regex.split("", "ab"): regorus ["","a","b",""], OPA ["a","b"]
#   {"a": 1} < {1}: regorus false, OPA true
#   sprintf("%d", ["a"]): regorus "", OPA "%!d(string=a)"
#
# Ends with 1 if any of this is otherwise. Builds in a temporary directory, and needs Rust, and python3 on x86-64.
set -euo pipefail

script=$(realpath "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# The package says that it needs a newer Python than its files do: it is unpacked, not installed.
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip --quiet --disable-pip-version-check download --no-deps --only-binary=:all: \
    --python-version 3.14 --platform manylinux_2_34_x86_64 'opa-golib-python-bindings==0.4.4' -d "$work/wheel"
python3 -m zipfile -e "$work"/wheel/*.whl "$work/lib"
mkdir "$work/src"
cat >"$work/Cargo.toml" <<'TOML'
[package]
name = "asks-regorus"
version = "0.1.0"
edition = "2021"

[workspace]

[dependencies]
regorus = { version = "=0.14.1", default-features = false, features = ["std", "arc", "regex", "time"] }
TOML
cat >"$work/src/main.rs" <<'RUST'
/// Reads an expression a line, and writes its value as JSON.
fn main() {
    for expression in std::io::stdin().lines() {
        let query = format!("given := [{}]", expression.unwrap());
        let results = regorus::Engine::new().eval_query(query, false).unwrap();
        let text = results.result[0].bindings.to_string();
        println!("{}", text.strip_prefix(r#"{"given":["#).unwrap().strip_suffix("]}").unwrap());
    }
}
RUST
sed -n 's/^#   \(.*\): regorus .*/\1/p' "$script" >"$work/expressions"
CARGO_TARGET_DIR="$work/target" cargo build --quiet --manifest-path "$work/Cargo.toml"
"$work/target/debug/asks-regorus" <"$work/expressions" >"$work/regorus"
cat >"$work/opa.py" <<'PYTHON'
import json
import sys

from opa_bindings import OpaEngine

for expression in sys.stdin:
    with OpaEngine() as engine:
        given = engine.eval_query(f"given := [{expression.strip()}]", {})[0]["given"][0]
    print(json.dumps(given, separators=(",", ":")))
PYTHON
PYTHONPATH=$work/lib python3 "$work/opa.py" <"$work/expressions" >"$work/opa"
paste "$work/expressions" "$work/regorus" "$work/opa" | sed 's/\t\(.*\)\t/: regorus \1, OPA /' >"$work/seen"

cat "$work/seen"
expected=$(sed -n 's/^#   //p' "$script")
[ "$(cat "$work/seen")" = "$expected" ] || { echo "this is otherwise now" >&2; exit 1; }
