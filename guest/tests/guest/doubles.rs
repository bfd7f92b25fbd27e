//! Doubles that can fail before they act, and after.

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    sync::Mutex,
    time::Duration,
};

use data_encoding::BASE64URL_NOPAD;
use jiff::Timestamp;
use keybroker_guest::{
    disk::{DiskError, Header, Opener},
    report::{Evidence, ReportError, ReportSource},
    time::Time,
    transport::{Reply, Transport, TransportError},
};
use keybroker_initdata::Disk;
use keybroker_native::{AskHash, Sealed, SealedSecret, SigningKey, Suite};
use keybroker_simulator::{Product, pki::Chip, report::ReportFields};
use serde_json::{Value, json};

/// The date on which everything here happens.
pub(crate) const NOW: &str = "2026-11-29T00:00:00Z";

/// A clock that moves when somebody waits.
#[derive(Debug)]
pub(crate) struct ManualTime {
    elapsed: Mutex<Duration>,
    pub(crate) pauses: Mutex<Vec<Duration>>,
    pub(crate) now: Timestamp,
}

impl Default for ManualTime {
    fn default() -> Self {
        Self { elapsed: Mutex::default(), pauses: Mutex::default(), now: NOW.parse().unwrap() }
    }
}

impl ManualTime {
    pub(crate) fn advance(&self, by: Duration) {
        *self.elapsed.lock().unwrap() += by;
    }
}

impl Time for ManualTime {
    fn elapsed(&self) -> Duration {
        *self.elapsed.lock().unwrap()
    }

    fn now(&self) -> Timestamp {
        self.now
    }

    fn sleep(&self, pause: Duration) {
        self.pauses.lock().unwrap().push(pause);
        self.advance(pause);
    }
}

/// A processor that says what a test has it say. It signs nothing: the guest does not look at that.
pub(crate) struct Processor {
    pub(crate) fields: Mutex<ReportFields>,
    pub(crate) asked: Mutex<Vec<[u8; 64]>>,
    /// The answer to the next requests, in place of a report.
    pub(crate) errors: Mutex<VecDeque<ReportError>>,
    /// Whether REPORT_DATA is somebody else's.
    pub(crate) confused: bool,
}

impl Processor {
    pub(crate) fn new(host_data: [u8; 32]) -> Self {
        let fields = ReportFields { host_data, ..ReportFields::new(&Chip::new(Product::Milan, 1)) };
        Self {
            fields: Mutex::new(fields),
            asked: Mutex::default(),
            errors: Mutex::default(),
            confused: false,
        }
    }
}

impl ReportSource for Processor {
    fn name(&self) -> &'static str {
        "a double"
    }

    fn report(&self, report_data: &[u8; 64]) -> Result<Evidence, ReportError> {
        self.asked.lock().unwrap().push(*report_data);
        if let Some(error) = self.errors.lock().unwrap().pop_front() {
            return Err(error);
        }
        let mut fields = self.fields.lock().unwrap().clone();
        fields.report_data = if self.confused { [9; 64] } else { *report_data };
        let mut report = fields.encode().to_vec();
        report.resize(1184, 0);
        Ok(Evidence::new(report, &[]))
    }
}

/// The answer of a network or of a broker to one request.
pub(crate) enum Answer {
    /// As a broker answers that takes this guest.
    Sound,
    /// Nothing arrives there.
    LostBefore,
    /// It arrives, the broker answers, and the answer is lost.
    LostAfter,
    /// This, whatever was asked.
    Reply(u16, Option<u64>, Value),
    /// Another answer than the broker made.
    Altered(fn(&mut Value)),
    /// As a broker with another key.
    OtherKey,
    /// It takes so long.
    Slow(Duration),
}

/// A refusal.
pub(crate) fn refusal(status: u16, decision: Option<&str>) -> Answer {
    let mut problem = json!({
        "type": "about:blank",
        "title": "Not released",
        "status": status,
        "detail": "The evidence is refused.",
    });
    if let Some(decision) = decision {
        problem["decision"] = decision.into();
    }
    Answer::Reply(status, None, problem)
}

/// The decision's id in every sound answer.
pub(crate) const DECISION: &str = "0199c5c2-0000-7000-8000-00000000000d";
/// The secrets that the broker has.
pub(crate) const SECRETS: [(&str, &[u8]); 2] =
    [("passphrase", b"correct horse\n\0battery"), ("data", b"another")];

/// A network with brokers that speak the protocol through its own crate.
pub(crate) struct Network {
    pub(crate) key: SigningKey,
    /// For each request, in order. When it is used up, everything is sound.
    pub(crate) script: Mutex<VecDeque<Answer>>,
    /// Every request that arrived: URL and body.
    pub(crate) arrived: Mutex<Vec<(String, Value)>>,
    challenges: Mutex<u32>,
    pub(crate) time: Option<std::sync::Arc<ManualTime>>,
}

impl Network {
    pub(crate) fn new(key: SigningKey) -> Self {
        Self {
            key,
            script: Mutex::default(),
            arrived: Mutex::default(),
            challenges: Mutex::default(),
            time: None,
        }
    }

