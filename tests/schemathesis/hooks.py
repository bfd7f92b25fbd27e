"""Examples for the broker under test, and a check that libkrun's guest understands every answer."""

import json
import os

import schemathesis


@schemathesis.hook
def before_load_schema(context, raw_schema):
    """Puts examples into the description that only a running broker has: sessions, evidence for a challenge.

    KEYBROKER_TEST_EXAMPLES names a file with an object: JSON pointers (RFC 6901) into the description, and
    their values. The place to which a pointer leads must exist.
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
    # OpenAPI cannot say that an answer has a body for some clients. The examples are of one that gets none.
    del raw_schema["paths"]["/kbs/v0/attest"]["post"]["responses"]["200"]["content"]


@schemathesis.check
def answers_that_guests_understand(ctx, response, case):
    """The guest has 200 bytes for a refusal, crashes on fewer than 3, and treats an empty body as success.

    Guests of the broker's own protocol read problem details, and Trustee's a type and a detail: each of a
    kilobyte at most.
    """
    length = len(response.content)
    assert response.headers["content-length"] == [str(length)], "every answer has its length"
    if response.status_code >= 400:
        longest = 1024 if case.path.startswith("/v1/") or set(response.json()) == {"type", "detail"} else 199
        assert 3 <= length <= longest, f"a refusal of {length} bytes"
    elif case.path == "/kbs/v0/attest":
        assert length == 0, f"a success of {length} bytes"
