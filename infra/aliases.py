"""What SAM makes of infra/template.yaml, and of two runs of infra/gradual. The API keeps its name, by which infra/smoke
finds it. Behind aliases each route leads to one, each run makes versions of its own, and nothing else differs.
"""

import json
from cfnlint.decode.cfn_yaml import load
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator

def made(path):
    template = load(path)
    for resource in template["Resources"].values():
        if "CodeUri" in resource["Properties"]:
            resource["Properties"]["CodeUri"] = "s3://bucket/key"
    values = {name: one.get("Default", "token") for name, one in template["Parameters"].items()}
    return Translator({}, Parser()).translate(template, values)["Resources"]

def of(resources, kind):
    return {name: one for name, one in resources.items() if one["Type"] == kind}

plain = made("infra/template.yaml")
name = plain["Api"]["Properties"]["Body"]["info"]["title"]
assert name in ({"Ref": "Prefix"}, "keybroker"), name
first, second = made("target/infra/gradual-1.yaml"), made("target/infra/gradual-2.yaml")
routes = [one for path in first["Api"]["Properties"]["Body"]["paths"].values() for one in path.values()]
leads = [route["x-amazon-apigateway-integration"]["uri"]["Fn::Sub"] for route in routes]
aliases = of(first, "AWS::Lambda::Alias")
assert len(aliases) == 3 and leads, aliases
for lead in leads:
    assert any(f"/${{{alias}}}/" in lead for alias in aliases), lead
versions = [set(of(one, "AWS::Lambda::Version")) for one in (first, second)]
assert len(versions[0]) == 3 and not versions[0] & versions[1], versions
for group in of(first, "AWS::CodeDeploy::DeploymentGroup").values():
    alarms = [alarm["Name"]["Ref"] for alarm in group["Properties"]["AlarmConfiguration"]["Alarms"]]
    assert alarms and all(first[alarm]["Type"] == "AWS::CloudWatch::Alarm" for alarm in alarms), alarms
# Nothing else differs.
kinds = ("AWS::Lambda::", "AWS::CodeDeploy::")
same = {name for name, one in first.items() if not one["Type"].startswith(kinds)} - {"Api", "CodeDeployServiceRole"}
assert same <= set(plain), same - set(plain)
for name in same:
    assert json.dumps(first[name]) == json.dumps(plain[name]), name
