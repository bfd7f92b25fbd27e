//! The functions' template agrees with the code: the routes, the permissions of each role, and what must
//! never be switched off.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use keybroker_common::{
    admission::Admission,
    config::VARIABLES,
    function::Function,
    http::{ROUTES, SIGNED},
    keyring::Purpose,
    secret::EncryptionContext,
};
use keybroker_tests::{metrics::METRICS, permissions::permissions, program::workspace};
use serde_json::{Value, json};

use crate::yaml::{one_or_many, read, resources};

pub(crate) const FUNCTIONS: [(&str, &str); 3] =
    [("Register", "register"), ("Auth", "auth"), ("Attest", "attest")];

/// The package of the function that serves a route. `None` for a route that any function would answer, which
/// is not deployed.
fn package(function: Function) -> Option<&'static str> {
    match function {
        Function::Register => Some("register"),
        Function::Auth => Some("auth"),
        Function::Attest => Some("attest"),
        Function::Any => None,
    }
}

pub(crate) fn sub(text: &str) -> Value {
    json!({ "Fn::Sub": text })
}

/// A property that is there only under `condition`, with the value of `parameter`.
pub(crate) fn chosen(condition: &str, parameter: &str) -> Value {
    json!({"Fn::If": [condition, {"Ref": parameter}, {"Ref": "AWS::NoValue"}]})
}

#[test]
fn the_templates_routes_are_those_of_the_code() {
    let template = read("template.yaml");
    let mut deployed = BTreeSet::new();
    for (_, function) in resources(&template, "AWS::Serverless::Function") {
        let package = function["Properties"]["CodeUri"].as_str().unwrap().rsplit('/').next().unwrap();
        for event in function["Properties"]["Events"].as_object().unwrap().values() {
            assert_eq!(event["Type"], "HttpApi");
            let route = &event["Properties"];
            assert_eq!(route["ApiId"], json!({"Ref": "Api"}));
            assert_eq!(route["PayloadFormatVersion"], "2.0");
            let key = format!("{} {}", route["Method"].as_str().unwrap(), route["Path"].as_str().unwrap());
            // Only signed routes are behind the authoriser.
            let authorizer = route["Path"].as_str().unwrap().starts_with(SIGNED).then_some("AWS_IAM");
            assert_eq!(route["Auth"]["Authorizer"].as_str(), authorizer, "{key}");
            assert!(deployed.insert((key, package)));
        }
    }
    assert_eq!(deployed, deployed_routes().collect());
}

/// Every deployed route with API Gateway's name for it, and the package that serves it.
fn deployed_routes() -> impl Iterator<Item = (String, &'static str)> {
    let plain = ROUTES.into_iter().map(|route| (route, ""));
    let signed = ROUTES.into_iter().filter(|route| route.function == Function::Register);
    plain.chain(signed.map(|route| (route, SIGNED))).filter_map(|(route, prefix)| {
        package(route.function).map(|package| (format!("{} {prefix}{}", route.method, route.path), package))
    })
}

#[test]
fn every_route_has_a_throttle() {
    let template = read("template.yaml");
    let text = fs::read_to_string(workspace().join("infra/template.yaml")).unwrap();
    let settings = template["Resources"]["Api"]["Properties"]["RouteSettings"].as_object().unwrap();
    let routes: BTreeSet<_> = deployed_routes().map(|(route, _)| route).collect();
    assert_eq!(settings.keys().cloned().collect::<BTreeSet<_>>(), routes);
    let mut functions = BTreeMap::from_iter(deployed_routes());
    functions.insert("GET /kbs/v0/jwks".to_owned(), "keys");
    for (route, throttle) in settings {
        let (name, rate, burst) = match functions[route] {
            "register" => ("Register", 5, 10),
            "keys" => ("Keys", 10, 20),
            _ => ("Guest", 50, 100),
        };
        for (member, parameter, default) in
            [("ThrottlingRateLimit", "Rate", rate), ("ThrottlingBurstLimit", "Burst", burst)]
        {
            let parameter = format!("{name}{parameter}");
            assert_eq!(throttle[member], json!({ "Ref": parameter }), "{route}");
            let parameter = &template["Parameters"][parameter];
            assert_eq!(
                (&parameter["Default"], &parameter["MinValue"]),
                (&json!(default), &json!(1)),
                "{route}"
            );
        }
        // infra/smoke reads these lines.
        let limits = format!("ThrottlingRateLimit: !Ref {name}Rate, ThrottlingBurstLimit: !Ref {name}Burst");
        assert!(text.contains(&format!(" {route}: {{{limits}}}\n")), "{route}");
    }
}

