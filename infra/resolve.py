"""Writes the templates as they are deployed, transformed and resolved as infra/parameters.py does it, for tools that
know no functions of CloudFormation. What only a deployment knows, as the ARN of a resource, is made up.

    infra/resolve.py DIRECTORY    makes resolved/ there, with all defaults, and options/ with what policies depend on
"""

import json
import pathlib
import re
import shutil
import sys

from parameters import HERE, PSEUDO, VPC, Template

KEY = f"arn:aws:kms:{PSEUDO['AWS::Region']}:{PSEUDO['AWS::AccountId']}:key/1"
NEXT_KEY = KEY.replace("key/1", "key/2")
ALL = ["storage.yaml", "key.yaml", "template.yaml", "watch.yaml", "examples/front.yaml", "examples/keys.yaml"]
CERTIFICATE = f"arn:aws:acm:us-east-1:{PSEUDO['AWS::AccountId']}:certificate/1"
# Beside the defaults: the builders' policy is there if principals of AWS register, and the example of what can be
# before the API needs certificates.
DEFAULTS = {
    "template.yaml": {"Registration": "token;iam"},
    "examples/front.yaml": {"CertificateArn": CERTIFICATE, "ClientCertificateArn": CERTIFICATE},
}
OPTIONS = {
    "storage.yaml": {"RewrapUntil": "2026-12-01T18:00:00Z"},
    "template.yaml": {"Registration": "token;iam", "Tracing": "on", "KeyArns": f"{KEY},{NEXT_KEY}", **VPC},
}


# A value of a parameter is text, and CloudFormation makes it what the property is.
NUMBERS = ["RetentionInDays"]


def named(value, known):
    """The value without functions: with what `known` says of a name, or the name itself."""
    if isinstance(value, str):
        return re.sub(r"\$\{([^!}]+)\}", lambda name: known.get(name[1], name[1]), value)
    if isinstance(value, list):
        return [named(one, known) for one in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        [(name, argument)] = value.items()
        if name == "Ref":
            return known.get(argument, argument)
        if name == "Fn::GetAtt":
            argument = argument if isinstance(argument, str) else ".".join(argument)
            return known.get(argument, argument)
        if name == "Fn::ImportValue":
            return known[argument]
        if name == "Fn::Sub":
            text, names = argument
            return named(text, known | {name: str(named(one, known)) for name, one in names.items()})
        if name == "Fn::Join":
            separator, parts = argument
            return separator.join(str(named(part, known)) for part in parts)
        if name == "Fn::Split":
            separator, text = argument
            return str(named(text, known)).split(separator)
        if name == "Fn::Select":
            index, parts = argument
            parts = named(parts, known)
            return parts[min(int(index), len(parts) - 1)]
        if name.startswith("Fn::"):
            raise SystemExit(f"infra/resolve.py does not know {name}")
    made = {name: named(one, known) for name, one in value.items()}
    return made | {name: int(made[name]) for name in NUMBERS if name in made}


def section(found, name):
    return {one.removeprefix(f"{name}."): value for one, value in found.items() if one.startswith(f"{name}.")}


def exported(storage):
    """What a resource of the storage's stack is known by, there and where its outputs are imported."""
    of = f"{PSEUDO['AWS::Region']}:{PSEUDO['AWS::AccountId']}"
    known = {"Key.Arn": KEY, "Topic": f"arn:aws:sns:{of}:keybroker-watch"}
    for name, resource in section(storage, "Resources").items():
        properties = resource["Properties"]
        if resource["Type"] == "AWS::DynamoDB::Table":
            known[f"{name}.Arn"] = f"arn:aws:dynamodb:{of}:table/{properties['TableName']}"
        elif resource["Type"] == "AWS::Logs::LogGroup":
            known[f"{name}.Arn"] = f"arn:aws:logs:{of}:log-group:{properties['LogGroupName']}:*"
    outputs = [named(one, known) for one in section(storage, "Outputs").values() if "Export" in one]
    return known | {output["Export"]["Name"]: output["Value"] for output in outputs}


def main():
    target = pathlib.Path(sys.argv[1])
    known = exported(Template(HERE / "storage.yaml").deployed({}))
    for kind, templates, values in [("resolved", ALL, DEFAULTS), ("options", OPTIONS, OPTIONS)]:
        directory = target / kind
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        for name in templates:
            found = Template(HERE / name).deployed(values.get(name, {}))
            resources = named(section(found, "Resources"), known)
            made = {"AWSTemplateFormatVersion": "2010-09-09", "Resources": resources}
            path = directory / f"{pathlib.Path(name).stem}.json"
            path.write_text(json.dumps(made, indent=1), encoding="utf-8")


main()
