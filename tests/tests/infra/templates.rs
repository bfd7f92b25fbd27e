//! The functions' template agrees with the code: the routes, the settings, and what must never be switched
//! off.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::Command,
};

use keybroker_common::{
    admission::Admission,
    config::VARIABLES,
    function::Function,
    http::{ROUTES, SIGNED},
};
use keybroker_tests::program::{script, workspace};
use serde_json::{Value, json};

use crate::yaml::{read, resources};

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
        "Tracing": {"Fn::If": ["Traced", "Active", "PassThrough"]},
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
        // Drift shows only in what a template says, so it says that there is no layer.
        let layers = match package {
            "attest" => json!({"Fn::If": ["AdvisoriesInLayer", [{"Ref": "AdvisoriesLayer"}], []]}),
            _ => json!([]),
        };
        assert_eq!(function["Layers"], layers, "{name}");
        let role = &template["Resources"][format!("{name}Role")]["Properties"];
        assert_eq!(role["RoleName"], sub(&format!("${{Prefix}}-{package}")));
        assert_eq!(role["PermissionsBoundary"], chosen("Bounded", "PermissionsBoundary"));
    }
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
    let domain = &template["Resources"]["Domain"]["Properties"];
    let tls = json!([{
        "CertificateArn": {"Ref": "CertificateArn"}, "EndpointType": "REGIONAL", "SecurityPolicy": "TLS_1_2",
    }]);
    assert_eq!(domain["DomainNameConfigurations"], tls);
    let certified = &domain["MutualTlsAuthentication"]["Fn::If"];
    assert_eq!(
        (&certified[0], &certified[1]["TruststoreUri"]),
        (&json!("ClientsCertified"), &json!({"Ref": "TruststoreUri"}))
    );
}

/// The storage's export for each log group, and the name of that group.
pub(crate) const LOGS: [(&str, &str); 4] = [
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
        "answer": "$context.integration.status",
        "error": "$context.integrationErrorMessage",
    });
    assert_eq!(format, expected);
}

/// In a policy a `*` would stand for any role or key.
#[test]
fn no_name_in_a_policy_takes_a_wildcard() {
    for name in ["storage.yaml", "key.yaml", "template.yaml", "watch.yaml", "examples/keys.yaml"] {
        let template = read(name);
        assert_eq!(template["Parameters"]["Prefix"]["AllowedPattern"], "[a-z][a-z0-9-]{0,30}", "{name}");
    }
    let key = "arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/[a-z0-9-]+";
    let keys = format!("({key}(,{key})*)?");
    assert_eq!(read("template.yaml")["Parameters"]["KeyArns"]["AllowedPattern"], keys);
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

/// Every one of its checks would fail, as if AWS had refused or allowed what it should not.
#[test]
fn smoke_tries_nothing_without_the_command_line_and_a_deployment() {
    let directory = tempfile::tempdir().unwrap();
    let fake = directory.path().join("aws");
    for (version, said) in
        [("aws-cli/1.45.11 Python/3.11.7", "version 2"), ("aws-cli/2.31.0 Python/3.13.7", "no deployment")]
    {
        script(&fake, &format!("#!/bin/sh\ncase $1 in --version) echo {version} ;; *) exit 254 ;; esac\n"));
        let path = format!("{}:{}", directory.path().display(), std::env::var("PATH").unwrap());
        let ended = Command::new(workspace().join("infra/smoke")).env("PATH", path).output().unwrap();
        assert_eq!((ended.status.code(), ended.stdout.as_slice()), (Some(1), &b""[..]), "{version}");
        assert!(String::from_utf8(ended.stderr).unwrap().contains(said), "{version}");
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