#[test]
fn registration_has_no_default_and_takes_any_set_of_modes() {
    let template = read("template.yaml");
    let parameter = &template["Parameters"]["Registration"];
    assert!(parameter.get("Default").is_none());
    let allowed: Vec<_> =
        parameter["AllowedValues"].as_array().unwrap().iter().map(|set| set.as_str().unwrap()).collect();
    let sets: BTreeSet<_> = allowed
        .iter()
        .map(|set| Admission::parse(set).unwrap())
        .map(|set| (set.open, set.token, set.iam))
        .collect();
    assert_eq!((allowed.len(), sets.len()), (7, 7), "each set, once");

    let by_iam: Vec<_> = allowed
        .iter()
        .filter(|set| Admission::parse(set).unwrap().iam)
        .map(|set| json!({"Fn::Equals": [{"Ref": "Registration"}, set]}))
        .collect();
    assert_eq!(template["Conditions"]["RegistrationByIam"], json!({ "Fn::Or": by_iam }));
    let api = &template["Resources"]["Api"]["Properties"];
    assert_eq!(api["Auth"], json!({"EnableIamAuthorizer": true}));
    assert!(api.get("DefinitionBody").is_none());

    let variables = &template["Resources"]["Register"]["Properties"]["Environment"]["Variables"];
    assert_eq!(variables["KEYBROKER_REGISTRATION"], json!({"Ref": "Registration"}));

    let builders = &template["Resources"]["BuilderPolicy"];
    assert_eq!(builders["Condition"], "RegistrationByIam");
    let api = "arn:${AWS::Partition}:execute-api:${AWS::Region}:${AWS::AccountId}:${Api}";
    let registering = ROUTES.into_iter().filter(|route| route.function == Function::Register);
    let routes =
        registering.map(|route| sub(&format!("{api}/$default/{}{SIGNED}{}", route.method, route.path)));
    let statement = json!([{
        "Effect": "Allow",
        "Action": "execute-api:Invoke",
        "Resource": routes.collect::<Value>(),
    }]);
    assert_eq!(builders["Properties"]["PolicyDocument"]["Statement"], statement);
}

#[test]
fn each_function_has_a_package_a_role_and_a_log_of_its_own() {
    let template = read("template.yaml");
    let functions = resources(&template, "AWS::Serverless::Function").map(|(name, _)| name);
    let expected: BTreeSet<_> = FUNCTIONS.iter().map(|(name, _)| *name).collect();
    assert_eq!(functions.collect::<BTreeSet<_>>(), expected);
    let globals = json!({
        "Runtime": "provided.al2023",
        "Handler": "bootstrap",
        "Architectures": [{"Ref": "Architecture"}],
        "VpcConfig": {"Fn::If": [
            "InVpc",
            {
                "SubnetIds": {"Fn::Split": [",", {"Ref": "SubnetIds"}]},
                "SecurityGroupIds": {"Fn::Split": [",", {"Ref": "SecurityGroupIds"}]},
            },
            {"Ref": "AWS::NoValue"},
        ]},
        "Tracing": {"Fn::If": ["Traced", "Active", {"Ref": "AWS::NoValue"}]},
    });
    assert_eq!(template["Globals"]["Function"], globals);
    assert_eq!(template["Parameters"]["Architecture"]["Default"], "arm64");
    for ((name, package), timeout) in FUNCTIONS.into_iter().zip([10, 10, 29]) {
        let function = &template["Resources"][name]["Properties"];
        assert_eq!(function["FunctionName"], sub(&format!("${{Prefix}}-{package}")));
        assert_eq!(function["CodeUri"], format!("../target/lambda/{package}"));
        assert_eq!(function["Role"], json!({"Fn::GetAtt": format!("{name}Role.Arn")}));
        assert_eq!(
            function["LoggingConfig"],
            json!({"LogGroup": sub(&format!("/aws/lambda/${{Prefix}}/{package}"))})
        );
        assert_eq!(function["Timeout"], timeout);
        let reserved = chosen(&format!("{name}Reserved"), &format!("{name}Concurrency"));
        assert_eq!(function["ReservedConcurrentExecutions"], reserved);
        assert_eq!(function["CodeSigningConfigArn"], chosen("SignedCode", "CodeSigningConfigArn"));
        let role = &template["Resources"][format!("{name}Role")]["Properties"];
        assert_eq!(role["RoleName"], sub(&format!("${{Prefix}}-{package}")));
        assert_eq!(role["PermissionsBoundary"], chosen("Bounded", "PermissionsBoundary"));
    }
}

