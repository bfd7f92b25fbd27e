#!/usr/bin/env bash
# moto 5.2.5: a transaction's ClientRequestToken is ignored, and a restore to a point in time gives the table as it is now.
#
# DynamoDB answers a repetition under a token as it did the first time, and refuses another request under it
# (IdempotentParameterMismatchException). It restores a table as it was at RestoreDateTime, and refuses a time at which it had no
# recovery. So a test on moto proves nothing about either.
#
# Seen with moto 5.2.5 and boto3 1.44.8, on 28 November 2026:
#
#   the same request again: ConditionalCheckFailed
#   another request under its token: written, the row is now b
#   restored as of 2020, without recovery: b
#
# Ends with 1 if any of this is otherwise. Installs into a temporary directory, and needs python3.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip --quiet --disable-pip-version-check install 'moto[dynamodb]==5.2.5' 'boto3==1.44.8'

seen=$(AWS_ACCESS_KEY_ID=none AWS_SECRET_ACCESS_KEY=none "$work/venv/bin/python" - <<'PYTHON'
import datetime
import boto3
from botocore.exceptions import ClientError
from moto import mock_aws

def put(value, **condition):
    item = {"TableName": "rows", "Item": {"id": {"S": "1"}, "value": {"S": value}}, **condition}
    dynamodb.transact_write_items(ClientRequestToken="token", TransactItems=[{"Put": item}])

def row(table):
    return dynamodb.get_item(TableName=table, Key={"id": {"S": "1"}})["Item"]["value"]["S"]

with mock_aws():
    dynamodb = boto3.client("dynamodb", region_name="us-east-1")
    dynamodb.create_table(
        TableName="rows", BillingMode="PAY_PER_REQUEST", KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
    )
    new = {"ConditionExpression": "attribute_not_exists(id)"}
    put("a", **new)
    try:
        put("a", **new)
        print("the same request again: done")
    except ClientError as error:
        print("the same request again:", error.response["CancellationReasons"][0]["Code"])
    try:
        put("b")
        print("another request under its token: written, the row is now", row("rows"))
    except ClientError as error:
        print("another request under its token:", error.response["Error"]["Code"])
    try:
        dynamodb.restore_table_to_point_in_time(
            SourceTableName="rows", TargetTableName="copy", RestoreDateTime=datetime.datetime(2020, 1, 1)
        )
        print("restored as of 2020, without recovery:", row("copy"))
    except ClientError as error:
        print("restored as of 2020, without recovery:", error.response["Error"]["Code"])
PYTHON
)
echo "$seen"
expected=$(sed -n 's/^#   //p' "$0")
[ "$seen" = "$expected" ] || { echo "this is otherwise now" >&2; exit 1; }
