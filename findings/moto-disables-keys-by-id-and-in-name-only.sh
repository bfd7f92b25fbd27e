#!/usr/bin/env bash
# moto 5.2.5: a disabled KMS key still encrypts and decrypts, and DisableKey, EnableKey and CancelKeyDeletion fail for
# a key that is named by its ARN.
#
# KMS takes an id or an ARN in these three calls, and refuses each use of a disabled key (DisabledException) and of one
# that is about to be deleted (KMSInvalidStateException). So a test on moto proves nothing about a key that is taken
# away, and commands that name a key by its ARN cannot be tried on it.
#
# Seen with moto 5.2.5 and boto3 1.44.8, on 29 November 2026:
#
#   DisableKey by ARN: KeyError
#   EnableKey by ARN: KeyError
#   CancelKeyDeletion by ARN: KeyError
#   disabled by id: Disabled, Encrypt done, Decrypt done
#   to be deleted: PendingDeletion, Encrypt done, Decrypt done
#
# Ends with 1 if any of this is otherwise. Installs into a temporary directory, and needs python3.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip --quiet --disable-pip-version-check install 'moto[kms]==5.2.5' 'boto3==1.44.8'

seen=$(AWS_ACCESS_KEY_ID=none AWS_SECRET_ACCESS_KEY=none "$work/venv/bin/python" - <<'PYTHON'
import boto3
from moto import mock_aws

def tried(call, **arguments):
    try:
        call(**arguments)
        return "done"
    except Exception as error:
        return type(error).__name__

with mock_aws():
    kms = boto3.client("kms", region_name="us-east-1")
    key = kms.create_key()["KeyMetadata"]
    arn, id_ = key["Arn"], key["KeyId"]
    wrapped = kms.encrypt(KeyId=arn, Plaintext=b"text")["CiphertextBlob"]

    def used():
        state = kms.describe_key(KeyId=id_)["KeyMetadata"]["KeyState"]
        encrypt = tried(kms.encrypt, KeyId=arn, Plaintext=b"text")
        return f"{state}, Encrypt {encrypt}, Decrypt {tried(kms.decrypt, CiphertextBlob=wrapped)}"

    print("DisableKey by ARN:", tried(kms.disable_key, KeyId=arn))
    print("EnableKey by ARN:", tried(kms.enable_key, KeyId=arn))
    print("CancelKeyDeletion by ARN:", tried(kms.cancel_key_deletion, KeyId=arn))
    kms.disable_key(KeyId=id_)
    print("disabled by id:", used())
    kms.schedule_key_deletion(KeyId=id_, PendingWindowInDays=7)
    print("to be deleted:", used())
PYTHON
)
echo "$seen"
expected=$(sed -n 's/^#   //p' "$0")
[ "$seen" = "$expected" ] || { echo "this is otherwise now" >&2; exit 1; }