/// Traces need a right that no resource limits: the roles have it only if somebody asked for traces.
#[test]
fn the_roles_may_send_traces_where_they_are_asked_for() {
    let template = read("template.yaml");
    assert_eq!(template["Parameters"]["Tracing"]["Default"], "off");
    assert_eq!(template["Conditions"]["Traced"], json!({"Fn::Equals": [{"Ref": "Tracing"}, "on"]}));
    let policy = &template["Resources"]["TracingPolicy"];
    assert_eq!(policy["Condition"], "Traced");
    let actions = json!(["xray:PutTelemetryRecords", "xray:PutTraceSegments"]);
    let statement = json!([{"Effect": "Allow", "Action": actions, "Resource": "*"}]);
    assert_eq!(policy["Properties"]["PolicyDocument"]["Statement"], statement);
    let roles = FUNCTIONS.map(|(name, _)| json!({"Ref": format!("{name}Role")}));
    assert_eq!(policy["Properties"]["Roles"], json!(roles));
}

/// An operator can also set each setting that has a default by a parameter, and the parameter's default is
/// the code's.
#[test]
fn each_function_gets_its_own_settings_and_no_other() {
    let template = read("template.yaml");
    for (name, package) in FUNCTIONS {
        let given = &template["Resources"][name]["Properties"]["Environment"]["Variables"];
        let given = given.as_object().unwrap();
        let read_by = |function: &Function| self::package(*function) == Some(package);
        let read = VARIABLES.iter().filter(|variable| variable.read_by.iter().any(read_by));
        let read: BTreeMap<_, _> = read.map(|variable| (variable.name, variable.default)).collect();
        let names: BTreeSet<_> = given.keys().map(String::as_str).collect();
        assert_eq!(names, read.keys().copied().collect(), "{name}");
        for (variable, default) in read {
            let Some(default) = default else { continue };
            if ["KEYBROKER_MINIMUM_TCB", "KEYBROKER_ACCEPT_ANY_TCB"].contains(&variable) {
                continue; // one parameter without a default: see below
            }
            let parameter = &given[variable]["Ref"];
            let parameter = &template["Parameters"][parameter.as_str().unwrap()]["Default"];
            let deployed = parameter.as_str().map_or_else(|| parameter.to_string(), str::to_owned);
            // The code treats an empty value as no value.
            assert!(deployed.is_empty() || deployed == default, "{variable}: {deployed}, and not {default}");
        }
    }
}

