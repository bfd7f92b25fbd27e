"""Checks each parameter of both templates: with all defaults, and then with one value changed at a time.

It transforms the functions' template as SAM does at a deployment, resolves conditions, references and
functions as CloudFormation does, and compares what comes out as data. Every parameter and every rule has a
row here. infra/check runs it.
"""

import copy
import logging
import os
import pathlib
import re
import sys

from cfnlint.decode.cfn_yaml import load
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator

HERE = pathlib.Path(__file__).resolve().parent
PSEUDO = {
    "AWS::Partition": "aws", "AWS::Region": "us-east-1", "AWS::AccountId": "123456789012",
    "AWS::URLSuffix": "amazonaws.com",
}
# These have no default.
REQUIRED = {"Registration": "token", "MinimumTcb": "milan-b1:snp=27"}
ABSENT = "absent"

# SAM asks for a region, and warns of metrics that it does not publish.
os.environ["AWS_DEFAULT_REGION"] = PSEUDO["AWS::Region"]
logging.disable(logging.WARNING)


class Template:
    """A template under infra/."""

    def __init__(self, path):
        self.source = load(str(path))
        self.made = {}
        for resource in self.source["Resources"].values():
            # SAM takes only a package that was uploaded.
            if "CodeUri" in resource["Properties"]:
                resource["Properties"]["CodeUri"] = "s3://bucket/key"

    def values(self, changed):
        """The values of all parameters. Refuses one that CloudFormation would refuse."""
        values = {}
        for name, parameter in self.source["Parameters"].items():
            value = str(changed.get(name, parameter.get("Default", REQUIRED.get(name))))
            allowed = [str(one) for one in parameter.get("AllowedValues", [value])]
            assert value in allowed, (name, value)
            assert re.fullmatch(parameter.get("AllowedPattern", ".*"), value), (name, value)
            if parameter["Type"] == "Number":
                assert int(value) >= parameter.get("MinValue", int(value)), (name, value)
                assert int(value) <= parameter.get("MaxValue", int(value)), (name, value)
            values[str(name)] = value
        assert set(changed) <= set(values), changed
        return values

    def deployed(self, changed):
        """The resources and outputs that a deployment with these values has."""
        values = self.values(changed)
        key = tuple(values.values())
        if key not in self.made:
            template = copy.deepcopy(self.source)
            if "Transform" in template:
                template = Translator({}, Parser()).translate(template, dict(values))
            self.made[key] = Resolver(template, values).all()
        return self.made[key]

    def broken(self, changed):
        """The rules that refuse these values."""
        values = self.values(changed)
        resolver = Resolver(self.source, values)

        def holds(rule):
            if "RuleCondition" in rule and not resolver.resolved(rule["RuleCondition"]):
                return True
            return all(resolver.resolved(one["Assert"]) for one in rule["Assertions"])

        return {str(name) for name, rule in self.source.get("Rules", {}).items() if not holds(rule)}


class Resolver:
    """Resolves what CloudFormation resolves before it makes a resource."""

    def __init__(self, template, values):
        self.template = template
        self.known = {**PSEUDO, **values}

    def all(self):
        found = {}
        for section in ("Resources", "Outputs"):
            for name, one in self.template.get(section, {}).items():
                if "Condition" not in one or self.condition(one["Condition"]):
                    one = {member: value for member, value in one.items() if member != "Condition"}
                    found[f"{section}.{name}"] = self.resolved(one)
        return found

    def condition(self, name):
        return self.resolved(self.template["Conditions"][name])

    def resolved(self, value):
        if isinstance(value, list):
            found = [self.resolved(one) for one in value]
            return [one for one in found if one is not ABSENT]
        if not isinstance(value, dict):
            return value if isinstance(value, (bool, int, float)) else str(value)
        if len(value) == 1:
            [(name, argument)] = value.items()
            function = getattr(self, "of_" + str(name).replace("::", "_").lower(), None)
            if function:
                return function(argument)
        found = {str(name): self.resolved(one) for name, one in value.items()}
        return {name: one for name, one in found.items() if one is not ABSENT}

    def of_ref(self, name):
        if name == "AWS::NoValue":
            return ABSENT
        return self.known.get(name, {"Ref": str(name)})

    def of_condition(self, name):
        return self.condition(name)

    def of_fn_if(self, argument):
        name, then, otherwise = argument
        return self.resolved(then if self.condition(name) else otherwise)

    def of_fn_equals(self, argument):
        one, other = self.resolved(argument)
        return str(one) == str(other)

    def of_fn_not(self, argument):
        [one] = self.resolved(argument)
        return not one

    def of_fn_and(self, argument):
        return all(self.resolved(argument))

    def of_fn_or(self, argument):
        return any(self.resolved(argument))

    def of_fn_split(self, argument):
        separator, text = self.resolved(argument)
        # Only a deployment knows the rest.
        return text.split(separator) if isinstance(text, str) else {"Fn::Split": [separator, text]}

    def of_fn_sub(self, text):
        if not isinstance(text, str):
            return {"Fn::Sub": self.resolved(text)}
        return re.sub(r"\$\{([^}]+)\}", lambda name: self.known.get(name[1], name[0]), text)


