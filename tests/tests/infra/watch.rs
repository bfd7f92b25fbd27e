//! The stack that watches. `infra/watched` tries its rules on calls. These tests look at what the rules rest
//! on, at the trail, and at what the dashboard shows.

use std::collections::BTreeSet;

use keybroker_tests::{metrics::METRICS, permissions::permissions};
use serde_json::{Value, json};

use crate::{
    alarms::OF_THE_LOG,
    templates::{FUNCTIONS, sub},
    yaml::{read, resources},
};

/// A rule names itself so that the watch's own rules recognise it, and every rule tells the same topic.
#[test]
fn every_rule_is_watched_enabled_and_tells_the_topic() {
    let template = read("watch.yaml");
    let topic = json!({"Fn::If": ["OwnTopic", {"Ref": "Topic"}, {"Ref": "AlarmTopicArn"}]});
    let mut rules = 0;
    for (name, rule) in resources(&template, "AWS::Events::Rule") {
        let rule = &rule["Properties"];
        assert!(rule["Name"]["Fn::Sub"].as_str().unwrap().starts_with("${Prefix}-watch-"), "{name}");
        assert_eq!(rule["Targets"], json!([{"Id": "topic", "Arn": topic}]), "{name}");
        let state = (name == "RoleTaken").then_some("ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS");
        assert_eq!(rule.get("State").and_then(Value::as_str), state, "{name}: enabled by default");
        rules += 1;
    }
    assert_eq!(rules, 10);
}