/// A new deployment says which TCB it admits. One that is upgraded keeps its value, which may be empty: then
/// the function starts, warns, and an alarm rings.
#[test]
fn the_floor_of_the_tcb_has_no_default_and_can_be_any() {
    let template = read("template.yaml");
    assert!(template["Parameters"]["MinimumTcb"].get("Default").is_none());
    assert!(template["Parameters"]["MinimumTcb"].get("AllowedPattern").is_none());
    assert_eq!(template["Conditions"]["AnyTcb"], json!({"Fn::Equals": [{"Ref": "MinimumTcb"}, "any"]}));
    let given = &template["Resources"]["Attest"]["Properties"]["Environment"]["Variables"];
    let floor = json!({"Fn::If": ["AnyTcb", "", {"Ref": "MinimumTcb"}]});
    assert_eq!(given["KEYBROKER_MINIMUM_TCB"], floor);
    assert_eq!(given["KEYBROKER_ACCEPT_ANY_TCB"], json!({"Fn::If": ["AnyTcb", "yes", ""]}));
    let alarm = &template["Resources"]["NoTcbFloor"]["Properties"];
    assert_eq!((alarm["MetricName"].as_str(), alarm["Threshold"].as_u64()), (Some("NoTcbFloor"), Some(1)));
}

#[test]
fn each_role_may_do_exactly_what_its_function_calls() {
    let template = read("template.yaml");
    // Only the roles, the builders' policy and those for a VPC and for traces grant permissions.
    assert_eq!(resources(&template, "AWS::IAM::Role").count(), FUNCTIONS.len());
    let kinds = template["Resources"]
        .as_object()
        .unwrap()
        .values()
        .map(|resource| resource["Type"].as_str().unwrap());
    assert_eq!(kinds.filter(|kind| kind.starts_with("AWS::IAM::")).count(), FUNCTIONS.len() + 3);
    let network = json!({"Fn::If": ["InVpc", [{"Ref": "NetworkPolicy"}], {"Ref": "AWS::NoValue"}]});
    let lambda = json!({"Service": "lambda.amazonaws.com"});
    let trust = json!({"Effect": "Allow", "Principal": lambda, "Action": "sts:AssumeRole"});
    for (name, function) in FUNCTIONS {
        let role = &template["Resources"][format!("{name}Role")]["Properties"];
        assert_eq!(role["AssumeRolePolicyDocument"]["Statement"], json!([trust]));
        assert_eq!(role["ManagedPolicyArns"], network);
        let [policy] = role["Policies"].as_array().unwrap().as_slice() else { panic!("{name}: one policy") };

        let mut logs = Vec::new();
        let mut granted = BTreeSet::new();
        let mut conditions = BTreeMap::new();
        for statement in policy["PolicyDocument"]["Statement"].as_array().unwrap() {
            // No key that could change the meaning of the list, such as NotAction. A condition takes away.
            let mut keys: BTreeSet<_> = statement.as_object().unwrap().keys().map(String::as_str).collect();
            if keys.remove("Condition") {
                let on = &of_storage(&statement["Resource"])["Fn::ImportValue"]["Fn::Sub"];
                let actions = one_or_many(&statement["Action"]).into_iter().cloned().collect::<Value>();
                conditions.insert((on.to_string(), actions.to_string()), statement["Condition"].clone());
            }
            assert_eq!(keys, BTreeSet::from(["Action", "Effect", "Resource"]), "{name}");
            assert_eq!(statement["Effect"], "Allow");
            for action in one_or_many(&statement["Action"]).into_iter().map(|action| action.as_str().unwrap())
            {
                for resource in one_or_many(&statement["Resource"]) {
                    let on = of_storage(resource)["Fn::ImportValue"]["Fn::Sub"]
                        .as_str()
                        .and_then(|name| name.strip_prefix("${Prefix}-"));
                    let on = on.unwrap_or_else(|| panic!("{name}: {action} on {resource}"));
                    if on == format!("{function}-log") {
                        logs.push(action);
                        continue;
                    }
                    assert!(granted.insert((action, on)), "{name}: {action} on {on} twice");
                }
            }
        }
        assert_eq!(logs, ["logs:CreateLogStream", "logs:PutLogEvents"], "{name}");
        let called = permissions().filter(|row| row.function == function).map(|row| (row.action, row.on));
        assert_eq!(granted, called.collect(), "{name}");
        let expected = conditions_of(function).into_iter().map(|(on, actions, condition)| {
            ((json!(format!("${{Prefix}}-{on}")).to_string(), json!(actions).to_string()), condition)
        });
        assert_eq!(conditions, expected.collect(), "{name}");
    }
}

