#!/usr/bin/env bash
# moto 5.2.5: KMS's ReEncrypt takes any SourceKeyId, and carries out what DryRun only asks about.
#
# KMS refuses a ciphertext of another key than SourceKeyId (IncorrectKeyException), and refuses DryRun where the call would
# succeed (DryRunOperationException). moto's Decrypt does compare its KeyId, though it gives the refusal another name. So a
# test on moto shows that a program sends the right encryption contexts, and not that it names the right source, or asks
# before it acts.
#
# Seen with moto 5.2.5 and boto3 1.44.8, on 29 November 2026:
#
#   Decrypt under another key: AccessDeniedException
#   ReEncrypt from another key: done, it names the key of the ciphertext as its source
#   ReEncrypt from the context of another record: InvalidCiphertextException
#   Decrypt as a dry run: done, with the plaintext
#   ReEncrypt as a dry run: done, with a ciphertext that opens
#
# Ends with 1 if any of this is otherwise. Installs into a temporary directory, and needs python3.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip --quiet --disable-pip-version-check install 'moto==5.2.5' 'boto3==1.44.8'

seen=$(AWS_ACCESS_KEY_ID=none AWS_SECRET_ACCESS_KEY=none "$work/venv/bin/python" - <<'PYTHON'
import boto3
from botocore.exceptions import ClientError
from moto import mock_aws

def tell(what, call, done):
    try:
        print(f"{what}: {done(call())}")
    except ClientError as error:
        print(f"{what}:", error.response["Error"]["Code"])

with mock_aws():
    kms = boto3.client("kms", region_name="us-east-1")
    source, other = (kms.create_key()["KeyMetadata"]["Arn"] for _ in range(2))
    here, there = {"record": "1"}, {"record": "2"}
    sealed = kms.encrypt(KeyId=source, Plaintext=b"plaintext", EncryptionContext=here)["CiphertextBlob"]

    def decrypt(key, **options):
        return kms.decrypt(CiphertextBlob=sealed, KeyId=key, EncryptionContext=here, **options)

    def re_encrypt(key, context, **options):
        return kms.re_encrypt(
            CiphertextBlob=sealed, SourceKeyId=key, SourceEncryptionContext=context,
            DestinationKeyId=other, DestinationEncryptionContext=there, **options
        )

    def opens(answer):
        clear = kms.decrypt(CiphertextBlob=answer["CiphertextBlob"], EncryptionContext=there)["Plaintext"]
        return "opens" if clear == b"plaintext" else "does not open"

    def named(answer):
        return "the key of the ciphertext" if answer["SourceKeyId"] == source else "the other key"

    tell("Decrypt under another key", lambda: decrypt(other), lambda _: "done")
    tell("ReEncrypt from another key", lambda: re_encrypt(other, here), lambda a: f"done, it names {named(a)} as its source")
    tell("ReEncrypt from the context of another record", lambda: re_encrypt(source, there), lambda _: "done")
    tell("Decrypt as a dry run", lambda: decrypt(source, DryRun=True), lambda a: f"done, with the {a['Plaintext'].decode()}")
    asked = lambda: re_encrypt(source, here, DryRun=True)
    tell("ReEncrypt as a dry run", asked, lambda a: f"done, with a ciphertext that {opens(a)}")
PYTHON
)
echo "$seen"
expected=$(sed -n 's/^#   //p' "$0")
[ "$seen" = "$expected" ] || { echo "this is otherwise now" >&2; exit 1; }
