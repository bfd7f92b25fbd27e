"""Examples for the broker at hand, and what libkrun's guest needs of every answer."""

import json
import os

import schemathesis


@schemathesis.hook
def before_load_schema(context, raw_schema):
    """Puts examples into the description that only a broker at hand can have: sessions, and evidence for a challenge.

    KEYBROKER_TEST_EXAMPLES names a file with an object of JSON pointers (RFC 6901) into the description and values. What a
    pointer leads to must be there already.
    """
    path = os.environ.get("KEYBROKER_TEST_EXAMPLES")
    if path is None:
        return
    with open(path, encoding="utf-8") as file:
        examples = json.load(file)
    for pointer, value in examples.items():
        *parents, last = (step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:])
        place = raw_schema
        for step in parents:
            place = place[int(step) if isinstance(place, list) else step]
        assert last in place, f"{pointer} leads nowhere"
        place[last] = value


@schemathesis.check
def answers_that_guests_understand(ctx, response, case):
    """The guest has 200 bytes for a refusal and crashes on fewer than 3, and takes an empty body for success."""
    length = len(response.content)
    assert response.headers["content-length"] == [str(length)], "every answer has its length"
    if response.status_code >= 400:
        assert 3 <= length <= 199, f"a refusal of {length} bytes"
    elif case.path == "/kbs/v0/attest":
        assert length == 0, f"a success of {length} bytes"
