//! Events that a client or a strange gateway could make, through the guard: the request that comes out of it,
//! and the broker's answer.

use axum::extract::Request;
use proptest::prelude::*;

use super::*;

/// A row: a name, the broker's status, the request that arrives at the router or nothing if the guard refuses
/// the event, and the change to the event.
type Row = (&'static str, u16, &'static str, fn(&mut Value));

/// A request for a challenge, as all rows below are before their change.
const ARRIVES: &str = "POST /kbs/v0/auth";

const HEADERS: [Row; 23] = [
    ("a Host that opens an address", 200, ARRIVES, |event| event["headers"]["host"] = "[".into()),
    ("a Host that opens a longer address", 200, ARRIVES, |event| event["headers"]["host"] = "[::1".into()),
    ("an empty Host", 200, ARRIVES, |event| event["headers"]["host"] = "".into()),
    ("a Host of two words", 200, ARRIVES, |event| event["headers"]["host"] = "a b".into()),
    ("a Host with another route and a query", 200, ARRIVES, |event| {
        event["headers"]["host"] = "x/kbs/v0/register_workload?".into();
    }),
    ("a Host with another route and a fragment", 200, ARRIVES, |event| {
        event["headers"]["host"] = "x/healthz#".into();
    }),
    ("a Host with a user", 200, ARRIVES, |event| event["headers"]["host"] = "user:p@x".into()),
    ("a Host with a port that is none", 200, ARRIVES, |event| event["headers"]["host"] = "x:99999999".into()),
    ("a Host of backslashes", 200, ARRIVES, |event| event["headers"]["host"] = r"\\x\healthz?".into()),
    ("a Host that is no ASCII", 200, ARRIVES, |event| event["headers"]["host"] = "xn--ü\u{200d}".into()),
    ("a long Host", 200, ARRIVES, |event| event["headers"]["host"] = "h".repeat(100_000).into()),
    ("two Hosts", 200, ARRIVES, |event| event["headers"]["Host"] = "x/healthz?".into()),
    ("an X-Forwarded-Proto of two words", 200, ARRIVES, |event| {
        event["headers"]["x-forwarded-proto"] = "a b".into();
    }),
    ("an empty X-Forwarded-Proto", 200, ARRIVES, |event| event["headers"]["x-forwarded-proto"] = "".into()),
    ("an X-Forwarded-Proto with a route", 200, ARRIVES, |event| {
        event["headers"]["x-forwarded-proto"] = "https://x/healthz?".into();
    }),
    ("an X-Forwarded-Proto without hosts", 200, ARRIVES, |event| {
        event["headers"]["x-forwarded-proto"] = "javascript".into();
    }),
    ("a header's name of two words", 200, ARRIVES, |event| event["headers"]["a b"] = "x".into()),
    ("a header without a name", 200, ARRIVES, |event| event["headers"][""] = "x".into()),
    ("a header of HTTP/2's own", 200, ARRIVES, |event| event["headers"][":path"] = "/healthz".into()),
    ("a line break in a header", 200, ARRIVES, |event| {
        event["headers"]["x"] = "x\r\n\r\nGET /healthz HTTP/1.1".into();
    }),
    ("headers that name another route and method", 200, ARRIVES, |event| {
        event["headers"]["x-original-url"] = "/healthz".into();
        event["headers"]["x-http-method-override"] = "GET".into();
    }),
    ("more headers than a map holds", 415, ARRIVES, |event| {
        let headers = event["headers"].as_object_mut().unwrap();
        headers.extend((0..40_000).map(|index| (format!("a{index}"), "x".into())));
    }),
    ("two content types", 415, ARRIVES, |event| event["headers"]["Content-Type"] = "text/plain".into()),
];

