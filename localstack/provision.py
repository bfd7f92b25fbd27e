"""Makes the broker's tables and key by the template that makes them on AWS. Prints their names as settings.

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
TABLES = ("workloads", "tokens", "challenges", "sessions", "endorsements", "audit")


def client(service):
    # boto3 itself reads AWS_DEFAULT_REGION alone.
    config = Config(retries={"mode": "standard"})
    return boto3.client(service, region_name=os.environ["AWS_REGION"], config=config)


def template(values):
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
    return yaml.load(TEMPLATE.read_text(encoding="utf-8"), Loader)  # noqa: S506, a SafeLoader


def put_policies(dynamodb, prefix):
    """Puts the tables' policies: moto takes none from a template. It enforces none, but answers with them."""
    arn = dynamodb.describe_table(TableName=f"{prefix}-{TABLES[0]}")["Table"]["TableArn"]
    _, partition, _, region, account, _ = arn.split(":")
    values = {
        "Prefix": prefix, "AWS::Partition": partition, "AWS::Region": region, "AWS::AccountId": account,
    }
    for resource in template(values)["Resources"].values():
        properties = resource["Properties"]
        if "ResourcePolicy" in properties:
            arn = dynamodb.describe_table(TableName=properties["TableName"])["Table"]["TableArn"]
            policy = properties["ResourcePolicy"]["PolicyDocument"]
            dynamodb.put_resource_policy(ResourceArn=arn, Policy=json.dumps(policy))


def provision(prefix):
    """Applies the template and waits until all of it is there."""
    cloudformation = client("cloudformation")
    stack = f"{prefix}-storage"
    cloudformation.create_stack(
        StackName=stack,
        TemplateBody=TEMPLATE.read_text(encoding="utf-8"),
        Parameters=[{"ParameterKey": "Prefix", "ParameterValue": prefix}],
        Capabilities=["CAPABILITY_NAMED_IAM"],
    )
    cloudformation.get_waiter("stack_create_complete").wait(
        StackName=stack, WaiterConfig={"Delay": 1, "MaxAttempts": 60}
    )
    dynamodb = client("dynamodb")
    for table in TABLES:
        dynamodb.describe_table(TableName=f"{prefix}-{table}")
    put_policies(dynamodb, prefix)
    # moto cannot describe a key whose policy came from a template.
    pages = client("kms").get_paginator("list_aliases").paginate()
    if not any(alias["AliasName"] == f"alias/{prefix}" for page in pages for alias in page["Aliases"]):
        raise SystemExit(f"the template made no alias/{prefix}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prefix", action="append", required=True, help="once for each set of tables")
    parser.add_argument("--print", action="store_true", help="print export lines for the last prefix")
    arguments = parser.parse_args()
    for prefix in arguments.prefix:
        provision(prefix)
    if arguments.print:
        prefix = arguments.prefix[-1]
        for table in TABLES:
            print(f"export KEYBROKER_{table.upper()}_TABLE={prefix}-{table}")
        print(f"export KEYBROKER_KMS_KEY=alias/{prefix}")
    print(f"localstack: provisioned by {TEMPLATE.name}", file=sys.stderr)


if __name__ == "__main__":
    main()