/// Lambda needs a role's right to make network interfaces. The code that runs under the role never has it.
#[test]
fn only_lambda_itself_makes_network_interfaces() {
    let template = read("template.yaml");
    let network = &template["Resources"]["NetworkPolicy"];
    assert_eq!(network["Condition"], "InVpc");
    let not_empty = json!({"Fn::Not": [{"Fn::Equals": [{"Ref": "SubnetIds"}, ""]}]});
    assert_eq!(template["Conditions"]["InVpc"], not_empty);
    let interfaces = ["AssignPrivateIpAddresses", "CreateNetworkInterface", "DeleteNetworkInterface"];
    let others = ["DescribeNetworkInterfaces", "DescribeSubnets", "UnassignPrivateIpAddresses"];
    let actions = interfaces.into_iter().chain(others).map(|action| format!("ec2:{action}"));
    let statement = json!([{
        "Effect": "Allow",
        "Action": actions.collect::<Value>(),
        "Resource": "*",
        "Condition": {"Null": {"lambda:SourceFunctionArn": "true"}},
    }]);
    assert_eq!(network["Properties"]["PolicyDocument"]["Statement"], statement);
}

/// A client's certificate is asked for under the own domain alone. So a template with a truststore, and the
/// API's other name still open, is refused by a rule. `infra/parameters.py` tries the rules.
#[test]
fn a_truststore_leaves_no_other_way_in() {
    let template = read("template.yaml");
    let closed = json!({"Fn::Equals": [{"Ref": "DisableExecuteApiEndpoint"}, "yes"]});
    let rule = &template["Rules"]["TruststoreIsTheOnlyWay"];
    assert_eq!(rule["RuleCondition"], json!({"Fn::Not": [{"Fn::Equals": [{"Ref": "TruststoreUri"}, ""]}]}));
    assert_eq!(rule["Assertions"][0]["Assert"], closed);
    assert_eq!(template["Conditions"]["OwnDomainAlone"], closed);
    let api = &template["Resources"]["Api"]["Properties"];
    assert_eq!(api["DisableExecuteApiEndpoint"], json!({"Fn::If": ["OwnDomainAlone", true, false]}));
    let certified = &template["Resources"]["Domain"]["Properties"]["MutualTlsAuthentication"]["Fn::If"];
    assert_eq!(
        (&certified[0], &certified[1]["TruststoreUri"]),
        (&json!("ClientsCertified"), &json!({"Ref": "TruststoreUri"}))
    );
}

/// The limits of a role beyond the table: the contexts under which it uses the key, the rows of the broker's
/// own keys, and what selects workloads.
fn conditions_of(function: &str) -> Vec<(&'static str, Vec<&'static str>, Value)> {
    let purposes = |purposes: Value| json!({"StringEquals": {"kms:EncryptionContext:purpose": purposes}});
    let secrets = EncryptionContext::PURPOSE;
    let [challenge, session, result, signature] = Purpose::ALL.map(Purpose::context);
    let selections = |condition: &str| {
        json!({
            (format!("ForAllValues:{condition}")): {"dynamodb:LeadingKeys": ["host-data#*"]},
            "Null": {"dynamodb:LeadingKeys": "false"},
        })
    };
    match function {
        "register" => vec![("workloads", vec!["dynamodb:DeleteItem"], selections("StringLike"))],
        "auth" => vec![
            (
                "keys",
                vec!["dynamodb:GetItem", "dynamodb:PutItem"],
                json!({
                    "ForAllValues:StringEquals": {"dynamodb:LeadingKeys": [Purpose::Challenge.name()]},
                    "Null": {"dynamodb:LeadingKeys": "false"},
                }),
            ),
            ("key", vec!["kms:Decrypt", "kms:Encrypt"], purposes(json!(challenge))),
        ],
        "attest" => vec![
            ("workloads", vec!["dynamodb:UpdateItem"], selections("StringNotLike")),
            ("key", vec!["kms:Decrypt"], purposes(json!([secrets, challenge, session, result, signature]))),
            ("key", vec!["kms:Encrypt"], purposes(json!([challenge, session, result, signature]))),
        ],
        _ => vec![],
    }
}

