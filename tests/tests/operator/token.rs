//! `keybroker token` as a person would use it, on each kind of store.

use keybroker_tests::operator::{Contents, Operator};

async fn everywhere() -> [Operator; 3] {
    Operator::everywhere(&Contents::default()).await
}

#[tokio::test]
async fn a_token_is_printed_once_and_its_url_with_it() {
    for operator in everywhere().await {
        let create = ["token", "create", "--url", "https://k.example.org/prod", "--note", "nightly"];
        let ended = operator.run(&create);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let lines: Vec<_> = ended.out.lines().collect();
        let [token, url] = lines.as_slice() else { panic!("{ended:?}") };
        assert_eq!(token.len(), 14);
        assert_eq!(*url, format!("https://x:{token}@k.example.org/prod"));
        // 99 - 12 - 43: the length that is left for the id when the URL holds the token.
        assert!(ended.log.contains("has room for a workload id of 44 characters"), "{}", ended.log);
        assert!(!ended.log.contains(token), "the token is shown where a log may be");

        let list = operator.out(&["token", "list"]);
        assert!(list.contains("nightly") && list.contains("unused"), "{list}");
        assert!(!list.contains(token), "{list}");
        // The header and one row.
        assert_eq!(list.lines().count(), 2, "{list}");
    }
}

#[tokio::test]
async fn a_revoked_token_is_listed_only_on_request() {
    for operator in everywhere().await {
        let created = operator.json(&["token", "create", "--workload-id", "billing"]);
        assert_eq!(created["workload_id"], "billing");
        assert_eq!(created["url"], serde_json::Value::Null);
        let id = created["id"].as_str().unwrap();
        let ended = operator.run(&["token", "revoke", id]);
        assert_eq!((ended.code, ended.out.as_str()), (Some(0), ""), "{ended:?}");
        assert_eq!(operator.json(&["token", "list"])["tokens"], serde_json::json!([]));
        let all = operator.json(&["token", "list", "--all"]);
        let row = &all["tokens"][0];
        assert_eq!(
            (&row["id"], &row["state"], &row["made_for"]),
            (&id.into(), &"revoked".into(), &"billing".into())
        );
    }
}

/// Both acts have a record whose text names the token and the operator.
#[tokio::test]
async fn making_and_revoking_a_token_are_on_record() {
    for operator in everywhere().await {
        let created = operator.json(&["token", "create", "--workload-id", "billing"]);
        let id = created["id"].as_str().unwrap();
        operator.out(&["token", "revoke", id]);
        let records = operator.json(&["audit", "--since", "1h"]);
        let records = records["records"].as_array().unwrap();
        let acts: Vec<_> =
            records.iter().filter(|record| record["token"] == id).map(|record| &record["decision"]).collect();
        assert_eq!(acts, ["token_created", "token_revoked"], "{records:?}");
        assert!(!format!("{records:?}").contains(created["token"].as_str().unwrap()));
        let made = records.iter().find(|record| record["decision"] == "token_created").unwrap();
        let words = operator.out(&["audit", made["id"].as_str().unwrap()]);
        assert!(words.contains(&format!("The token {id} was made by ")), "{words}");
        assert!(words.contains("for billing."), "{words}");
    }
}

#[tokio::test]
async fn arguments_that_make_no_sense_are_refused() {
    let operator = Operator::file(&Contents::default()).await;
    let rows: [(&[&str], i32, &str); 7] = [
        (&["token", "create", "--ttl", "0s"], 2, "the token would expire at once"),
        (&["token", "create", "--ttl", "8d"], 2, "7d at most"),
        (&["token", "create", "--workload-id", "a/b"], 2, "a guest's URL cannot carry"),
        (&["token", "create", "--note", &"n".repeat(201)], 2, "200 characters at most"),
        (&["token", "create", "--url", "k.example.org"], 2, "http"),
        (&["token", "revoke", "no-id"], 2, "not the id of a token"),
        (&["token", "revoke", "00000000000000000000000000000000"], 1, "there is no token"),
    ];
    for (arguments, code, said) in rows {
        let ended = operator.run(arguments);
        assert_eq!(ended.code, Some(code), "{arguments:?}: {ended:?}");
        assert!(ended.log.contains(said), "{arguments:?}: {ended:?}");
        assert_eq!(ended.out, "");
    }
}

#[tokio::test]
async fn a_url_that_leaves_no_room_for_an_id_gets_a_warning() {
    let operator = Operator::file(&Contents::default()).await;
    let url = format!("https://{}.example.org", "h".repeat(60));
    let ended = operator.run(&["token", "create", "--url", &url]);
    assert_eq!(ended.code, Some(0));
    assert!(ended.log.contains("has no room for a workload id"), "{}", ended.log);
}