/// None of these matched a route of API Gateway's.
const PATHS: [Row; 25] = [
    ("no path", 404, "", |event| event["rawPath"] = "".into()),
    ("a path without a slash", 404, "", |event| event["rawPath"] = "no slash".into()),
    ("a path that is a port", 404, "", |event| event["rawPath"] = ":80/kbs/v0/auth".into()),
    ("a path that is a host", 404, "", |event| event["rawPath"] = "@x/kbs/v0/auth".into()),
    ("a path that is a URL", 404, "", |event| event["rawPath"] = "https://x/kbs/v0/auth".into()),
    ("a path that is a query", 404, "", |event| event["rawPath"] = "?/kbs/v0/auth".into()),
    ("a path for OPTIONS", 404, "", |event| event["rawPath"] = "*".into()),
    ("a long path", 404, "", |event| event["rawPath"] = format!("/{}", "p".repeat(70_000)).into()),
    ("a path that its encoding makes long", 404, "", |event| event["rawPath"] = "/{".repeat(20_000).into()),
    ("a path that climbs", 404, "POST /x/../kbs/v0/auth", |event| {
        event["rawPath"] = "/x/../kbs/v0/auth".into()
    }),
    ("a path that stays", 404, "POST /kbs/./v0/auth", |event| event["rawPath"] = "/kbs/./v0/auth".into()),
    ("a path that climbs, encoded", 404, "POST /x/%2e%2E/kbs/v0/auth", |event| {
        event["rawPath"] = "/x/%2e%2E/kbs/v0/auth".into()
    }),
    ("a path that climbs, half encoded", 404, "POST /x/.%2e/kbs/v0/auth", |event| {
        event["rawPath"] = "/x/.%2e/kbs/v0/auth".into()
    }),
    ("a path that climbs out", 404, "POST /../../kbs/v0/auth", |event| {
        event["rawPath"] = "/../../kbs/v0/auth".into()
    }),
    ("a path that ends above its route", 404, "POST /kbs/v0/auth/x/..", |event| {
        event["rawPath"] = "/kbs/v0/auth/x/..".into()
    }),
    ("a path with a backslash", 404, r"POST /kbs/v0%5Cauth", |event| {
        event["rawPath"] = r"/kbs/v0\auth".into()
    }),
    ("a path that climbs by backslashes", 404, "POST /x%5C..%5Ckbs/v0/auth", |event| {
        event["rawPath"] = r"/x\..\kbs/v0/auth".into();
    }),
    ("a tab within a path", 404, "POST /kbs/v0/au%09th", |event| event["rawPath"] = "/kbs/v0/au\tth".into()),
    ("a line break behind a path", 404, "POST /kbs/v0/auth%0A", |event| {
        event["rawPath"] = "/kbs/v0/auth\n".into()
    }),
    ("a NUL behind a path", 404, "POST /kbs/v0/auth%00", |event| event["rawPath"] = "/kbs/v0/auth\0".into()),
    ("a query in a path", 404, "POST /kbs/v0/auth%3Fx", |event| event["rawPath"] = "/kbs/v0/auth?x".into()),
    ("a fragment in a path", 404, "POST /kbs/v0/auth%23x", |event| {
        event["rawPath"] = "/kbs/v0/auth#x".into()
    }),
    ("encoded slashes", 404, "POST /kbs%2Fv0%2Fauth", |event| event["rawPath"] = "/kbs%2Fv0%2Fauth".into()),
    ("an encoding that is none", 404, "POST /kbs/v0/%zz", |event| event["rawPath"] = "/kbs/v0/%zz".into()),
    ("a stage that climbs", 200, ARRIVES, |event| event["requestContext"]["stage"] = "../x".into()),
];

const OTHERS: [Row; 22] = [
    ("a query that no URI can hold", 200, ARRIVES, |event| event["rawQueryString"] = "\0 {#\r\n".into()),
    ("a query with an encoding that is none", 200, ARRIVES, |event| event["rawQueryString"] = "%zz=%".into()),
    ("a long query", 200, ARRIVES, |event| event["rawQueryString"] = "q".repeat(70_000).into()),
    ("parameters of a strange form", 200, ARRIVES, |event| {
        event["queryStringParameters"] = json!([1, null]);
        event["pathParameters"] = json!({"workload_id": 1});
        event["stageVariables"] = "x".into();
    }),
    ("base64 that is none", 400, "", |event| base64(event, "!")),
    ("base64 without its padding", 400, "", |event| base64(event, "e30")),
    ("base64 with a line break", 400, "", |event| base64(event, "e30=\n")),
    ("base64 with bits to spare", 400, "", |event| base64(event, "e31=")),
    ("base64 in two pieces", 400, ARRIVES, |event| base64(event, "e30=e30=")),
    ("base64 in two pieces of no text", 400, ARRIVES, |event| base64(event, "/w==/w==")),
    ("no body, in base64", 400, ARRIVES, |event| {
        event["body"] = Value::Null;
        event["isBase64Encoded"] = true.into();
    }),
    ("a long body", 413, ARRIVES, |event| event["body"] = " ".repeat(100_000).into()),
    ("a line break in a cookie", 200, ARRIVES, |event| {
        event["cookies"] = json!(["a=b\r\n\r\nGET / HTTP/1.1"])
    }),
    ("a cookie that is no ASCII", 200, ARRIVES, |event| event["cookies"] = json!(["a=ü", "\0"])),
    ("many cookies", 200, ARRIVES, |event| event["cookies"] = vec!["a=b"; 50_000].into()),
    ("no method", 404, "", |event| event["requestContext"]["http"]["method"] = "".into()),
    ("a method of two words", 404, "", |event| {
        event["requestContext"]["http"]["method"] = "GET /healthz".into()
    }),
    ("a method in lower case", 405, "post /kbs/v0/auth", |event| {
        event["requestContext"]["http"]["method"] = "post".into();
    }),
    ("a method that has a URL of its own", 405, "CONNECT /kbs/v0/auth", |event| {
        event["requestContext"]["http"]["method"] = "CONNECT".into();
    }),
    ("another method and path beside the event's", 200, ARRIVES, |event| {
        event["httpMethod"] = "GET".into();
        event["path"] = "/healthz".into();
        event["requestContext"]["http"]["path"] = "/healthz".into();
    }),
    ("a domain name with a path", 200, ARRIVES, |event| {
        event["headers"].as_object_mut().unwrap().remove("host");
        event["requestContext"]["domainName"] = "x/healthz?".into();
    }),
    ("a matched route of slashes", 200, ARRIVES, |event| {
        event["requestContext"]["routeKey"] = format!("POST {}", "/".repeat(100)).into();
    }),
];

