"""Every policy of the deployment as one JSON document, with the names of a deployment called keybroker: those of
the resolved templates, those for operators and the organisation's.

Fails if there is a policy that it does not know, so that none is left out.

    infra/policies/policies.py DIRECTORY    where infra/check has put what infra/resolve.py makes
"""

import json
import pathlib
import re
import sys

ACCOUNT, REGION = "123456789012", "us-east-1"
KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/1"
# The key that takes over from it.
NEXT_KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/2"
# infra/examples/policies evaluates these.
ELSEWHERE = [
    "/NetworkPolicy/Properties/PolicyDocument", "/TableKey/Properties/KeyPolicy", "/LogKey/Properties/KeyPolicy",
]
# To the engine the values of an encryption context are tags: it knows a context's names with a part of the
# caller's choice only behind a slash. It compares both alike. It knows the paths of REST APIs, and none of an
# HTTP API.
RENAMED = [("kms:EncryptionContext:", "aws:PrincipalTag/context-"), ("::/apis/", "::/restapis/")]


def documents(value, at=""):
    """Every policy in a template, with where it is."""
    if isinstance(value, dict):
        # A rule of WAF has a statement, too, which is no list.
        if isinstance(value.get("Statement"), list) or "Version" in value and "Statement" in value:
            yield at, value
        else:
            for name, one in value.items():
                yield from documents(one, f"{at}/{name}")
    elif isinstance(value, list):
        for number, one in enumerate(value):
            yield from documents(one, f"{at}/{number}")


def named(at):
    """The kind and the name of the template's policy there."""
    for pattern, kind in [
        (r"/(Key)/Properties/KeyPolicy", "key"),
        (r"/(\w+)/Properties/ResourcePolicy/PolicyDocument", "tables"),
        (r"/(\w+)Role/Properties/AssumeRolePolicyDocument", "trust"),
        (r"/(\w+)Role/Properties/Policies/0/PolicyDocument", "functions"),
        (r"/(Builder|Topic|Traces)Policy/Properties/PolicyDocument", "other"),
    ]:
        if match := re.fullmatch(pattern, at):
            return kind, match[1].lower()
    raise SystemExit(f"infra/policies does not evaluate the policy {at}")


def strangers(document):
    """The principals of other accounts that a policy names: no case can try every account."""
    principals = [one.get("Principal", {}) for one in document["Statement"]]
    named = [one["AWS"] for one in principals if isinstance(one, dict) and "AWS" in one]
    each = [one for some in named for one in ([some] if isinstance(some, str) else some)]
    return [one for one in each if one != "*" and ACCOUNT not in one]


def found_in(directory):
    """The policies of the templates there: of which template, of which kind, the name, and the policy."""
    for path in sorted(directory.glob("*.json")):
        for at, document in documents(json.loads(path.read_text(encoding="utf-8"))["Resources"]):
            if strangers(document):
                raise SystemExit(f"infra/policies: {at} names {strangers(document)}")
            if at not in ELSEWHERE:
                yield path.stem, *named(at), document


def templates(directory):
    """The policies of the templates, by kind and name."""
    made = {}
    for template, kind, name, document in found_in(directory / "resolved"):
        name = "further" if template == "key" else name
        assert name not in made.setdefault(kind, {}), (template, kind, name)
        made[kind][name] = document
    # A further key has the same policy, which is evaluated once.
    assert made["key"].pop("further") == made["key"]["key"]
    # With options a policy is another one, or there is one more.
    for _, kind, name, document in found_in(directory / "options"):
        if made[kind].get(name) != document:
            moving = "moving" if kind == "key" else f"{name}-moving"
            made[kind][name if name not in made[kind] else moving] = document
    return made


def named_here(path):
    """The policy in a file, with the names filled in as the manual tells."""
    text = path.read_text(encoding="utf-8")
    for name, key in [("ID", KEY), ("OLD", KEY), ("NEW", NEXT_KEY)]:
        text = text.replace(f"arn:aws:kms:REGION:ACCOUNT:key/{name}", key)
    return json.loads(text.replace("REGION", REGION).replace("ACCOUNT", ACCOUNT).replace("TOPIC", "topic"))


def operators():
    """The policies for operators."""
    return {path.stem: named_here(path) for path in sorted(pathlib.Path("infra/operators").glob("*.json"))}


def rows(path, fields):
    """The rows of a table of permissions."""
    lines = pathlib.Path(path).read_text(encoding="utf-8").splitlines()
    split = r"\s+" if fields == 4 else r"\s{2,}"
    found = [re.split(split, line) for line in lines if line and not line.startswith("#")]
    for row in found:
        if len(row) != fields:
            raise SystemExit(f"{path}: {row}")
    return found


def main():
    organisation = named_here(pathlib.Path("infra/organisation.json"))
    # An organisation takes 5,120 characters. Names and ids of a real account are up to 500 longer than those here.
    assert len(json.dumps(organisation, separators=(",", ":"))) <= 4620, "infra/organisation.json is too long"
    made = {
        **templates(pathlib.Path(sys.argv[1])),
        "operators": operators(),
        "organisation": organisation,
        "permissions": rows("infra/permissions.txt", 4),
        "operator_permissions": rows("infra/operator-permissions.txt", 5),
    }
    text = json.dumps(made)
    for name, other in RENAMED:
        text = text.replace(name, other)
    sys.stdout.write(text)


main()