/// EventBridge documents that a topic's policy can have no condition for it: the watch would be silent.
#[test]
fn rules_may_publish_without_a_condition_and_alarms_of_this_account_alone() {
    let template = read("watch.yaml");
    let policy = &template["Resources"]["TopicPolicy"]["Properties"]["PolicyDocument"]["Statement"];
    let publish = |sid: &str, service: &str| {
        json!({
            "Sid": sid, "Effect": "Allow", "Principal": {"Service": service},
            "Action": "sns:Publish", "Resource": {"Ref": "Topic"},
        })
    };
    let mut alarms = publish("AlarmsPublish", "cloudwatch.amazonaws.com");
    alarms["Condition"] = json!({"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}});
    assert_eq!(*policy, json!([publish("RulesPublish", "events.amazonaws.com"), alarms]));
}

/// Without them in the functions' stack, no deployment of that stack silences the watch.
#[test]
fn the_functions_stack_has_no_part_in_the_watch() {
    let template = read("template.yaml");
    for kind in ["AWS::Events::Rule", "AWS::SNS::Topic", "AWS::CloudTrail::Trail", "AWS::S3::Bucket"] {
        assert_eq!(resources(&template, kind).count(), 0, "{kind}");
    }
}

#[test]
fn the_trail_is_kept_whole_and_away_from_everybody() {
    let template = read("watch.yaml");
    let bucket = &template["Resources"]["Bucket"];
    assert_eq!(
        (&bucket["DeletionPolicy"], &bucket["UpdateReplacePolicy"]),
        (&json!("Retain"), &json!("Retain"))
    );
    let bucket = &bucket["Properties"];
    let closed = &bucket["PublicAccessBlockConfiguration"];
    assert!(closed.as_object().unwrap().values().all(|closed| *closed == true), "{closed}");
    assert_eq!(bucket["VersioningConfiguration"], json!({"Status": "Enabled"}));
    assert_eq!(bucket["OwnershipControls"], json!({"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}));
    let days = json!({"Ref": "TrailRetentionDays"});
    let kept = json!({"Rules": [{
        "Status": "Enabled",
        "ExpirationInDays": days,
        "NoncurrentVersionExpiration": {"NoncurrentDays": days},
    }]});
    assert_eq!(bucket["LifecycleConfiguration"], kept);
    assert_eq!(template["Parameters"]["TrailRetentionDays"]["MinValue"], 90);
    let trail = &template["Resources"]["OwnedTrail"]["Properties"];
    assert_eq!((&trail["IsLogging"], &trail["EnableLogFileValidation"]), (&json!(true), &json!(true)));
    // CloudTrail alone writes, for this trail alone.
    assert_eq!(trail["TrailName"], sub("${Prefix}-watch"));
    let bucket = json!({"Fn::GetAtt": "Bucket.Arn"});
    let writes = |sid: &str, action: &str, on: Value| {
        json!({
            "Sid": sid, "Effect": "Allow", "Principal": {"Service": "cloudtrail.amazonaws.com"},
            "Action": action, "Resource": on,
            "Condition": {"StringEquals": {"aws:SourceArn": sub(
                "arn:${AWS::Partition}:cloudtrail:${AWS::Region}:${AWS::AccountId}:trail/${Prefix}-watch"
            )}},
        })
    };
    let policy = &template["Resources"]["BucketPolicy"]["Properties"]["PolicyDocument"]["Statement"];
    let expected = json!([
        writes("TheTrailAsks", "s3:GetBucketAcl", bucket.clone()),
        writes("TheTrailWrites", "s3:PutObject", sub("${Bucket.Arn}/AWSLogs/${AWS::AccountId}/*")),
        {
            "Sid": "NothingInTheClear", "Effect": "Deny", "Principal": "*", "Action": "s3:*",
            "Resource": [bucket, sub("${Bucket.Arn}/*")],
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        },
    ]);
    assert_eq!(*policy, expected);
}

/// The rules and `infra/reconcile` rest on what it records.
#[test]
fn the_trail_leaves_out_nothing_that_is_looked_for() {
    let template = read("watch.yaml");
    let only = |field: &str, value: Value| json!({"Field": field, "Equals": value});
    // All of them, KMS's and those that only read among them.
    let management = json!({
        "Name": "management", "FieldSelectors": [only("eventCategory", json!(["Management"]))],
    });
    // The rows that only attest may write, those that it releases, and the keys that it makes sessions with.
    let imported = ["decisions", "workloads", "keys"]
        .map(|name| json!({"Fn::ImportValue": sub(&format!("${{Prefix}}-{name}"))}));
    let tables = json!({"Name": "tables", "FieldSelectors": [
        only("eventCategory", json!(["Data"])),
        only("resources.type", json!(["AWS::DynamoDB::Table"])),
        only("readOnly", json!(["false"])),
        only("resources.ARN", json!(imported)),
    ]});
    let of = "arn:${AWS::Partition}:lambda:${AWS::Region}:${AWS::AccountId}:function:${Prefix}-";
    let functions = json!({"Name": "functions", "FieldSelectors": [
        only("eventCategory", json!(["Data"])),
        only("resources.type", json!(["AWS::Lambda::Function"])),
        {"Field": "resources.ARN", "StartsWith": [sub(of)]},
    ]});
    let selectors = &template["Resources"]["OwnedTrail"]["Properties"]["AdvancedEventSelectors"];
    let chosen = |condition: &str, one: Value| json!({"Fn::If": [condition, one, {"Ref": "AWS::NoValue"}]});
    let expected = json!([
        chosen("ManagementEvents", management),
        chosen("DataEvents", tables),
        chosen("DataEvents", functions),
    ]);
    assert_eq!(*selectors, expected);
}

/// IAM's events come to a trail of us-east-1 that takes events of global services, and by that to the rule
/// for roles.
#[test]
fn a_trail_beside_the_rules_for_roles_gets_their_events() {
    let template = read("watch.yaml");
    let trail = &template["Resources"]["OwnedTrail"];
    assert_eq!(trail["Properties"]["IncludeGlobalServiceEvents"], true);
    assert_eq!(trail["Condition"], "OwnTrail", "whatever the scope");
    let roles = &template["Resources"]["Roles"];
    assert!(roles.get("Condition").is_none(), "whatever the scope");
}

/// S3 takes 63 characters.
#[test]
fn the_longest_prefix_can_have_a_bucket() {
    let template = read("watch.yaml");
    let name = template["Resources"]["Bucket"]["Properties"]["BucketName"]["Fn::Sub"].as_str().unwrap();
    let longest = "p".repeat(31);
    let name = name.replace("${Prefix}", &longest).replace("${AWS::AccountId}", "123456789012");
    assert!(name.replace("${AWS::Region}", "ap-southeast-1").len() <= 63, "{name}");
    // The rule that watches the bucket knows it by the same name.
    let trails = &template["Resources"]["Trails"]["Properties"]["EventPattern"]["detail"]["$or"];
    let watched = &trails[1]["requestParameters"]["bucketName"][0];
    assert_eq!(*watched, template["Resources"]["Bucket"]["Properties"]["BucketName"]);
}

/// A metric of the dashboard: namespace, name, and dimensions with their values.
fn drawn(metric: &Value) -> (String, String, Vec<(String, String)>) {
    let texts: Vec<_> =
        metric.as_array().unwrap().iter().filter_map(Value::as_str).map(str::to_owned).collect();
    let [namespace, name, dimensions @ ..] = texts.as_slice() else { panic!("{metric}") };
    let dimensions = dimensions.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect();
    (namespace.clone(), name.clone(), dimensions)
}

/// A prefix may have a hyphen, and then CloudWatch's search takes it only in quotes.
#[test]
fn the_dashboard_draws_every_metric_and_none_that_there_is_not() {
    let prefix = "own-broker";
    let template = read("watch.yaml");
    let body = template["Resources"]["Board"]["Properties"]["DashboardBody"]["Fn::Sub"].as_str().unwrap();
    let body = body.replace("${Prefix}", prefix).replace("${ApiId}", "api").replace("${AWS::Region}", "here");
    assert!(!body.contains("${"), "{body}");
    let body: Value = serde_json::from_str(&body).unwrap();
    let widgets = body["widgets"].as_array().unwrap();

    // No two in one place, and none beyond the edge.
    let mut places = BTreeSet::new();
    for widget in widgets {
        let [x, y, width] = ["x", "y", "width"].map(|name| widget[name].as_u64().unwrap());
        assert!(x + width <= 24 && places.insert((x, y)), "{widget}");
        assert_eq!(widget["properties"]["region"], "here");
        assert!(widget["properties"]["title"].is_string());
    }

    let metrics = widgets.iter().flat_map(|widget| widget["properties"]["metrics"].as_array().unwrap());
    let (searched, plain): (Vec<_>, Vec<_>) = metrics.partition(|metric| metric[0].is_object());
    // The two that have the cause for a dimension.
    let searched: Vec<_> = searched.iter().map(|metric| metric[0]["expression"].as_str().unwrap()).collect();
    let by_cause = |name: &str| format!(r#"SEARCH('{{"{prefix}",Cause}} MetricName="{name}"', 'Sum')"#);
    assert_eq!(searched, [by_cause("Refused"), by_cause("Unavailable")]);

    let functions: BTreeSet<_> = FUNCTIONS.iter().map(|(_, package)| format!("{prefix}-{package}")).collect();
    let tables: BTreeSet<_> = permissions()
        .map(|row| row.on)
        .filter(|on| *on != "key")
        .map(|on| format!("{prefix}-{on}"))
        .collect();
    let (mut own, mut of_functions, mut of_tables) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for (namespace, name, dimensions) in plain.into_iter().map(drawn) {
        match (namespace.as_str(), dimensions.as_slice()) {
            (namespace, []) if namespace == prefix => assert!(own.insert(name.clone()), "{name} twice"),
            ("AWS/Lambda", [(dimension, function)]) => {
                assert_eq!(dimension, "FunctionName");
                assert!(["Duration", "Errors", "Throttles", "ConcurrentExecutions"].contains(&name.as_str()));
                of_functions.insert(function.clone());
            }
            ("AWS/DynamoDB", [(dimension, table), index @ ..]) => {
                assert_eq!(dimension, "TableName");
                assert!(["ReadThrottleEvents", "WriteThrottleEvents"].contains(&name.as_str()));
                let of_index = ("GlobalSecondaryIndexName".to_owned(), "workload".to_owned());
                assert!(index.iter().all(|dimension| *dimension == of_index), "{index:?}");
                of_tables.insert(table.clone());
            }
            ("AWS/ApiGateway", [(dimension, api)]) => {
                assert_eq!((dimension.as_str(), api.as_str()), ("ApiId", "api"));
                assert!(["Count", "4xx", "5xx", "Latency"].contains(&name.as_str()), "{name}");
            }
            other => panic!("{other:?} {name}"),
        }
    }
    assert_eq!((of_functions, of_tables), (functions, tables));
    let expected = METRICS.into_iter().filter(|name| !["Refused", "Unavailable"].contains(name));
    assert_eq!(own, expected.chain(OF_THE_LOG).map(str::to_owned).collect());
}