#[test]
fn the_roles_name_what_the_storage_exports() {
    let storage = read("storage.yaml");
    let mut exports = BTreeSet::new();
    for output in storage["Outputs"].as_object().unwrap().values() {
        let export =
            output["Export"]["Name"]["Fn::Sub"].as_str().unwrap().strip_prefix("${Prefix}-").unwrap();
        // In place of its own key the stack can export the one that took over.
        let own = match output["Value"]["Fn::If"].as_array().map(Vec::as_slice) {
            Some([condition, own, other]) if condition == "KeyIsOwn" => {
                assert_eq!(*other, json!({"Ref": "KeyArn"}));
                own
            }
            _ => &output["Value"],
        };
        let resource = own["Fn::GetAtt"].as_str().unwrap().strip_suffix(".Arn").unwrap();
        assert_eq!(export.replace('-', ""), resource.to_lowercase());
        exports.insert(export);
    }
    let tables_and_key = permissions().map(|row| row.on);
    let expected = tables_and_key.chain(LOGS.map(|(name, _)| name)).chain(RETIRED);
    assert_eq!(exports, expected.collect());
}

/// The resource as the storage exports it. In place of its key an operator can name others.
fn of_storage(resource: &Value) -> &Value {
    match resource["Fn::If"].as_array().map(Vec::as_slice) {
        Some([condition, named, exported]) if condition == "KeysAreNamed" => {
            assert_eq!(*named, json!({"Fn::Split": [",", {"Ref": "KeyArns"}]}));
            exported
        }
        _ => resource,
    }
}

/// The tables that the functions of 0.1 import: they stay until no deployed stack imports them.
const RETIRED: [&str; 2] = ["challenges", "sessions"];

/// The storage's export for each log group, and the name of that group.
const LOGS: [(&str, &str); 4] = [
    ("register-log", "/aws/lambda/${Prefix}/register"),
    ("auth-log", "/aws/lambda/${Prefix}/auth"),
    ("attest-log", "/aws/lambda/${Prefix}/attest"),
    ("access-log", "/aws/vendedlogs/${Prefix}/access"),
];

/// The second copy of the audit records is in these log groups. The groups stay; their events end after as
/// many days as the operator sets.
#[test]
fn logs_outlive_releases_mistakes_and_the_stack() {
    let (template, storage) = (read("template.yaml"), read("storage.yaml"));
    assert_eq!(resources(&template, "AWS::Logs::LogGroup").count(), 0);
    assert_eq!(resources(&storage, "AWS::Logs::LogGroup").count(), LOGS.len());
    assert!(storage["Parameters"]["LogRetentionDays"]["Default"].as_u64().unwrap() >= 365);
    for (export, name) in LOGS {
        let resource = storage["Resources"]
            .as_object()
            .unwrap()
            .iter()
            .find(|(resource, _)| resource.to_lowercase() == export.replace('-', ""));
        let expected = json!({
            "Type": "AWS::Logs::LogGroup",
            "DeletionPolicy": "Retain",
            "UpdateReplacePolicy": "Retain",
            "Properties": {
                "LogGroupName": sub(name),
                "RetentionInDays": {"Ref": "LogRetentionDays"},
                "KmsKeyId": chosen("OwnLogKey", "LogKeyArn"),
                "DeletionProtectionEnabled": true,
            },
        });
        assert_eq!(*resource.unwrap().1, expected, "{export}");
    }
}

#[test]
fn the_access_log_holds_neither_bodies_nor_cookies() {
    let template = read("template.yaml");
    let access = &template["Resources"]["Api"]["Properties"]["AccessLogSettings"];
    assert_eq!(access["DestinationArn"], json!({"Fn::ImportValue": sub("${Prefix}-access-log")}));
    let format: Value = serde_json::from_str(access["Format"].as_str().unwrap()).unwrap();
    let expected = json!({
        "time": "$context.requestTime",
        "id": "$context.requestId",
        "route": "$context.routeKey",
        "status": "$context.status",
        "source": "$context.identity.sourceIp",
        "principal": "$context.identity.userArn",
        "latency": "$context.responseLatency",
        "error": "$context.integrationErrorMessage",
    });
    assert_eq!(format, expected);
}

