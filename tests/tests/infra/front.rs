//! The example of what stands in front of the API: what guests rely on, and what must not be kept or shown.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::yaml::{read, resources};

fn front() -> Value {
    read("examples/front.yaml")
}

/// CloudFront keeps these answers to a `GET` for ten seconds unless it is told not to, whatever the cache
/// policy says: then one guest's refusal would be the next one's.
const KEPT: [u64; 8] = [404, 405, 414, 500, 501, 502, 503, 504];

#[test]
fn no_answer_is_kept_for_another_guest() {
    let front = front();
    let config = &front["Resources"]["Distribution"]["Properties"]["DistributionConfig"];
    let behavior = &config["DefaultCacheBehavior"];
    // Nothing else that could keep, show or answer a request, such as a function or a log of its own.
    for (of, named) in [
        (
            config,
            "Aliases Comment CustomErrorResponses DefaultCacheBehavior Enabled HttpVersion IPV6Enabled \
             Origins ViewerCertificate WebACLId",
        ),
        (
            behavior,
            "AllowedMethods CachePolicyId Compress OriginRequestPolicyId TargetOriginId ViewerProtocolPolicy",
        ),
    ] {
        let found: BTreeSet<_> = of.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(found, named.split_whitespace().collect());
    }
    // AWS's names for CachingDisabled and AllViewerExceptHostHeader.
    assert_eq!(behavior["CachePolicyId"], "4135ea2d-6df8-44a3-9df3-4b5a84be39ad");
    assert_eq!(behavior["OriginRequestPolicyId"], "b689b0a8-53d0-40ab-baf2-68738e2966ac");
    let errors = config["CustomErrorResponses"].as_array().unwrap();
    assert!(
        errors
            .iter()
            .all(|error| error["ErrorCachingMinTTL"] == 0 && error.get("ResponsePagePath").is_none())
    );
    let codes: BTreeSet<_> = errors.iter().map(|error| error["ErrorCode"].as_u64().unwrap()).collect();
    assert!(KEPT.iter().all(|code| codes.contains(code)), "{codes:?}");
}

/// By its certificate alone the API knows CloudFront.
#[test]
fn the_front_shows_a_certificate_over_tls_alone() {
    let front = front();
    let config = &front["Resources"]["Distribution"]["Properties"]["DistributionConfig"];
    assert_eq!(config["DefaultCacheBehavior"]["ViewerProtocolPolicy"], "https-only");
    let [origin] = config["Origins"].as_array().unwrap().as_slice() else { panic!("one origin") };
    assert_eq!(origin["ConnectionAttempts"], 1);
    let origin = &origin["CustomOriginConfig"];
    assert_eq!(origin["OriginProtocolPolicy"], "https-only");
    assert_eq!(origin["OriginMtlsConfig"], json!({"ClientCertificateArn": {"Ref": "ClientCertificateArn"}}));
    // attest may take as long as its function.
    let attest = &read("template.yaml")["Resources"]["Attest"]["Properties"]["Timeout"];
    assert!(origin["OriginReadTimeout"].as_u64() > attest.as_u64());
}

/// libkrun's guest reads a refusal of 3 to 199 bytes.
#[test]
fn refusals_of_the_front_can_be_read() {
    let front = front();
    let config = &front["Resources"]["Distribution"]["Properties"]["DistributionConfig"];
    assert_eq!(config["WebACLId"], json!({"Fn::GetAtt": "WebAcl.Arn"}));
    let acl = &front["Resources"]["WebAcl"]["Properties"];
    let bodies = acl["CustomResponseBodies"].as_object().unwrap();
    for body in bodies.values() {
        assert!((3..200).contains(&body["Content"].as_str().unwrap().len()), "{body}");
    }
    let rules = acl["Rules"].as_array().unwrap();
    let own = rules.iter().filter_map(|rule| rule.get("Action"));
    let groups = rules.iter().filter_map(|rule| rule["Statement"].get("ManagedRuleGroupStatement"));
    let groups = groups.flat_map(|group| group["RuleActionOverrides"].as_array().unwrap());
    let blocks: Vec<_> = own.chain(groups.map(|rule| &rule["ActionToUse"])).collect();
    assert_eq!(blocks.len(), 3);
    for block in blocks {
        let body = block["Block"]["CustomResponse"]["CustomResponseBodyKey"].as_str().unwrap();
        assert!(bodies.contains_key(body), "{block}");
    }
}

#[test]
fn neither_tokens_nor_cookies_nor_paths_are_logged_or_sampled() {
    let front = front();
    let acl = &front["Resources"]["WebAcl"]["Properties"];
    let rules = acl["Rules"].as_array().unwrap();
    for seen in rules.iter().chain([acl]) {
        assert_eq!(seen["VisibilityConfig"]["SampledRequestsEnabled"], false);
    }
    let [(_, logging)] = resources(&front, "AWS::WAFv2::LoggingConfiguration").collect::<Vec<_>>()[..] else {
        panic!("one log")
    };
    let redacted = json!([
        {"SingleHeader": {"Name": "authorization"}},
        {"SingleHeader": {"Name": "cookie"}},
        {"UriPath": {}},
        {"QueryString": {}},
    ]);
    assert_eq!(logging["Properties"]["RedactedFields"], redacted);
}
