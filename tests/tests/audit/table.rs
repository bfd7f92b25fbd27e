//! Listings on AWS, of more records than a local AWS can be filled with: a server gives pages of made-up
//! items, as DynamoDB does, and counts what it was asked.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::Command,
    sync::{Arc, Mutex},
    thread,
};

use keybroker_tests::program;
use serde_json::{Value, json};

use crate::log::{most_records, peak_kib};

/// Items on a page: DynamoDB gives a megabyte.
const PAGE: usize = 1000;
/// The time of the newest record, in seconds since 1970.
const NEWEST: usize = 1_786_795_200;

/// A table of decisions: the number of its items, and the requests for them.
#[derive(Clone)]
struct Table {
    items: usize,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Table {
    fn serve(items: usize) -> (Self, String) {
        let table = Self { items, asked: Arc::default() };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serving = table.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let table = serving.clone();
                thread::spawn(move || table.connection(stream.unwrap()));
            }
        });
        (table, url)
    }

    fn connection(&self, mut stream: TcpStream) -> Option<()> {
        let mut reader = BufReader::new(stream.try_clone().ok()?);
        loop {
            let (mut operation, mut length) = (String::new(), 0);
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line).ok()? == 0 {
                    return None;
                }
                let Some((name, value)) = line.trim_end().split_once(": ") else {
                    if line.trim_end().is_empty() { break } else { continue }
                };
                match name.to_ascii_lowercase().as_str() {
                    "x-amz-target" => operation = value.rsplit('.').next()?.to_owned(),
                    "content-length" => length = value.parse().ok()?,
                    _ => {}
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).ok()?;
            let answer = self.answer(&operation, &serde_json::from_slice(&body).unwrap()).to_string();
            self.asked.lock().unwrap().push(operation);
            let length = answer.len();
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.0\r\nContent-Length";
            stream.write_all(format!("{head}: {length}\r\n\r\n{answer}").as_bytes()).ok()?;
        }
    }

    fn answer(&self, operation: &str, asked: &Value) -> Value {
        let number = |key: &Value| {
            let id = key["id"]["S"].as_str()?;
            usize::from_str_radix(id.get(..8)?, 16).ok()
        };
        let begin = number(&asked["ExclusiveStartKey"]).map_or(0, |last| last + 1);
        let decisions = asked["TableName"].as_str().is_some_and(|name| name.ends_with("-decisions"));
        match operation {
            "Scan" | "Query" if !decisions => json!({"Items": []}),
            "Scan" => self.page(begin, PAGE, item),
            "Query" => self.page(begin, 100, key),
            "BatchGetItem" => {
                let (name, keys) = asked["RequestItems"].as_object().unwrap().iter().next().unwrap();
                let keys = keys["Keys"].as_array().unwrap();
                let items: Vec<_> = keys.iter().map(|key| item(number(key).unwrap())).collect();
                json!({"Responses": {name: items}, "UnprocessedKeys": {}})
            }
            other => panic!("{other}: {asked}"),
        }
    }

    fn page(&self, begin: usize, number: usize, make: fn(usize) -> Value) -> Value {
        let end = (begin + number).min(self.items);
        let items: Vec<_> = (begin..end).map(make).collect();
        if end == self.items {
            json!({"Items": items})
        } else {
            json!({"Items": items, "LastEvaluatedKey": key(end - 1)})
        }
    }

    /// The requests since the last time.
    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

/// The newest item has the number 0.
fn key(number: usize) -> Value {
    json!({
        "id": {"S": format!("{number:08x}-0000-7000-8000-000000000000")},
        "workload_id": {"S": "w"},
        "time": {"N": format!("{}000000000", NEWEST - number)},
    })
}

fn item(number: usize) -> Value {
    let mut item = key(number);
    for (name, value) in [
        ("format", json!({"N": "1"})),
        ("operation", json!({"S": "attest"})),
        ("decision", json!({"S": "refused"})),
        ("check", json!({"S": "measurement"})),
        ("cause", json!({"S": "x".repeat(600)})),
    ] {
        item[name] = value;
    }
    item
}

fn command(url: &str, arguments: &[&str]) -> Command {
    let mut command = program::keybroker();
    command.args(arguments).arg("--aws").env("AWS_ENDPOINT_URL", url).env("AWS_REGION", "eu-central-1");
    command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test");
    command
}

/// Neither a list of all nor that of the newest; and the newest of a workload are found without a scan.
#[test]
fn a_listing_on_aws_holds_few_records() {
    let (few, many) = (Table::serve(1), Table::serve(most_records()));
    let least = peak_kib(&command(&few.1, &["audit", "--since", "30d"]));
    for arguments in [
        &["audit", "--limit", "10"][..],
        &["audit", "--until", "0s", "--json"],
        &["audit", "--workload", "w", "--limit", "10"],
    ] {
        let began = std::time::Instant::now();
        let most = peak_kib(&command(&many.1, arguments));
        println!("{arguments:?}: {most} KiB of {least}, {:?}", began.elapsed());
        assert!(most - least < 60 << 10, "{arguments:?}: {most} KiB, and {least} KiB for one record");
        let asked = many.0.asked();
        let scans = asked.iter().filter(|asked| *asked == "Scan").count();
        if arguments.contains(&"--workload") {
            assert_eq!(asked, ["Query", "Query", "BatchGetItem"], "{arguments:?}");
        } else {
            assert_eq!(scans, most_records().div_ceil(PAGE) + 1, "{arguments:?}: each page once");
        }
    }
}