fn base64(event: &mut Value, body: &str) {
    event["body"] = body.into();
    event["isBase64Encoded"] = true.into();
}

/// The request that comes out of the guard, as a router that answers nothing else tells it. Nothing, if none
/// does.
async fn arrives(event: Event) -> String {
    let told = |request: Request| async move {
        [(header::LOCATION, format!("{} {}", request.method(), request.uri()))]
    };
    let mut reply = answer(Router::new().fallback(told), event).await;
    reply.headers.remove("location").unwrap_or_default()
}

#[tokio::test]
async fn hostile_events_panic_nowhere_and_reach_no_other_route() {
    let world = world(Admission::OPEN).await;
    let rows: Vec<_> = HEADERS.iter().chain(&PATHS).chain(&OTHERS).collect();
    assert!(rows.len() >= 50, "{}", rows.len());
    for (name, status, arrived, change) in rows {
        let mut event = post("/kbs/v0/auth", AUTH);
        event["requestContext"]["routeKey"] = "$default".into();
        change(&mut event);
        let read = || serde_json::from_value(event.clone()).unwrap();
        // A panic would be a 500.
        let reply = answer(world.router.clone(), read()).await;
        assert_eq!((reply.status_code, &*arrives(read()).await), (*status, *arrived), "{name}: {reply:?}");
        assert!(*status == 200 || (3..=199).contains(&reply.body.len()), "{name}: {reply:?}");
    }
}

/// Mostly what a URL gives a meaning to, so that something comes of it.
fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[/.%2eE?#@:\\\\a\\[\\]]{0,12}", "[ -~\t\r\n\0ü]{0,12}", any::<String>()]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn any_event_panics_nowhere_and_keeps_its_path(
        (method, path, query) in ("[A-Z]{0,5}", text(), text()),
        (host, scheme, name, value) in (text(), text(), text(), text()),
        (cookie, body, base64) in (text(), text(), any::<bool>()),
    ) {
        let path = format!("/{path}");
        let event = json!({
            "rawPath": path,
            "rawQueryString": query,
            "headers": {"host": host, "x-forwarded-proto": scheme, name: value},
            "cookies": [cookie],
            "requestContext": {"http": {"method": method}, "domainName": host},
            "body": body,
            "isBase64Encoded": base64,
        });
        let event: Event = serde_json::from_value(event).unwrap();
        if let Ok(request) = event.into_request() {
            let uri = request.uri().to_string();
            prop_assert_eq!(uri.as_str(), guard::encoded(&path));
        }
    }
}

#[tokio::test]
async fn a_host_is_the_requests_header_and_not_its_uri() {
    let told = |request: Request| async move {
        request.headers()[header::HOST].clone().to_str().unwrap().to_owned()
    };
    let event = serde_json::from_value(post("/kbs/v0/auth", AUTH)).unwrap();
    assert_eq!(answer(Router::new().fallback(told), event).await.body, HOST);
}

#[tokio::test]
async fn cookies_arrive_one_each_beside_the_header() {
    let told = |request: Request| async move {
        let cookies = request.headers().get_all(header::COOKIE).iter();
        format!("{:?}", cookies.map(|cookie| cookie.as_bytes().len()).collect::<Vec<_>>())
    };
    let mut event = post("/kbs/v0/auth", AUTH);
    event["headers"]["cookie"] = "a=1".into();
    event["cookies"] = json!(["b=ü", "c\n", "d=4444"]);
    let event = serde_json::from_value(event).unwrap();
    assert_eq!(answer(Router::new().fallback(told), event).await.body, "[3, 4, 6]");
}

#[test]
fn an_event_with_fields_of_other_types_is_none() {
    let changes: [fn(&mut Value); 5] = [
        |event| event["rawPath"] = Value::Null,
        |event| event["headers"]["x"] = 1.into(),
        |event| event["cookies"] = "a=b".into(),
        |event| event["isBase64Encoded"] = "true".into(),
        |event| event["requestContext"]["http"]["method"] = json!(["POST"]),
    ];
    for change in changes {
        let mut event = post("/kbs/v0/auth", AUTH);
        change(&mut event);
        assert!(serde_json::from_value::<Event>(event).is_err());
    }
}
