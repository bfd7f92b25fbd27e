"""Makes the broker's tables and key by the template that makes them on AWS. Prints their names as settings.
Where they are already there by an earlier template, it updates them by this one.

The endpoint and the credentials are the AWS SDK's standard variables.
"""

import argparse
import json
import os
import pathlib
import sys

import boto3
import yaml
from botocore.config import Config

HERE = pathlib.Path(__file__).resolve().parent
TEMPLATE = HERE.parent / "infra" / "storage.yaml"
TABLES = ("workloads", "tokens", "decisions", "keys", "endorsements", "audit")


def client(service):
    # boto3 itself reads AWS_DEFAULT_REGION alone.
    config = Config(retries={"mode": "standard"})
    return boto3.client(service, region_name=os.environ["AWS_REGION"], config=config)


def read(path, values):
    """The template, with the values that it substitutes. All other references are left out."""

    class Loader(yaml.SafeLoader):
        pass

    def substituted(loader, node):
        text = loader.construct_scalar(node)
        for name, value in values.items():
            text = text.replace(f"${{{name}}}", value)
        return text

    Loader.add_multi_constructor("!", lambda *_: None)
    Loader.add_constructor("!Sub", substituted)
    return yaml.load(path.read_text(encoding="utf-8"), Loader)  # noqa: S506, a SafeLoader


def account(dynamodb, prefix):
    """The partition, the region and the account of the tables."""
    arn = dynamodb.describe_table(TableName=f"{prefix}-{TABLES[0]}")["Table"]["TableArn"]
    _, partition, _, region, number, _ = arn.split(":")
    return partition, region, number


def put_policies(dynamodb, prefix, path):
    """Puts the tables' policies: moto takes none from a template. It enforces none, but answers with them."""
    partition, region, number = account(dynamodb, prefix)
    values = {
        "Prefix": prefix, "AWS::Partition": partition, "AWS::Region": region, "AWS::AccountId": number,
    }
    for resource in read(path, values)["Resources"].values():
        properties = resource["Properties"]
        if "ResourcePolicy" in properties:
            arn = dynamodb.describe_table(TableName=properties["TableName"])["Table"]["TableArn"]
            policy = properties["ResourcePolicy"]["PolicyDocument"]
            dynamodb.put_resource_policy(ResourceArn=arn, Policy=json.dumps(policy))


def put_key_policy(kms, key):
    """Puts the key's policy again as a text: moto takes an object from a template, and answers with an object."""
    policy = kms.get_key_policy(KeyId=key, PolicyName="default")["Policy"]
    if not isinstance(policy, str):
        kms.put_key_policy(KeyId=key, PolicyName="default", Policy=json.dumps(policy))


class LongForm(yaml.SafeLoader):
    """Reads a template with its functions in their long form, as JSON has them."""


def long_form(loader, suffix, node):
    name = suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}"
    if isinstance(node, yaml.SequenceNode):
        return {name: loader.construct_sequence(node, deep=True)}
    value = loader.construct_scalar(node)
    return {name: value.split(".") if suffix == "GetAtt" else value}


LongForm.add_multi_constructor("!", long_form)


def update(before, body):
    """The template that moto is updated by. It can neither change a key nor put a table's policy: what is there
    stays as it was made, and what is new is made. That today's template replaces nothing is another test's."""
    old, new = (yaml.load(text, LongForm) for text in (before, body))  # noqa: S506, a SafeLoader
    new["Resources"].update({name: one for name, one in old["Resources"].items() if name in new["Resources"]})
    return json.dumps(new)


def deploy(cloudformation, stack, prefix, path):
    """Makes the stack by the template, or updates it, and waits until all of it is there."""
    body = path.read_text(encoding="utf-8")
    try:
        before = cloudformation.get_template(StackName=stack)["TemplateBody"]
        before = before if isinstance(before, str) else json.dumps(before)
        body, call, state = update(before, body), cloudformation.update_stack, "stack_update_complete"
    except cloudformation.exceptions.ClientError:
        call, state = cloudformation.create_stack, "stack_create_complete"
    call(
        StackName=stack,
        TemplateBody=body,
        Parameters=[{"ParameterKey": "Prefix", "ParameterValue": prefix}],
        Capabilities=["CAPABILITY_NAMED_IAM"],
    )
    cloudformation.get_waiter(state).wait(StackName=stack, WaiterConfig={"Delay": 1, "MaxAttempts": 60})


def provision(prefix, path):
    """Applies the template, and checks what it made."""
    deploy(client("cloudformation"), f"{prefix}-storage", prefix, path)
    dynamodb = client("dynamodb")
    for resource in read(path, {"Prefix": prefix})["Resources"].values():
        if resource["Type"] == "AWS::DynamoDB::Table":
            dynamodb.describe_table(TableName=resource["Properties"]["TableName"])
    put_policies(dynamodb, prefix, path)
    kms = client("kms")
    put_key_policy(kms, kms.describe_key(KeyId=f"alias/{prefix}")["KeyMetadata"]["KeyId"])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prefix", action="append", required=True, help="once for each set of tables")
    parser.add_argument("--print", action="store_true", help="print export lines for the last prefix")
    parser.add_argument("--template", type=pathlib.Path, default=TEMPLATE, help="another release's, for tests")
    arguments = parser.parse_args()
    for prefix in arguments.prefix:
        provision(prefix, arguments.template)
    if arguments.print:
        prefix = arguments.prefix[-1]
        for table in TABLES:
            print(f"export KEYBROKER_{table.upper()}_TABLE={prefix}-{table}")
        print(f"export KEYBROKER_KMS_KEY=alias/{prefix}")
        _, region, number = account(client("dynamodb"), prefix)
        print(f"export KEYBROKER_DEPLOYMENT={number}/{region}/{prefix}")
    print(f"localstack: provisioned by {arguments.template.name}", file=sys.stderr)


if __name__ == "__main__":
    main()
