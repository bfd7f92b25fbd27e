"""Every policy of the deployment as one JSON document, with the names of a deployment called keybroker: those of
the templates, those for operators and the organisation's.

Fails if there is a policy that it does not know, so that none is left out.
"""

import json
import pathlib
import re
import sys

from cfnlint.decode.cfn_yaml import load

ACCOUNT, REGION = "123456789012", "us-east-1"
NAMES = {
    "AWS::Partition": "aws", "AWS::Region": REGION, "AWS::AccountId": ACCOUNT, "Prefix": "keybroker",
    "Api": "api1", "RewrapUntil": "2026-12-01T18:00:00Z",
}
KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/1"
# The key that takes over from it.
NEXT_KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/2"
# Lambda's own calls, for its networks and its traces.
ELSEWHERE = ["/NetworkPolicy/Properties/PolicyDocument", "/TracingPolicy/Properties/PolicyDocument"]
# To the engine the values of an encryption context are tags: it knows a context's names with a part of the
# caller's choice only behind a slash. It compares both alike.
RENAMED = ("kms:EncryptionContext:", "aws:PrincipalTag/context-")


def filled(value, arns, holding=()):
    """The value with its functions applied, where these conditions hold. Fails on a function that it does not
    know."""
    if isinstance(value, list):
        found = [filled(one, arns, holding) for one in value]
        return [one for one in found if one is not None]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        [(function, argument)] = value.items()
        if function == "Fn::Sub":
            return re.sub(r"\$\{([^}]+)\}", lambda name: NAMES[name[1]], argument)
        if function == "Fn::ImportValue":
            return arns[filled(argument, arns)]
        if function == "Fn::If":
            condition, then, otherwise = argument
            return filled(then if condition in holding else otherwise, arns, holding)
        if function == "Ref" and argument == "AWS::NoValue":
            return None
        if function == "Ref" and argument in NAMES:
            return NAMES[argument]
        if function == "Ref" or function.startswith("Fn::"):
            raise SystemExit(f"a policy has {function}, which infra/policies cannot evaluate")
    return {str(name): filled(one, arns, holding) for name, one in value.items()}


def exports(storage):
    """The ARNs that the template of the functions imports."""
    arns = {"keybroker-key": KEY}
    for resource in storage.values():
        name = resource["Properties"].get("TableName") or resource["Properties"].get("LogGroupName")
        if name is None:
            continue
        name = filled(name, {})
        if resource["Type"] == "AWS::DynamoDB::Table":
            arns[name] = f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{name}"
        else:
            export = f"keybroker-{name.rsplit('/')[-1]}-log"
            arns[export] = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{name}:*"
    return arns


def documents(value, at=""):
    """Every policy in a template, with where it is."""
    if isinstance(value, dict):
        if "Statement" in value:
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
        (r"/(Builder)Policy/Properties/PolicyDocument", "managed"),
    ]:
        if match := re.fullmatch(pattern, at):
            return kind, match[1].lower()
    raise SystemExit(f"infra/policies does not evaluate the policy {at}")


def templates():
    """The policies of both templates, by kind and name."""
    storage = load("infra/storage.yaml")["Resources"]
    found = {}
    for resources in (storage, load("infra/template.yaml")["Resources"]):
        for at, document in documents(resources):
            if at in ELSEWHERE:
                continue
            kind, name = named(at)
            found.setdefault(kind, {})[name] = filled(document, exports(storage))
            if kind == "key":
                # For the time of a move to another key.
                found[kind]["moving"] = filled(document, exports(storage), ["Rewraps"])
    return found


def named_here(path):
    """The policy in a file, with the names filled in as the manual tells."""
    text = path.read_text(encoding="utf-8")
    for name, key in [("ID", KEY), ("OLD", KEY), ("NEW", NEXT_KEY)]:
        text = text.replace(f"arn:aws:kms:REGION:ACCOUNT:key/{name}", key)
    return json.loads(text.replace("REGION", REGION).replace("ACCOUNT", ACCOUNT))


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
    made = {
        **templates(),
        "operators": operators(),
        "organisation": organisation,
        "permissions": rows("infra/permissions.txt", 4),
        "operator_permissions": rows("infra/operator-permissions.txt", 5),
    }
    sys.stdout.write(json.dumps(made).replace(*RENAMED))


main()