def differences(old, new, path=()):
    """Each place where two values differ, with the new value."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name in sorted({*old, *new}):
            yield from differences(old.get(name, ABSENT), new.get(name, ABSENT), (*path, name))
    elif old != new:
        yield short(path), new


def short(path):
    """Resources.Api.Properties.Name is Api.Name."""
    text = ".".join(path).removeprefix("Resources.")
    return text.replace(".Properties.", ".", 1)


def each(names, **values):
    """The same for several resources: each(["A", "B"], X=1) is {"A.X": 1, "B.X": 1}."""
    return {f"{name}.{member}": value for name in names for member, value in values.items()}


FUNCTIONS = ["Register", "Auth", "Attest"]
ROLES = [f"{name}Role" for name in FUNCTIONS]


def variable(name, value, functions=("Attest",)):
    return {f"{function}.Environment.Variables.KEYBROKER_{name}": value for function in functions}


def throttles(routes, member, value):
    return {f"ApiApiGatewayDefaultStage.RouteSettings.{route}.{member}": value for route in routes}


REGISTERING = [
    "POST /kbs/v0/register_workload", "POST /rvp/register", "POST /iam/kbs/v0/register_workload",
    "POST /iam/rvp/register",
]
GUESTS = [
    "POST /kbs/v0/auth", "POST /kbs/v0/attest", "GET /kbs/v0/key/{workload_id}",
    "GET /kbs/v0/resource/{name}", "GET /kbs/v0/resource/{repository}/{type}/{tag}",
    "POST /w/{workload_id}/kbs/v0/auth", "POST /w/{workload_id}/kbs/v0/attest",
    "GET /w/{workload_id}/kbs/v0/resource/{repository}/{type}/{tag}",
    "POST /v1/challenge", "POST /v1/release",
]
KEYS = ["GET /kbs/v0/jwks"]
RATE, BURST = "ThrottlingRateLimit", "ThrottlingBurstLimit"

THRESHOLDS = [
    "ServerErrors", "Refusals", "Strangers", "KeyUnavailable", "KdsThrottled", "GuestsBehind", "OldList",
    "GatewayThrottled", "TurnedAway", "FunctionErrors", "FunctionsThrottled", "ReadsThrottled", "WritesThrottled",
]
ALARMS = [*THRESHOLDS, "NoTcbFloor"]
TABLES = ["Workloads", "Tokens", "Keys", "Decisions", "Endorsements", "Audit", "Challenges", "Sessions"]
LOGS = ["RegisterLog", "AuthLog", "AttestLog", "AccessLog"]

KEY_ARN = "arn:aws:kms:us-east-1:123456789012:key/own"
BOUNDARY = "arn:aws:iam::123456789012:policy/boundary"
SIGNING = "arn:aws:lambda:us-east-1:123456789012:code-signing-config:csc-0123456789abcdefg"
LAYER = "arn:aws:lambda:us-east-1:123456789012:layer:advisories:1"
TOPIC = "arn:aws:sns:us-east-1:123456789012:topic"
CERTIFICATE = "arn:aws:acm:us-east-1:123456789012:certificate/1"
SUM = "ab" * 32
ENDPOINT = "x-amazon-apigateway-endpoint-configuration"

# A row has values, and all that they change; `...` is a whole resource or output. A row that begins with
# another's values is compared with that row.
STORAGE = [
    ({"LogRetentionDays": 90}, each(LOGS, RetentionInDays="90")),
    ({"MultiRegion": "yes"}, {"Key.MultiRegion": True}),
    ({"TableKeyArn": KEY_ARN}, each(TABLES, **{"SSESpecification.KMSMasterKeyId": KEY_ARN})),
    ({"LogKeyArn": KEY_ARN}, each(LOGS, KmsKeyId=KEY_ARN)),
    (
        {"AuditTableClass": "STANDARD_INFREQUENT_ACCESS"},
        each(["Decisions", "Audit"], TableClass="STANDARD_INFREQUENT_ACCESS"),
    ),
]
MOVE = {"KeyArn": KEY_ARN}
UNTIL = "2026-12-01T18:00:00Z"
STORAGE += [
    (MOVE, {"Alias.TargetKeyId": KEY_ARN}),
    ({**MOVE, "OwnKey": "no"}, {"Key": ABSENT, "Outputs.KeyArn.Value": KEY_ARN}),
    ({"RewrapUntil": UNTIL}, {"Key.KeyPolicy.Statement": ...}),
]
STORAGE_REFUSED = [({"OwnKey": "no"}, {"SomeKeyWraps"})]
FURTHER_KEY = [
    ({"MultiRegion": "yes"}, {"Key.MultiRegion": True}),
    ({"RewrapUntil": UNTIL}, {"Key.KeyPolicy.Statement": ...}),
]
VPC = {"SubnetIds": "subnet-0a,subnet-1b", "SecurityGroupIds": "sg-2c"}
DOMAIN = {"DomainName": "k.example.org", "CertificateArn": CERTIFICATE}
ALONE = {**DOMAIN, "DisableExecuteApiEndpoint": "yes"}
CERTIFIED = {**ALONE, "TruststoreUri": "s3://bucket/cas.pem"}
FUNCTIONS_ROWS = [
    (
        {"Registration": "iam"},
        {
            **variable("REGISTRATION", "iam", ["Register"]), "BuilderPolicy": ...,
            "Outputs.BuilderPolicyArn": ...,
        },
    ),
    ({"Architecture": "x86_64"}, each(FUNCTIONS, Architectures=["x86_64"])),
    ({"SessionTtl": 60}, variable("SESSION_TTL", "60", ["Auth", "Attest"])),
    ({"AcceptCspIds": "1"}, variable("ACCEPT_CSP_IDS", "1")),
    ({"AcceptProducts": "milan"}, variable("ACCEPT_PRODUCTS", "milan")),
    ({"AcceptChips": SUM}, variable("ACCEPT_CHIPS", SUM)),
    ({"MinimumTcb": "any"}, {**variable("MINIMUM_TCB", ""), **variable("ACCEPT_ANY_TCB", "yes")}),
    ({"MinimumCommittedTcb": "a"}, variable("MINIMUM_COMMITTED_TCB", "a")),
    ({"MinimumCurrentTcb": "a"}, variable("MINIMUM_CURRENT_TCB", "a")),
    ({"MinimumLaunchTcb": "a"}, variable("MINIMUM_LAUNCH_TCB", "a")),
    ({"CurrentMitigations": "a"}, variable("CURRENT_MITIGATIONS", "a")),
    ({"LaunchMitigations": "a"}, variable("LAUNCH_MITIGATIONS", "a")),
    ({"RequirePlatform": "ecc"}, variable("REQUIRE_PLATFORM", "ecc")),
    ({"MinimumFirmware": "1.55.29"}, variable("MINIMUM_FIRMWARE", "1.55.29")),
    (
        {"Advisories": "/opt/a.json", "AdvisoriesSha256": SUM},
        {**variable("ADVISORIES", "/opt/a.json"), **variable("ADVISORIES_SHA256", SUM)},
    ),
    ({"AdvisoriesLayer": LAYER}, {"Attest.Layers": [LAYER]}),
    ({"KdsUrl": "https://kds"}, variable("KDS_URL", "https://kds")),
    ({"Kds": "known-chips-only"}, variable("KDS", "known-chips-only")),
    ({"CrlMaxAge": "30"}, variable("CRL_MAX_AGE", "30")),
    ({"NewChipsPerMinute": "9"}, variable("NEW_CHIPS_PER_MINUTE", "9")),
    ({"NewChipsBurst": "9"}, variable("NEW_CHIPS_BURST", "9")),
    ({"AuditRetentionDays": 90}, variable("AUDIT_RETENTION_DAYS", "90", ["Register", "Attest"])),
    *(
        ({f"{name}Concurrency": "7"}, {f"{name}.ReservedConcurrentExecutions": "7"}) for name in FUNCTIONS
    ),
    ({"RegisterRate": 7}, throttles(REGISTERING, RATE, "7")),
    ({"RegisterBurst": 7}, throttles(REGISTERING, BURST, "7")),
    ({"GuestRate": 7}, throttles(GUESTS, RATE, "7")),
    ({"GuestBurst": 7}, throttles(GUESTS, BURST, "7")),
    ({"KeysRate": 7}, throttles(KEYS, RATE, "7")),
    ({"KeysBurst": 7}, throttles(KEYS, BURST, "7")),
    (
        VPC,
        {
            **each(
                FUNCTIONS, VpcConfig={"SubnetIds": ["subnet-0a", "subnet-1b"], "SecurityGroupIds": ["sg-2c"]}
            ),
            **each(ROLES, ManagedPolicyArns=[{"Ref": "NetworkPolicy"}]),
            "NetworkPolicy": ...,
        },
    ),
    ({"PermissionsBoundary": BOUNDARY}, each(ROLES, PermissionsBoundary=BOUNDARY)),
    ({"CodeSigningConfigArn": SIGNING}, each(FUNCTIONS, CodeSigningConfigArn=SIGNING)),
    (
        {"KeyArns": f"{KEY_ARN},{KEY_ARN}-2"},
        {f"{role}.Policies": ... for role in ROLES},
    ),
    (
        {"Tracing": "on"},
        {
            **each(FUNCTIONS, **{"TracingConfig.Mode": "Active"}),
            **each(ROLES, ManagedPolicyArns=[{"Ref": "TracesPolicy"}]),
            "TracesPolicy": ...,
        },
    ),
    ({"AlarmTopicArn": TOPIC}, each(ALARMS, AlarmActions=[TOPIC], OKActions=[TOPIC])),
    *(({f"{name}Threshold": 9}, {f"{name}.Threshold": "9"}) for name in THRESHOLDS),
    (
        DOMAIN,
        {
            "Domain": ..., "DomainMapping": ..., "Outputs.DomainTarget": ...,
            "Outputs.Url.Value": "https://k.example.org",
        },
    ),
    ({**DOMAIN, "HostedZoneId": "Z1"}, {"DomainRecord": ...}),
    (ALONE, {"Api.Body.servers": [{ENDPOINT: {"disableExecuteApiEndpoint": True}}]}),
    (CERTIFIED, {"Domain.MutualTlsAuthentication": {"TruststoreUri": "s3://bucket/cas.pem"}}),
    ({**CERTIFIED, "TruststoreVersion": "v"}, {"Domain.MutualTlsAuthentication.TruststoreVersion": "v"}),
]
# Values that do not go together, and the rules that say so.
REFUSED = [
    ({"DomainName": "k.example.org"}, {"DomainNeedsCertificate"}),
    ({"CertificateArn": CERTIFICATE}, {"CertificateNeedsDomain"}),
    ({"Advisories": "/opt/a.json"}, {"AdvisoriesArePinned"}),
    ({"AdvisoriesSha256": SUM}, {"PinIsOfAdvisories"}),
    ({"SubnetIds": "subnet-0a"}, {"SubnetsNeedSecurityGroups"}),
    ({"SecurityGroupIds": "sg-2c"}, {"SecurityGroupsNeedSubnets"}),
    ({"DisableExecuteApiEndpoint": "yes"}, {"SomeNameAnswers"}),
    ({**DOMAIN, "TruststoreUri": "s3://bucket/cas.pem"}, {"TruststoreIsTheOnlyWay"}),
    ({**ALONE, "TruststoreVersion": "v"}, {"VersionIsOfTruststore"}),
]


# The rules for the region, and those for the region in which IAM's events appear.
REGIONAL = ["Key", "KeyLost", "Functions", "Tables", "Logs", "Api"]
EVERYWHERE = ["Roles", "RoleTaken", "Watch", "Trails"]
PATTERN = "EventPattern.detail"
OWN_TRAIL = ["Bucket", "BucketPolicy", "OwnedTrail", "Outputs.BucketName"]
WATCH = [
    ({"Scope": "iam"}, dict.fromkeys(REGIONAL, ABSENT)),
    # Where no trail records IAM's events.
    ({"Scope": "iam", "Trail": "management"}, dict.fromkeys(OWN_TRAIL, ...)),
    (
        {"AlarmTopicArn": TOPIC},
        {
            **dict.fromkeys(["Topic", "TopicPolicy", "Outputs.TopicArn"], ABSENT),
            **each(REGIONAL + EVERYWHERE, Targets=[{"Id": "topic", "Arn": TOPIC}]), f"Watch.{PATTERN}.$or": ...,
        },
    ),
    ({"ApiId": "a1"}, {f"Api.{PATTERN}.$or": ...}),
    ({"DomainName": "k.example.org"}, {f"Api.{PATTERN}.$or": ...}),
    *(
        ({name: KEY_ARN}, {f"Key.{PATTERN}.$or": ..., f"KeyLost.{PATTERN}.key-id": ...})
        for name in ("KeyArn", "NextKeyArn", "TableKeyArn")
    ),
    ({"Trail": "management"}, dict.fromkeys(OWN_TRAIL, ...)),
    ({"Trail": "data"}, dict.fromkeys(OWN_TRAIL, ...)),
    ({"Trail": "all"}, dict.fromkeys(OWN_TRAIL, ...)),
    ({"Trail": "all", "TrailRetentionDays": 500}, {"Bucket.LifecycleConfiguration.Rules": ...}),
    ({"ApiId": "a1", "Dashboard": "yes"}, {"Board": ...}),
]
WATCH_REFUSED = [
    ({"Dashboard": "yes"}, {"DashboardNeedsApi"}),
    ({"Scope": "iam", "Trail": "data"}, {"DataAndDashboardAreOfTheRegion"}),
    ({"Scope": "iam", "Trail": "all"}, {"DataAndDashboardAreOfTheRegion"}),
    ({"Scope": "iam", "ApiId": "a1", "Dashboard": "yes"}, {"DataAndDashboardAreOfTheRegion"}),
]


# Left out of a template unless a parameter asks for it. CloudFormation must take such a property back when the
# parameter goes, and does not find it if somebody else set it. Where a property has a value that stands for none, a
# template says that value.
LEFT_OUT = {
    "AlarmActions", "CodeSigningConfigArn", "KMSMasterKeyId", "KmsKeyId", "MultiRegion", "MutualTlsAuthentication",
    "OKActions", "PermissionsBoundary", "ReservedConcurrentExecutions", "TruststoreVersion", "VpcConfig",
}
# The page that says what drift detection misses. Nothing changes whether a key is for several regions.
PAGE = HERE.parent / "docs/watching.md"


def appearing(old, new, path=()):
    """Each place where a resource gets a property that it did not have."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name in sorted({*old, *new}):
            yield from appearing(old.get(name, ABSENT), new.get(name, ABSENT), (*path, name))
    elif old == ABSENT != new and len(path) > 1:
        yield path


