"""Runs inside the account as a function of its own, under a role of the broker: tries what that role may do.

No attempt leaves a trace: every write has a condition that cannot hold, and every ciphertext is thrown away.
Answers one line per attempt: the verdict, then the action.
"""

import base64
import uuid

import boto3
from botocore.exceptions import ClientError

KEYS = {
    "workloads": "workload_id",
    "tokens": "token",
    "decisions": "id",
    "keys": "name",
    "endorsements": "name",
    "audit": "id",
}
ROW = f"smoke-{uuid.uuid4()}"
# A role may be limited to one of these rows of its table: a word for each, and its key.
ROWS = {
    "keys": {name: name for name in ("challenge", "session", "result", "signature")},
    "workloads": {"workload": ROW, "selection": f"host-data#{ROW}"},
}
# Joined without a border it is the same text as with the last two values exchanged.
CONTEXT = {
    "purpose": "keybroker/v1",
    "registration": "smoke",
    "secret": "smoke",
    "workload_id": "smokeworkload_idsmoke",
}
# The encryption contexts that the broker uses.
CONTEXTS = {
    "secrets": CONTEXT,
    "challenges": {"purpose": "keybroker/challenge"},
    "sessions": {"purpose": "keybroker/session"},
    "results": {"purpose": "keybroker/result"},
    "signatures": {"purpose": "keybroker/signature"},
}
DENIED = ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation")
# The service let the call through, and looked at its condition, or would have done it.
REACHED = ("ConditionalCheckFailedException", "DryRunOperation")


def attempt(call, **arguments):
    """The verdict on one call, and its answer if it has one."""
    try:
        return "allowed", call(**arguments)
    except ClientError as error:
        code = error.response["Error"]["Code"]
        return ("denied" if code in DENIED else "allowed" if code in REACHED else code), {}


def tables(prefix):
    dynamodb = boto3.client("dynamodb")
    rows = [(table, *row) for table in KEYS for row in ROWS.get(table, {"": ROW}).items()]
    for table, word, name in rows:
        key = KEYS[table]
        row = {key: {"S": name}}
        on = f"{table}/{word}" if word else table
        at = {"TableName": f"{prefix}-{table}"}
        # It holds of no row. "name" is a reserved word.
        never = {
            "ConditionExpression": "attribute_exists(#key) AND attribute_not_exists(#key)",
            "ExpressionAttributeNames": {"#key": key},
        }
        match = {
            "KeyConditionExpression": "#key = :key",
            "ExpressionAttributeNames": {"#key": key},
            "ExpressionAttributeValues": {":key": {"S": name}},
        }
        for operation, call, arguments in [
            ("GetItem", dynamodb.get_item, {"Key": row}),
            ("PutItem", dynamodb.put_item, {"Item": row, **never}),
            ("UpdateItem", dynamodb.update_item, {"Key": row, **never}),
            ("DeleteItem", dynamodb.delete_item, {"Key": row, **never}),
            ("Query", dynamodb.query, match),
            ("Scan", dynamodb.scan, {"Limit": 1}),
        ]:
            verdict, _ = attempt(call, **at, **arguments)
            yield f"{verdict} dynamodb:{operation} {on}"


def key(prefix, ciphertexts):
    kms = boto3.client("kms")
    by = {"KeyId": f"alias/{prefix}"}

    for name, context in CONTEXTS.items():
        verdict, answer = attempt(kms.encrypt, **by, Plaintext=b"smoke", EncryptionContext=context)
        yield f"{verdict} kms:Encrypt key under {name}"
        if made := answer.get("CiphertextBlob"):
            ciphertexts[name] = base64.b64encode(made).decode()
            yield f"ciphertext {name} {ciphertexts[name]}"
        # A role that may make none, and runs first, has another to try with.
        given = base64.b64decode(ciphertexts.get(name, ciphertexts["secrets"]))
        verdict, _ = attempt(kms.decrypt, **by, CiphertextBlob=given, EncryptionContext=context)
        yield f"{verdict} kms:Decrypt key under {name}"
        verdict, _ = attempt(kms.generate_data_key, **by, KeySpec="AES_256", EncryptionContext=context)
        yield f"{verdict} kms:GenerateDataKey key under {name}"

    ciphertext = base64.b64decode(ciphertexts["secrets"])
    for name, context in [
        ("no context", {}),
        ("another purpose", {**CONTEXT, "purpose": "other"}),
        ("a name missing", {name: value for name, value in CONTEXT.items() if name != "registration"}),
        ("a name too many", {**CONTEXT, "other": "smoke"}),
        ("a secret's names for challenges", {**CONTEXT, **CONTEXTS["challenges"]}),
        ("a secret's names for sessions", {**CONTEXT, **CONTEXTS["sessions"]}),
        ("a secret's names for signatures", {**CONTEXT, **CONTEXTS["signatures"]}),
        ("challenges and another name", {**CONTEXTS["challenges"], "other": "smoke"}),
        ("sessions and another name", {**CONTEXTS["sessions"], "other": "smoke"}),
        ("signatures and another name", {**CONTEXTS["signatures"], "other": "smoke"}),
    ]:
        verdict, _ = attempt(kms.encrypt, **by, Plaintext=b"smoke", EncryptionContext=context)
        yield f"{verdict} kms:Encrypt with {name}"
        verdict, _ = attempt(kms.decrypt, **by, CiphertextBlob=ciphertext, EncryptionContext=context)
        yield f"{verdict} kms:Decrypt with {name}"
    for name, context in [
        ("an altered registration", {**CONTEXT, "registration": "altered"}),
        ("the name of another resource", {**CONTEXT, "secret": "other"}),
        (
            "one that joins to the same text",
            {**CONTEXT, "secret": "smokeworkload_idsmoke", "workload_id": "smoke"},
        ),
    ]:
        verdict, _ = attempt(kms.decrypt, **by, CiphertextBlob=ciphertext, EncryptionContext=context)
        yield f"{verdict} kms:Decrypt under {name}"


def network():
    """In a VPC the role lets Lambda attach the function. Its code can do none of that."""
    verdict, _ = attempt(boto3.client("ec2").describe_subnets, DryRun=True)
    yield f"{verdict} ec2:DescribeSubnets"


def handler(event, _):
    return [*tables(event["prefix"]), *key(event["prefix"], event["ciphertexts"]), *network()]
