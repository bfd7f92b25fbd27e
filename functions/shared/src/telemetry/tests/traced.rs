//! The log and X-Ray's daemon name the request that they are told of.

use std::{collections::BTreeSet, net::UdpSocket, time::Duration};

use super::*;

const ROOT: &str = "1-6a1f0c3e-0123456789abcdef01234567";
const SAMPLED: &str =
    "Root=1-6a1f0c3e-0123456789abcdef01234567;Parent=53995c3f42cd8ad8;Sampled=1;Lineage=1:a87bd80c:0";

fn names(trace: &str) -> Names {
    Names { request: Some("JKJaXmPLvHcESHA=".to_owned()), trace: Some(trace.to_owned()) }
}

/// A daemon on this machine.
struct Heard(UdpSocket);

impl Heard {
    fn begin() -> (Self, Daemon) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let daemon = Daemon::at(&socket.local_addr().unwrap().to_string());
        (Self(socket), daemon)
    }

    /// The next document. A datagram on the loopback is there when it is sent.
    fn document(&self) -> Option<Value> {
        self.0.set_nonblocking(true).unwrap();
        let mut bytes = [0; 65_536];
        let length = self.0.recv(&mut bytes).ok()?;
        let text = std::str::from_utf8(&bytes[..length]).unwrap();
        let (header, document) = text.split_once('\n').unwrap();
        assert_eq!(serde_json::from_str::<Value>(header).unwrap(), json!({"format": "json", "version": 1}));
        Some(serde_json::from_str(document).unwrap())
    }
}

#[tokio::test]
async fn each_line_names_the_request_and_its_trace() {
    let (log, _logging) = Log::begin();
    request(names(SAMPLED), async {
        announce(&record(Decision::Released, None));
        announce(&record(Decision::Withheld, Some("workload")));
        count(Count::NoSession);
    })
    .await;
    let lines = log.lines();
    assert_eq!(lines.len(), 3);
    for line in lines {
        assert_eq!((&line["request"], &line["trace"]), (&json!("JKJaXmPLvHcESHA="), &json!(ROOT)), "{line}");
    }
    // A trace that nobody keeps leads nowhere.
    request(names(&SAMPLED.replace("Sampled=1", "Sampled=0")), async { count(Count::NoSession) }).await;
    let line = log.line();
    assert_eq!((&line["request"], line.get("trace")), (&json!("JKJaXmPLvHcESHA="), None));
}

#[tokio::test]
async fn a_sampled_request_is_a_subsegment_that_leads_to_its_record() {
    let (heard, daemon) = Heard::begin();
    let (log, _logging) = Log::beside(daemon);
    let attested = record(Decision::Attested, None);
    let before = Timestamp::now().as_duration().as_secs_f64();
    // The second pass of a stage, within the pause of the log, is in the picture as well.
    for _ in 0..2 {
        request(names(SAMPLED), async {
            timed(Stage::Verify, async { std::thread::sleep(Duration::from_millis(2)) }).await;
            timed(Stage::Transaction, async {}).await;
            announce(&attested);
        })
        .await;
        let mut document = heard.document().unwrap();
        let stages = document["subsegments"].as_array().unwrap();
        assert_eq!(
            stages.iter().map(|stage| stage["name"].as_str().unwrap()).collect::<Vec<_>>(),
            ["verify", "transaction"]
        );
        let time = |of: &Value, name: &str| of[name].as_f64().unwrap();
        let (begin, end) = (time(&document, "start_time"), time(&document, "end_time"));
        for stage in stages {
            let (from, to) = (time(stage, "start_time"), time(stage, "end_time"));
            // Two clocks measure it: one knows what time it is, the other how long it took.
            assert!(before - 0.001 <= from && from <= to && to <= end && begin - 0.001 <= from, "{document}");
        }
        assert!(time(&stages[0], "end_time") - time(&stages[0], "start_time") >= 0.002);
        let ids = stages.iter().chain([&document]).map(|of| of["id"].as_str().unwrap().to_owned());
        let ids: BTreeSet<_> = ids.collect();
        assert_eq!(ids.len(), 3);
        assert!(
            ids.iter().all(|id| id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit())),
            "{ids:?}"
        );
        for member in ["subsegments", "id", "start_time", "end_time"] {
            document.as_object_mut().unwrap().remove(member);
        }
        let annotations = json!({
            "request": "JKJaXmPLvHcESHA=", "record": attested.id.to_string(), "decision": "attested",
        });
        assert_eq!(
            document,
            json!({
                "name": "keybroker", "type": "subsegment", "trace_id": ROOT, "parent_id": "53995c3f42cd8ad8",
                "error": false, "fault": false, "annotations": annotations,
            })
        );
    }
    assert_eq!(log.texts().len(), 2);
    assert_eq!(heard.document(), None);
}

#[tokio::test]
async fn refusals_are_errors_and_outages_faults() {
    let (heard, daemon) = Heard::begin();
    let (_log, _logging) = Log::beside(daemon);
    for (decision, check, error, fault) in [
        (Decision::Refused, Some("measurement"), true, false),
        (Decision::Withheld, Some("workload"), true, false),
        (Decision::Unavailable, Some("store"), false, true),
        (Decision::Released, None, false, false),
    ] {
        request(names(SAMPLED), async { announce(&record(decision, check)) }).await;
        let document = heard.document().unwrap();
        assert_eq!((&document["error"], &document["fault"]), (&json!(error), &json!(fault)), "{document}");
        assert_eq!(document["annotations"]["check"], json!(check));
        // The cause is for the record alone.
        assert!(!document.to_string().contains("because"), "{document}");
    }
    request(names(SAMPLED), async { count(Count::Panicked) }).await;
    assert_eq!(heard.document().unwrap()["fault"], json!(true));
}

#[tokio::test]
async fn nobody_hears_of_a_request_that_is_not_sampled() {
    let (heard, daemon) = Heard::begin();
    let (log, _logging) = Log::beside(daemon);
    for header in [
        "",
        "Sampled=1",
        &SAMPLED.replace("Sampled=1", "Sampled=0"),
        &SAMPLED.replace(";Sampled=1", ""),
        &SAMPLED.replace("Root=1-", "Root=2-"),
        &SAMPLED.replace("Root=1-6a", "Root=1-6\u{e4}"),
        &SAMPLED.replace("4567;", "45678;"),
        &SAMPLED.replace("53995c3f42cd8ad8", "53995c3f42cd8ad"),
        &SAMPLED.replace("53995c3f42cd8ad8", "53995c3f\\\"cd8ad8"),
    ] {
        request(names(header), async { announce(&record(Decision::Released, None)) }).await;
        assert_eq!(heard.document(), None, "{header}");
        assert_eq!(log.line().get("trace"), None, "{header}");
    }
    request(Names::default(), async { announce(&record(Decision::Released, None)) }).await;
    let line = log.line();
    assert_eq!((heard.document(), line.get("trace"), line.get("request")), (None, None, None));
}

/// Without a daemon, and with one that is gone, requests are as ever.
#[tokio::test]
async fn a_daemon_that_is_out_of_reach_costs_nothing() {
    let (heard, gone) = Heard::begin();
    drop(heard);
    for daemon in [gone, Daemon::at(""), Daemon::at("tcp:127.0.0.1:2000 udp:127.0.0.2:2001")] {
        let (log, _logging) = Log::beside(daemon);
        for _ in 0..3 {
            request(names(SAMPLED), async { announce(&record(Decision::Released, None)) }).await;
            assert_eq!(log.line()["trace"], json!(ROOT));
        }
    }
}
