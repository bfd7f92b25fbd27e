//! `doctor` on deployments with faults.

use std::io::Write as _;

use aws_sdk_dynamodb::types::{
    DeleteGlobalSecondaryIndexAction, GlobalSecondaryIndexUpdate, TimeToLiveSpecification,
};
use keybroker_tests::{
    local_aws,
    operator::{Contents, Operator},
    program::Ended,
    upstream::{Upstream, field, response},
    world::kds,
};
use serde_json::{Value, json};

/// CloudWatch, SNS and CloudWatch Logs, as they answer with these alarms, subscribers and groups.
fn watching(alarms: Value, subscribers: u32, groups: Value) -> Upstream {
    Upstream::start(move |request, stream| {
        let answer = match field(request, "x-amz-target").as_slice() {
            ["GraniteServiceVersion20100801.DescribeAlarms"] => json!({"MetricAlarms": alarms}).to_string(),
            ["Logs_20140328.DescribeLogGroups"] => json!({"logGroups": groups}).to_string(),
            _ if request.contains("Action=GetTopicAttributes") => format!(
                "<GetTopicAttributesResponse><GetTopicAttributesResult><Attributes><entry>\
                 <key>SubscriptionsConfirmed</key><value>{subscribers}</value></entry></Attributes>\
                 </GetTopicAttributesResult></GetTopicAttributesResponse>"
            ),
            _ => panic!("{request}"),
        };
        assert!(!field(request, "authorization").is_empty(), "it is signed");
        let _ = stream.write_all(&response(200, "", answer));
    })
}

/// The findings of one check: verdicts and texts.
fn found(operator: &Operator, watched: &Upstream, check: &str) -> Vec<(String, String)> {
    let kds = kds();
    let mut doctor = operator.command(&["doctor", "--json", "--kds-url", &kds.url()]);
    for service in ["CLOUDWATCH", "CLOUDWATCH_LOGS", "SNS"] {
        doctor.env(format!("AWS_ENDPOINT_URL_{service}"), &watched.url);
    }
    let ended: Ended = doctor.output().unwrap().into();
    let document: Value = serde_json::from_str(&ended.out).unwrap_or_else(|_| panic!("{ended:?}"));
    let findings = document["findings"].as_array().unwrap().clone();
    let of_check = findings.into_iter().filter(|one| one["check"] == check);
    let text = |one: &Value, name: &str| one[name].as_str().unwrap().to_owned();
    of_check.map(|one| (text(&one, "verdict"), text(&one, "finding"))).collect()
}

