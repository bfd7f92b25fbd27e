//! Whether lambda_http still needs the guard that stands before it: its conversion is given, without the
//! guard, events that it panics on. If one of them no longer makes it panic, this fails. Then look whether
//! `payload/guard.rs` can do without what it does about that event, and take the row out of both.

use std::panic;

use lambda_http::request::from_str;
use serde_json::{Value, json};

type Change = fn(&mut Value);

/// One test, in a process of its own: a panic's hook is the whole process's.
#[test]
fn lambda_http_panics_on_what_the_guard_keeps_from_it() {
    // A client or API Gateway could send any of these.
    let rows: [(&str, Change); 8] = [
        ("a Host that is none", |event| event["headers"]["host"] = "[".into()),
        ("an X-Forwarded-Proto that is no scheme", |event| {
            event["headers"]["x-forwarded-proto"] = "a b".into();
        }),
        ("a domain name that is none", |event| {
            event["headers"] = json!({});
            event["requestContext"]["domainName"] = "[".into();
        }),
        ("a query that no URI can hold", |event| event["rawQueryString"] = "{ }".into()),
        ("a query that is too long", |event| event["rawQueryString"] = "q".repeat(70_000).into()),
        ("a path without a slash in front", |event| event["rawPath"] = ":path".into()),
        ("a path that is too long", |event| event["rawPath"] = format!("/{}", "p".repeat(70_000)).into()),
        ("a body that is no base64", |event| {
            event["body"] = "!".into();
            event["isBase64Encoded"] = true.into();
        }),
    ];
    let ordinary = json!({
        "version": "2.0",
        "rawPath": "/path",
        "rawQueryString": "",
        "headers": {"host": "broker.example", "x-forwarded-proto": "https"},
        "requestContext": {"http": {"method": "POST"}, "stage": "$default"},
        "body": "e30=",
        "isBase64Encoded": false,
    });
    assert_eq!(from_str(&ordinary.to_string()).unwrap().uri(), "https://broker.example/path");

    let panics = |change: Change| {
        let mut event = ordinary.clone();
        change(&mut event);
        panic::catch_unwind(|| from_str(&event.to_string()).map(drop)).is_err()
    };
    let loud = panic::take_hook();
    panic::set_hook(Box::new(|_| ()));
    let unneeded: Vec<_> = rows.iter().filter(|(_, change)| !panics(*change)).map(|(name, _)| name).collect();
    panic::set_hook(loud);
    assert!(unneeded.is_empty(), "lambda_http does not panic on {unneeded:?}");
}
