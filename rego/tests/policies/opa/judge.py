"""Asks OPA's own engine what the bodies of rules give: a JSON object a line in, one a line out.

In:  {"module": REGO, "body": REGO, "data": {...}, "input": {...}}
Out: {"holds": true or false}; with a "message" where OPA refuses the body or fails.
"""

import json
import sys

from opa_bindings import OpaEngine
from opa_bindings.engine import OpaError


def holds(case):
    with OpaEngine() as engine:
        engine.add_data(case["data"])
        engine.add_policy("policy.rego", case["module"])
        engine.add_policy("asked.rego", "package asked\n\nholds if {\n" + case["body"] + "\n}\n")
        return engine.eval_query("data.asked.holds == true", case["input"]) != []


for line in sys.stdin:
    try:
        answer = {"holds": holds(json.loads(line))}
    except OpaError as error:
        answer = {"holds": False, "message": error.message}
    print(json.dumps(answer), flush=True)