#[tokio::test]
async fn doctor_finds_each_fault_of_a_deployment() {
    let operator = Operator::aws(&Contents::default()).await;
    let table = operator.table("decisions");
    let prefix = table.strip_suffix("-decisions").unwrap();
    let topic = "arn:aws:sns:eu-west-1:123456789012:on-call";
    let alarm = |name: &str, actions: &[&str]| {
        let name = format!("{prefix}-{name}");
        json!({"AlarmName": name, "ActionsEnabled": true, "AlarmActions": actions})
    };
    let groups =
        ["/aws/lambda/P/register", "/aws/lambda/P/auth", "/aws/lambda/P/attest", "/aws/vendedlogs/P/access"];
    let groups =
        groups.map(|name| json!({"logGroupName": name.replace('P', prefix), "retentionInDays": 400}));
    // Those of infra/template.yaml, which `doctor` misses where they are not there.
    let template = include_str!("../../../../infra/template.yaml");
    let named = template.lines().filter_map(|line| line.trim().strip_prefix("AlarmName: !Sub ${Prefix}-"));
    let all: Vec<_> = named.map(|name| alarm(name, &[topic])).collect();
    let well = watching(json!(all), 1, json!(groups));
    let one = |check: &str, watched: &Upstream| {
        let found = found(&operator, watched, check);
        assert_eq!(found.len(), 1, "{found:?}");
        found[0].clone()
    };
    let heard = format!("{} alarms, heard by 1 subscriber", all.len());
    assert_eq!(one("alarms", &well), ("ok".to_owned(), heard));
    let (verdict, text) = one("alarms", &watching(json!(all[1..]), 1, json!(groups)));
    assert!(
        verdict == "warn" && text.contains("these alarms of infra/template.yaml are missing: "),
        "{text}"
    );
    assert_eq!(
        one("logs", &well),
        ("ok".to_owned(), "the lines of 4 groups are kept for 400 days".to_owned())
    );

    let mut with_silent = all.clone();
    with_silent.push(alarm("b", &[]));
    let silent = watching(json!(with_silent), 1, json!(groups[..3]));
    let (verdict, text) = one("alarms", &silent);
    assert!(verdict == "warn" && text.contains(&format!("alarms tell nobody: {prefix}-b")), "{text}");
    let (verdict, text) = one("logs", &silent);
    assert!(
        verdict == "warn" && text.contains(&format!("missing: /aws/vendedlogs/{prefix}/access")),
        "{text}"
    );
    let unheard = watching(json!(all), 0, json!([]));
    let (verdict, text) = one("alarms", &unheard);
    assert!(verdict == "warn" && text.contains("nobody has confirmed a subscription"), "{text}");
    assert!(one("alarms", &watching(json!([]), 0, json!([]))).1.starts_with("there are no alarms"));

    // The tables and the key.
    let dynamodb = local_aws::dynamodb();
    let of_table = |operator: &Operator| {
        let found = found(operator, &well, "table");
        found.into_iter().filter(|(_, text)| text.contains(&table)).collect::<Vec<_>>()
    };
    assert!(of_table(&operator).iter().all(|(verdict, _)| verdict != "fail"));
    let ttl = |attribute: &str, enabled| {
        let specification = TimeToLiveSpecification::builder().attribute_name(attribute).enabled(enabled);
        dynamodb
            .update_time_to_live()
            .table_name(&table)
            .time_to_live_specification(specification.build().unwrap())
    };
    ttl("expires", false).send().await.unwrap();
    let off = of_table(&operator);
    assert!(off.iter().any(|(verdict, text)| verdict == "warn" && text.contains("TTL")), "{off:?}");
    ttl("time", true).send().await.unwrap();
    let delete = DeleteGlobalSecondaryIndexAction::builder().index_name("workload").build().unwrap();
    let update = GlobalSecondaryIndexUpdate::builder().delete(delete).build();
    dynamodb.update_table().table_name(&table).global_secondary_index_updates(update).send().await.unwrap();
    let faults = of_table(&operator);
    for (verdict, said) in [("fail", "by the attribute \"time\""), ("warn", "has no index \"workload\"")] {
        assert!(faults.iter().any(|(found, text)| found == verdict && text.contains(said)), "{faults:?}");
    }

    let (kms, key) = local_aws::kms().await;
    kms.delete_alias().alias_name(format!("alias/{prefix}")).send().await.unwrap();
    kms.create_alias().alias_name(format!("alias/{prefix}")).target_key_id(&key).send().await.unwrap();
    assert_eq!(one("key", &well).0, "ok");
    let (verdict, text) = one("key-rotation", &well);
    assert!(verdict == "warn" && text.ends_with("is not rotated"), "{text}");
    kms.enable_key_rotation().key_id(&key).send().await.unwrap();
    assert_eq!(one("key-rotation", &well).0, "ok");
    let id = key.rsplit('/').next().unwrap();
    assert_eq!(one("key-rewrap", &well).0, "ok");
    let forgotten = json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow",
        "Principal": {"AWS": "arn:aws:iam::123456789012:root"},
        "Action": ["kms:ReEncryptFrom", "kms:ReEncryptTo"],
        "Resource": "*",
        "Condition": {
            "ArnEquals": {"aws:PrincipalArn": format!("arn:aws:iam::123456789012:role/{prefix}-rewrap")},
            "DateLessThan": {"aws:CurrentTime": "2099-01-01T00:00:00Z"},
        },
    }]});
    let put = kms.put_key_policy().key_id(id).policy_name("default").policy(forgotten.to_string());
    put.send().await.unwrap();
    let (verdict, text) = one("key-rewrap", &well);
    assert!(verdict == "warn" && text.ends_with("until 2099-01-01T00:00:00Z"), "{text}");
    kms.disable_key().key_id(id).send().await.unwrap();
    assert_eq!(one("key", &well).0, "fail");
    kms.schedule_key_deletion().key_id(id).send().await.unwrap();
    let (verdict, text) = one("key", &well);
    assert!(verdict == "fail" && text.contains("will be deleted on 20"), "{text}");
}
