//! Lists of more decisions than the program has in hand.

use std::io::Write as _;

use jiff::Timestamp;
use keybroker_tests::{
    program::{self, Ended},
    upstream::{Upstream, response},
};
use serde_json::{Value, json};
use uuid::Uuid;

use super::asking;

/// The decisions that the program has in hand.
const IN_HAND: usize = 8192;

/// AWS with so many releases in the table of decisions, and nothing in the other.
fn with_releases(number: usize) -> Upstream {
    let release = |_| {
        json!({
            "id": {"S": Uuid::now_v7()}, "format": {"N": "1"}, "operation": {"S": "key"},
            "decision": {"S": "released"}, "secret": {"S": "passphrase"},
            "time": {"N": Timestamp::now().as_nanosecond().to_string()},
        })
    };
    let releases: Vec<Value> = (0..number).map(release).collect();
    let releases = json!({ "Items": releases }).to_string();
    Upstream::start(move |request, stream| {
        let items = if request.contains("\"keybroker-decisions\"") { releases.as_str() } else { "{}" };
        let _ = stream.write_all(&response(200, "", items));
    })
}

fn listed(aws: &Upstream, more: &[&str]) -> Ended {
    let arguments = [&["audit", "--since", "1h", "--csv"], more].concat();
    let ended = Ended::from(asking(&aws.url, &arguments).output().unwrap());
    assert_eq!(ended.code, Some(0), "{more:?}: {}", ended.log);
    ended
}

/// DynamoDB gives them in none, and the program orders what it has in hand.
#[test]
fn more_decisions_than_are_in_hand_come_in_no_order_and_that_is_said() {
    program::path();
    let aws = [IN_HAND, IN_HAND + 1].map(|number| (number, with_releases(number)));
    for (number, aws) in &aws {
        for list in [&[][..], &["--released"]] {
            let ended = listed(aws, list);
            assert_eq!(ended.out.lines().count(), number + 1, "{list:?}");
            let warns = ended.log.contains("more than 8192 decisions come in no order of time");
            assert_eq!(warns, *number > IN_HAND, "{list:?}: {}", ended.log);
            // The newest are in order.
            let limited = listed(aws, &[list, &["--limit", "8192"]].concat());
            assert_eq!((limited.out.lines().count(), limited.log.as_str()), (IN_HAND + 1, ""), "{list:?}");
        }
    }
}