    pub(crate) fn then(self, answers: impl IntoIterator<Item = Answer>) -> Self {
        self.script.lock().unwrap().extend(answers);
        self
    }

    /// The URLs that were asked, in order.
    pub(crate) fn urls(&self) -> Vec<String> {
        self.arrived.lock().unwrap().iter().map(|(url, _)| url.clone()).collect()
    }

    /// The bodies of all requests for secrets.
    pub(crate) fn releases(&self) -> Vec<Value> {
        let arrived = self.arrived.lock().unwrap();
        arrived.iter().filter(|(url, _)| url.ends_with("/v1/release")).map(|(_, body)| body.clone()).collect()
    }

    pub(crate) fn sound(&self, url: &str, body: &Value) -> Value {
        if url.ends_with("/v1/challenge") {
            assert_eq!(*body, json!({}));
            let mut number = self.challenges.lock().unwrap();
            *number += 1;
            return json!({"challenge": format!("{number:078}"), "expires_in": 300});
        }
        release(&self.key, body)
    }
}

/// A broker's answer, under `key`. REPORT_DATA is taken from the report: that it is the request's hash is for
/// the test of the protocol to show, and the guest opens nothing otherwise.
pub(crate) fn release(key: &SigningKey, body: &Value) -> Value {
    let bytes = |value: &Value| BASE64URL_NOPAD.decode(value.as_str().unwrap().as_bytes()).unwrap();
    let report = bytes(&body["evidence"]["report"]);
    let hash = AskHash(report[0x50..0x90].try_into().unwrap());
    let suite = Suite::named(body["suite"].as_str().unwrap()).unwrap();
    let names: Vec<&str> =
        body["secrets"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    let secrets: Vec<(&str, &[u8])> = names
        .iter()
        .map(|name| {
            SECRETS.into_iter().find(|(known, _)| known == name).expect("a secret that the broker has")
        })
        .collect();
    let (encapsulated, sealed) =
        suite.sealer(&bytes(&body["public_key"]), &hash).unwrap().seal(secrets.iter().copied()).unwrap();
    let secrets = names
        .iter()
        .zip(sealed)
        .map(|(name, ciphertext)| SealedSecret { name: (*name).to_owned(), ciphertext })
        .collect();
    let sealed = Sealed { decision: DECISION.to_owned(), encapsulated, secrets };
    serde_json::from_slice(&sealed.sign(&hash, key).unwrap().to_json()).unwrap()
}

impl Transport for Network {
    fn post(&self, url: &str, body: &[u8], within: Duration) -> Result<Reply, TransportError> {
        let answer = self.script.lock().unwrap().pop_front().unwrap_or(Answer::Sound);
        if matches!(answer, Answer::LostBefore) {
            return Err(TransportError::Connect("connection refused".to_owned()));
        }
        let body: Value = serde_json::from_slice(body).unwrap();
        self.arrived.lock().unwrap().push((url.to_owned(), body.clone()));
        let reply = |status, after: Option<u64>, body: &Value| Reply {
            status,
            retry_after: after.map(Duration::from_secs),
            body: body.to_string().into_bytes(),
        };
        match answer {
            Answer::Sound | Answer::LostBefore => Ok(reply(200, None, &self.sound(url, &body))),
            Answer::LostAfter => {
                self.sound(url, &body);
                Err(TransportError::Protocol("connection closed".to_owned()))
            }
            Answer::Reply(status, after, body) => Ok(reply(status, after, &body)),
            Answer::Altered(alter) => {
                let mut answer = self.sound(url, &body);
                alter(&mut answer);
                Ok(reply(200, None, &answer))
            }
            Answer::OtherKey => Ok(reply(200, None, &release(&SigningKey::generate().unwrap(), &body))),
            Answer::Slow(lasts) if lasts > within => {
                self.time.as_ref().unwrap().advance(within);
                Err(TransportError::Silent(within))
            }
            Answer::Slow(lasts) => {
                self.time.as_ref().unwrap().advance(lasts);
                Ok(reply(200, None, &self.sound(url, &body)))
            }
        }
    }
}

/// A disk that was opened, and with what.
pub(crate) struct Opened {
    pub(crate) name: String,
    pub(crate) device: PathBuf,
    pub(crate) header: Vec<u8>,
    pub(crate) key: Vec<u8>,
}

/// Opens disks on paper.
#[derive(Default)]
pub(crate) struct Cabinet {
    pub(crate) opened: Mutex<Vec<Opened>>,
    /// Fail before a disk is open, or after.
    pub(crate) failure: Option<(When, fn() -> DiskError)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    Before,
    After,
}

impl Opener for Cabinet {
    fn open(&self, disk: &Disk, device: &Path, header: &Header, key: &[u8]) -> Result<(), DiskError> {
        if let Some((When::Before, error)) = self.failure {
            return Err(error());
        }
        let header = std::fs::read(header.path()).unwrap();
        let (name, device, key) = (disk.name.clone(), device.to_owned(), key.to_vec());
        self.opened.lock().unwrap().push(Opened { name, device, header, key });
        match self.failure {
            Some((When::After, error)) => Err(error()),
            _ => Ok(()),
        }
    }
}