/// The metrics that an alarm watches: namespace, name, and each dimension with its value.
fn watched(alarm: &Value) -> Vec<(String, String, Value)> {
    let of = |metric: &Value| {
        let named = |name: &str| metric[name].as_str().map(str::to_owned);
        let namespace = named("Namespace").unwrap_or_else(|| "own".to_owned());
        assert!(namespace != "own" || metric["Namespace"] == own_namespace(), "{metric}");
        (namespace, named("MetricName").unwrap(), metric.get("Dimensions").cloned().unwrap_or_default())
    };
    let Some(metrics) = alarm["Metrics"].as_array() else { return vec![of(alarm)] };
    let [all, metrics @ ..] = metrics.as_slice() else { panic!("{alarm}") };
    assert_eq!(*all, json!({"Id": "all", "Expression": "SUM(METRICS())", "Period": 300}));
    // CloudWatch takes no more metrics in an alarm.
    assert!(metrics.len() <= 10, "{alarm}");
    let parts = metrics.iter().inspect(|part| assert_eq!(part["ReturnData"], false));
    parts.map(|part| of(&part["MetricStat"]["Metric"])).collect()
}

#[test]
fn alarms_watch_what_operators_are_told_to_expect() {
    let template = read("template.yaml");
    let alarms = resources(&template, "AWS::CloudWatch::Alarm").map(|(_, alarm)| &alarm["Properties"]);
    let found: BTreeSet<_> = alarms
        .inspect(|alarm| {
            // Only an age says nothing by its absence.
            let missing = if alarm["MetricName"] == "ListAge" { "ignore" } else { "notBreaching" };
            assert_eq!(alarm["TreatMissingData"], missing);
            assert_eq!(alarm["AlarmActions"], alarm["OKActions"], "{alarm}");
        })
        .flat_map(watched)
        .map(|(namespace, metric, dimensions)| (namespace, metric, dimensions.to_string()))
        .collect();
    let row = |namespace: &str, metric: &str, dimensions: Value| {
        (namespace.to_owned(), metric.to_owned(), dimensions.to_string())
    };
    let named = |name: &str, value: Value| json!({"Name": name, "Value": value});
    let own = ["KdsThrottled", "Unauthenticated", "KeyUnavailable", "NoTcbFloor", "Refused", "GuestsBehind"];
    let own =
        own.into_iter().chain(["ListAge", "GatewayThrottled"]).map(|metric| row("own", metric, Value::Null));
    let gateway = row("AWS/ApiGateway", "5xx", json!([named("ApiId", json!({"Ref": "Api"}))]));
    let lambda = FUNCTIONS.into_iter().flat_map(|(function, _)| {
        let of = json!([named("FunctionName", json!({"Ref": function}))]);
        ["Errors", "Throttles"].map(|metric| row("AWS/Lambda", metric, of.clone()))
    });
    // Every table that a function uses, and the indexes, which hold up the writes to their tables.
    let used: BTreeSet<_> =
        permissions().map(|row| row.on).filter(|on| *on != "key").chain(["audit"]).collect();
    let table = |name: &str| named("TableName", sub(&format!("${{Prefix}}-{name}")));
    let tables = used.into_iter().flat_map(|name| {
        ["ReadThrottleEvents", "WriteThrottleEvents"]
            .map(|metric| row("AWS/DynamoDB", metric, json!([table(name)])))
    });
    let index = named("GlobalSecondaryIndexName", json!("workload"));
    let indexes = ["decisions", "audit"]
        .map(|name| row("AWS/DynamoDB", "WriteThrottleEvents", json!([table(name), index.clone()])));
    let expected = own.chain([gateway]).chain(lambda).chain(tables).chain(indexes);
    assert_eq!(found, expected.collect());
}