def base_of(changed, rows):
    """The longest other row whose values this row begins with."""
    others = [one for one, _ in rows if one != changed and one.items() <= changed.items()]
    return max(others, key=len, default={})


def failures(name, rows, refused):
    template = Template(HERE / name)
    named = {parameter for changed, _ in rows for parameter in changed}
    missing = set(template.source["Parameters"]) - named - {"Prefix"}
    yield from (f"{name}: no row has {parameter}" for parameter in sorted(missing))
    for changed, expected in [({}, {}), *rows]:
        broken = template.broken(changed)
        if broken:
            yield f"{name}: {changed} is refused by {broken}"
        old, new = template.deployed(base_of(changed, rows)), template.deployed(changed)
        for path in appearing(old, new):
            if path[-1] not in LEFT_OUT:
                yield f"{name}: {changed}: {short(path)} is left out by default"
        found = dict(differences(old, new))
        for place in sorted({*expected, *found}):
            new = found.get(place, "as it was")
            if place not in expected or (expected[place] is not ... and new != expected[place]):
                yield f"{name}: {changed}: {place}: {new!r}, and not {expected.get(place, 'as it was')!r}"
            if expected.get(place) is ... and new in ("as it was", ABSENT):
                yield f"{name}: {changed}: {place} is not there"
    untried = set(template.source.get("Rules", {})) - {rule for _, rules in refused for rule in rules}
    yield from (f"{name}: no row breaks {rule}" for rule in sorted(untried))
    for changed, rules in refused:
        if template.broken(changed) != rules:
            yield f"{name}: {changed} is refused by {template.broken(changed)}, and not {rules}"


def main():
    # SAM warns of metrics that it does not publish.
    logging.disable(logging.WARNING)
    found = [
        *failures("storage.yaml", STORAGE, STORAGE_REFUSED),
        *failures("key.yaml", FURTHER_KEY, []),
        *failures("template.yaml", FUNCTIONS_ROWS, REFUSED),
        *failures("watch.yaml", WATCH, WATCH_REFUSED),
    ]
    told = PAGE.read_text(encoding="utf-8")
    found += [f"{PAGE} does not name {one}" for one in sorted(LEFT_OUT - {"MultiRegion"}) if f"`{one}`" not in told]
    for one in found:
        print(f"FAIL  {one}")
    if found:
        sys.exit(1)
    rows = len(STORAGE) + len(FURTHER_KEY) + len(FUNCTIONS_ROWS) + len(WATCH)
    refused = len(STORAGE_REFUSED) + len(REFUSED) + len(WATCH_REFUSED)
    print(f"infra: {rows} rows of parameters change what they should, and {refused} are refused")


if __name__ == "__main__":
    main()
