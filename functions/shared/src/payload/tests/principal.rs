//! The principal that API Gateway has authenticated: the owner of what it registers.

use super::*;

const IAM: Admission = Admission { iam: true, ..Admission::NONE };
const BUILDER: &str = "arn:aws:iam::123456789012:user/builder";

fn signed(id: &str, arn: &str) -> Value {
    signed_by(arn, post("/kbs/v0/register_workload", &registration(id)))
}

fn signed_by(arn: &str, mut event: Value) -> Value {
    event["requestContext"]["authorizer"] = json!({"iam": {
        "accessKey": "AKIAEXAMPLE", "accountId": "123456789012", "callerId": "AIDAEXAMPLE",
        "cognitoIdentity": null, "principalOrgId": "o-example", "userArn": arn, "userId": "AIDAEXAMPLE",
    }});
    event
}

#[tokio::test]
async fn a_principal_of_iam_owns_its_registration() {
    let world = world(IAM).await;
    assert_eq!(world.reply(signed("w", BUILDER)).await["statusCode"], 200);
    assert_eq!(world.owner("w").await.as_deref(), Some(BUILDER));
    assert_eq!(world.reply(signed("w", BUILDER)).await["statusCode"], 200);
    let other = signed("w", "arn:aws:iam::123456789012:user/mallory");
    assert_eq!(world.reply(other).await["statusCode"], 409);
}

/// As API Gateway names what it has authorised.
#[tokio::test]
async fn a_signed_route_is_the_plain_one_behind_its_prefix() {
    let world = world(IAM).await;
    let routed = |raw: &str, key: &str| {
        let mut event = signed("w", BUILDER);
        event["rawPath"] = raw.into();
        event["requestContext"]["routeKey"] = key.into();
        event
    };
    let path = "/iam/kbs/v0/register_workload";
    let key = format!("POST {path}");
    assert_eq!(world.reply(routed(path, &key)).await["statusCode"], 200);
    assert_eq!(world.reply(routed(&format!("/prod{path}"), &key)).await["statusCode"], 200);
    assert_eq!(world.owner("w").await.as_deref(), Some(BUILDER));
    // If API Gateway did not match the route by this key, there is no such route.
    assert_eq!(world.reply(routed(path, "$default")).await["statusCode"], 404);
}

#[tokio::test]
async fn sessions_of_one_role_are_one_owner() {
    let world = world(IAM).await;
    let session = |name: &str| format!("arn:aws:sts::123456789012:assumed-role/ci/{name}");
    assert_eq!(world.reply(signed("w", &session("run-1"))).await["statusCode"], 200);
    assert_eq!(world.reply(signed("w", &session("run-2"))).await["statusCode"], 200);
    assert_eq!(world.owner("w").await.as_deref(), Some("arn:aws:sts::123456789012:assumed-role/ci"));
}

#[tokio::test]
async fn nobody_registers_without_iam_where_iam_is_asked_for() {
    let world = world(IAM).await;
    let mut claimed = post("/kbs/v0/register_workload", &registration("w"));
    claimed["headers"]["authorization"] = "AWS4-HMAC-SHA256 Credential=AKIAEXAMPLE".into();
    claimed["headers"]["userarn"] = BUILDER.into();
    for authorizer in [json!(null), json!({}), json!({"iam": null}), json!({"iam": {}}), json!({"jwt": {}})] {
        let mut event = claimed.clone();
        event["requestContext"]["authorizer"] = authorizer;
        assert_eq!(world.reply(event).await["statusCode"], 401);
    }
    assert_eq!(world.reply(claimed).await["statusCode"], 401);
    assert_eq!(world.reply(signed("w", "")).await["statusCode"], 401);
}

#[tokio::test]
async fn a_principal_of_iam_owns_its_reference_values() {
    let world = world(IAM).await;
    let event = post("/rvp/register", &reference_values(json!({"disk": "secret"})));
    let host_data = selected(&world.reply(signed_by(BUILDER, event.clone())).await);
    assert_eq!(world.owner(host_data.workload_id().as_str()).await.as_deref(), Some(BUILDER));
    // A registration of one's own is never that of another: the same body twice are two.
    assert_ne!(selected(&world.reply(signed_by(BUILDER, event)).await), host_data);
}

#[tokio::test]
async fn reference_values_need_iam_where_iam_is_asked_for() {
    let world = world(IAM).await;
    let mut claimed = post("/rvp/register", &reference_values(json!({"disk": "secret"})));
    claimed["headers"]["authorization"] = "AWS4-HMAC-SHA256 Credential=AKIAEXAMPLE".into();
    for authorizer in [json!(null), json!({}), json!({"iam": null}), json!({"iam": {}}), json!({"jwt": {}})] {
        let mut event = claimed.clone();
        event["requestContext"]["authorizer"] = authorizer;
        assert_eq!(world.reply(event).await["statusCode"], 401);
    }
    assert_eq!(world.reply(claimed.clone()).await["statusCode"], 401);
    assert_eq!(world.reply(signed_by("", claimed)).await["statusCode"], 401);
}
