"""moto's server, one request at a time, with a record of the calls and faults on request.

moto restores whole tables after a transaction that failed: a request that was served meanwhile would be
undone with it. So the requests queue up. Connections do not: a client may keep several open.

With --calls FILE each call of DynamoDB or KMS is a line of JSON there: `by`, the access key id that signed
it; `app`, the application that the client names, if it names one (AWS_SDK_UA_APP_ID); `operation`; and `parts`.
Each part is an IAM action and what it is on: a table, an index of one, or a key by the id in KMS's answer. A
transaction and a re-encryption have several parts. A call of KMS also has its `time` and its encryption
`context`. No other values are recorded.

Faults are for tests: POST /faults replaces the list of pending faults, PUT adds to it, and GET
answers with it.
    {"by": "attest", "operation": "Decrypt", "fault": "refused", "status": 500, "type": "…", "times": 3}
The next `times` such calls are answered with this status and type of error. If the fault is "lost", they are
served before that; else they are not served.
"""

import argparse
import datetime
import io
import json
import os
import shutil
import re
import threading
import time

import moto.kms.responses
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

# moto describes a key only after it has looked for a denial in its policy. It cannot read the policy of a key that
# a template made, and enforces none elsewhere.
moto.kms.responses.validate_policy = lambda key, action: None

SIGNER = re.compile(r"Credential=([^/,]+)/")
APPLICATION = re.compile(r"(?:^|\s)app/(\S+)")
SERVICES = {"DynamoDB_20120810": "dynamodb", "TrentService": "kms"}


class Call:
    """The recorded parts of a call of DynamoDB or KMS."""

    def __init__(self, environ, body):
        service, _, self.operation = environ.get("HTTP_X_AMZ_TARGET", "").partition(".")
        self.known = service in SERVICES
        self.service = SERVICES.get(service)
        signer = SIGNER.search(environ.get("HTTP_AUTHORIZATION", ""))
        self.by = signer.group(1) if signer else ""
        application = APPLICATION.search(environ.get("HTTP_USER_AGENT", ""))
        self.app = application.group(1) if application else ""
        self.request = json.loads(body) if self.known and body else {}

    def parts(self, answer):
        if self.operation in ("TransactWriteItems", "TransactGetItems"):
            items = self.request["TransactItems"]
            parts = [(f"{kind}Item", part[kind]["TableName"]) for part in items for kind in part]
        elif "RequestItems" in self.request:
            parts = [(self.operation, table) for table in self.request["RequestItems"]]
        elif "IndexName" in self.request:
            parts = [(self.operation, "{TableName}/index/{IndexName}".format(**self.request))]
        elif "TableName" in self.request:
            parts = [(self.operation, self.request["TableName"])]
        elif "ResourceArn" in self.request:
            parts = [(self.operation, self.request["ResourceArn"].rpartition(":table/")[2])]
        elif self.operation == "ReEncrypt":
            keys = [answer.get(name, "") for name in ("SourceKeyId", "KeyId")]
            parts = list(zip(("ReEncryptFrom", "ReEncryptTo"), keys))
        else:
            parts = [(self.operation, answer.get("KeyId") or self.request.get("KeyId", ""))]
        return [{"action": f"{self.service}:{action}", "on": on} for action, on in parts]

    def line(self, answer):
        call = {"by": self.by, "app": self.app, "operation": self.operation, "parts": self.parts(answer)}
        if "EncryptionContext" in self.request:
            now = datetime.datetime.now(datetime.timezone.utc)
            call |= {"time": now.strftime("%Y-%m-%dT%H:%M:%SZ"), "context": self.request["EncryptionContext"]}
        return json.dumps(call) + "\n"


class Front:
    """Passes a request on when the one before it has been answered in full."""

    def __init__(self, application, calls):
        self.application = application
        self.calls = calls
        self.faults = []
        self.lock = threading.Lock()

    def __call__(self, environ, start_response):
        with self.lock:
            body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            if environ["PATH_INFO"] == "/faults":
                return self.tell(environ, body, start_response)
            environ["wsgi.input"] = io.BytesIO(body)
            call = Call(environ, body)
            fault = self.fault(call)
            answer = b""
            try:
                if fault is None:
                    answer = self.served(environ, start_response)
                elif fault["fault"] == "lost":
                    self.served(environ, lambda *_: None)
            finally:
                # moto may fail: it was called all the same.
                self.record(call, answer)
            if fault is not None:
                answer = json.dumps({"__type": fault["type"]}).encode()
                start_response(f"{fault['status']} Fault", headers(answer))
            return [answer]

    def tell(self, environ, body, start_response):
        if environ["REQUEST_METHOD"] == "POST":
            self.faults = json.loads(body)
        if environ["REQUEST_METHOD"] == "PUT":
            self.faults += json.loads(body)
        answer = json.dumps(self.faults).encode()
        start_response("200 OK", headers(answer))
        return [answer]

    def fault(self, call):
        for fault in self.faults:
            if call.known and (fault["by"], fault["operation"]) == (call.by, call.operation):
                fault["times"] -= 1
                self.faults = [fault for fault in self.faults if fault["times"] > 0]
                return fault
        return None

    def served(self, environ, start_response):
        answer = self.application(environ, start_response)
        try:
            return b"".join(answer)
        finally:
            if hasattr(answer, "close"):
                answer.close()

    def record(self, call, answer):
        if self.calls and call.known:
            # moto answers some calls with `null`.
            self.calls.write(call.line(json.loads(answer or b"{}") or {}))
            self.calls.flush()


def headers(answer):
    return [("content-type", "application/x-amz-json-1.0"), ("content-length", str(len(answer)))]


class Handler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"
    # Headers and body are two writes. Without this, each answer waits for the client's delayed
    # acknowledgement.
    disable_nagle_algorithm = True

    def log_request(self, *_):
        pass


def end_with(pid, leftovers):
    """Ends this process once the process with this pid has ended, and removes the directory."""
    while True:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            shutil.rmtree(leftovers, ignore_errors=True)
            os._exit(0)
        time.sleep(0.5)


def main():
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("--port", type=int, default=0, help="0: a free one")
    parser.add_argument("--address-file", required=True, help="gets host:port when the server listens")
    parser.add_argument("--calls", metavar="FILE", help="record the calls there, after what it holds")
    parser.add_argument("--end-with", type=int, metavar="PID", help="end when the process with this pid does")
    arguments = parser.parse_args()
    if arguments.end_with:
        watched = (arguments.end_with, os.path.dirname(arguments.address_file))
        threading.Thread(target=end_with, args=watched, daemon=True).start()

    calls = open(arguments.calls, "a", encoding="utf-8") if arguments.calls else None
    application = Front(DomainDispatcherApplication(create_backend_app), calls)
    server = make_server("127.0.0.1", arguments.port, application, threaded=True, request_handler=Handler)
    partial = arguments.address_file + ".part"
    with open(partial, "w", encoding="utf-8") as file:
        file.write(f"127.0.0.1:{server.port}")
    os.replace(partial, arguments.address_file)
    server.serve_forever()


if __name__ == "__main__":
    main()