/// An HTTP API has no metric for 429: they are counted in its log, where `status` is a text.
#[test]
fn the_gateways_throttles_are_counted_in_its_log() {
    let template = read("template.yaml");
    let filters: Vec<_> = resources(&template, "AWS::Logs::MetricFilter").collect();
    let [(_, filter)] = filters.as_slice() else { panic!("{filters:?}") };
    let filter = &filter["Properties"];
    assert_eq!(filter["LogGroupName"], sub("/aws/vendedlogs/${Prefix}/access"));
    assert_eq!(filter["FilterPattern"], r#"{ $.status = "429" }"#);
    let counted = json!([{
        "MetricNamespace": own_namespace(),
        "MetricName": "GatewayThrottled",
        "MetricValue": "1",
        "Unit": "Count",
    }]);
    assert_eq!(filter["MetricTransformations"], counted);
}

/// The functions read the prefix from their names: `each_function_has_a_package_a_role_and_a_log_of_its_own`.
fn own_namespace() -> Value {
    json!({"Ref": "Prefix"})
}

#[test]
fn every_parameter_is_in_the_manual() {
    let manual = ["aws-parameters.md", "aws.md", "operations.md"];
    let manual = manual.map(|page| fs::read_to_string(workspace().join("docs").join(page)).unwrap());
    for name in ["storage.yaml", "template.yaml"] {
        for parameter in read(name)["Parameters"].as_object().unwrap().keys() {
            let told = [format!("`{parameter}`"), format!("`{parameter}=")];
            let told = |page: &String| told.iter().any(|text| page.contains(text));
            assert!(manual.iter().any(told), "{name}: {parameter}");
        }
    }
}

/// `infra/smoke` finds the API by its name. Without one, SAM gives the API the stack's name.
#[test]
fn the_api_has_the_name_that_smoke_looks_for() {
    let template = read("template.yaml");
    assert_eq!(template["Resources"]["Api"]["Properties"]["Name"], json!({"Ref": "Prefix"}));
    let smoke = fs::read_to_string(workspace().join("infra/smoke")).unwrap();
    assert!(smoke.contains("Items[?Name=='$prefix'].ApiId"));
}

/// The suite `seen` looks for every metric in the functions' log that an alarm or the manual names.
#[test]
fn every_metric_in_alarms_and_manual_is_measured() {
    let template = read("template.yaml");
    let alarms = resources(&template, "AWS::CloudWatch::Alarm").map(|(_, alarm)| &alarm["Properties"]);
    let watched = alarms.flat_map(watched).filter(|(namespace, ..)| namespace == "own");
    // This one is made of the gateway's log.
    let watched = watched.map(|(_, metric, _)| metric).filter(|metric| metric != "GatewayThrottled");
    let manual = fs::read_to_string(workspace().join("docs/operations.md")).unwrap();
    let told = manual.split("metric `").skip(1).map(|rest| rest.split('`').next().unwrap().to_owned());
    let named: BTreeSet<_> = watched.chain(told).collect();
    assert!(named.len() > 3, "{named:?}");
    for name in named {
        assert!(METRICS.contains(&name.as_str()), "{name}");
    }
}

#[test]
fn outputs_are_addresses_and_nothing_else() {
    let template = read("template.yaml");
    let outputs: Vec<_> = template["Outputs"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(BTreeSet::from_iter(outputs), BTreeSet::from(["BuilderPolicyArn", "DomainTarget", "Url"]));
}

/// By it a challenge counts only where it was given. It must name the region: a global table's copy of the
/// decisions may lack the newest.
#[test]
fn challenges_are_of_an_account_a_region_and_a_prefix() {
    let template = read("template.yaml");
    for (name, _) in FUNCTIONS.into_iter().filter(|(_, package)| *package != "register") {
        let variables = &template["Resources"][name]["Properties"]["Environment"]["Variables"];
        let deployment = sub("${AWS::AccountId}/${AWS::Region}/${Prefix}");
        assert_eq!(variables["KEYBROKER_DEPLOYMENT"], deployment, "{name}");
    }
}
