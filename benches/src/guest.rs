//! Builds and guests that take little processor time of their own.
//!
//! Making a key of RSA costs more than a whole boot, so a few keys are made before anything is measured, and
//! all guests use them. Decrypting costs half a millisecond, so one answer in 64 is decrypted and its
//! passphrase compared. The signature under the report is left: no guest can make it before it has its nonce.

use std::{
    hint::black_box,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use aws_lc_rs::digest::{self, SHA256, SHA512};
use data_encoding::{HEXLOWER, HEXUPPER, HEXUPPER_PERMISSIVE};
use jiff::Timestamp;
use keybroker_simulator::{
    build::tee_config,
    guest::{GuestKey, Machine},
    report::REPORT_LEN,
};
use serde_json::Value;

use crate::{connection::Connection, figure::ms};

/// How many boots there are for each one whose passphrase is decrypted.
const DECRYPTED: u64 = 64;
/// Reports that are signed to see how long that takes.
const SIGNED: u8 = 200;

/// A key, and its public half as the guest spells it.
#[derive(Debug)]
struct Key {
    pair: GuestKey,
    modulus: String,
    exponent: String,
}

/// The parts that all guests share: a machine, keys, and a count that makes every workload another.
#[derive(Debug)]
pub(crate) struct Fleet {
    machine: Machine,
    keys: Vec<Arc<Key>>,
    workloads: AtomicU64,
}

impl Fleet {
    /// Makes `keys` keys.
    pub(crate) fn new(machine: Machine, keys: usize) -> Self {
        let key = |_| {
            let pair = GuestKey::generate();
            let (modulus, exponent) = (pair.modulus(), pair.exponent());
            Arc::new(Key { pair, modulus, exponent })
        };
        // A store that stays must not know the workloads of the next process.
        let first = Timestamp::now().as_microsecond().unsigned_abs();
        Self { machine, keys: (0..keys).map(key).collect(), workloads: AtomicU64::new(first) }
    }

    /// A guest of its own, with a connection to the broker at `address`.
    pub(crate) fn guest(&self, address: SocketAddr, number: usize) -> Result<Guest> {
        let key = self.keys.get(number % self.keys.len().max(1)).context("no key")?;
        Ok(Guest {
            connection: Connection::to(address),
            host: address.to_string(),
            machine: self.machine.clone(),
            key: Arc::clone(key),
            request: String::with_capacity(4096),
            workload: String::new(),
            passphrase: String::new(),
            boots: 0,
        })
    }

    /// The milliseconds in which a report is signed: most of what a guest does.
    pub(crate) fn signing_time(&self) -> f64 {
        let begin = Instant::now();
        for number in 0..SIGNED {
            black_box(self.machine.report([number; 64]));
        }
        ms(begin.elapsed()) / f64::from(SIGNED)
    }

    /// The number of a workload that nobody has used.
    pub(crate) fn workload(&self) -> u64 {
        self.workloads.fetch_add(1, Ordering::Relaxed)
    }
}

/// How long each step took: register, auth, attest, key. The first is zero for a boot without a registration.
pub(crate) type Steps = [Duration; 4];

/// A build and the guest that it is for, on one connection.
#[derive(Debug)]
pub(crate) struct Guest {
    connection: Connection,
    host: String,
    machine: Machine,
    key: Arc<Key>,
    request: String,
    workload: String,
    passphrase: String,
    boots: u64,
}

impl Guest {
    /// Registers workload `number` and boots it.
    pub(crate) async fn register_and_boot(&mut self, number: u64) -> Result<Steps> {
        let begin = Instant::now();
        self.register(number).await?;
        let register = begin.elapsed();
        let [_, auth, attest, key] = self.boot().await?;
        Ok([register, auth, attest, key])
    }

    /// Registers workload `number` as buildah does, under an id of 64 hex digits.
    pub(crate) async fn register(&mut self, number: u64) -> Result<()> {
        let name = digest::digest(&SHA256, &number.to_be_bytes());
        self.workload = HEXLOWER.encode(name.as_ref());
        self.passphrase = format!("{number:064x}");
        let body = format!(
            r#"{{"workload_id":"{}","launch_measurement":"{}","passphrase":"{}","tee_config":{}}}"#,
            self.workload,
            HEXLOWER.encode(&self.machine.fields.measurement),
            self.passphrase,
            Value::from(tee_config(15)),
        );
        self.post("register_workload", "", &body);
        self.connection.exchange(self.request.as_bytes()).await?.ok("register")?;
        Ok(())
    }

    /// Boots the workload that was registered: auth, attest, key.
    pub(crate) async fn boot(&mut self) -> Result<Steps> {
        let begin = Instant::now();
        let (cookie, nonce) = self.auth().await?;
        let auth = begin.elapsed();
        self.attest(&cookie, &nonce).await?;
        let attest = begin.elapsed();
        self.fetch(&cookie).await?;
        Ok([Duration::ZERO, auth, attest - auth, begin.elapsed() - attest])
    }

    /// Asks for a challenge. Gives the cookie and the nonce.
    async fn auth(&mut self) -> Result<(String, String)> {
        let body = auth_body(&self.workload);
        self.post("auth", "", &body);
        let answer = self.connection.exchange(self.request.as_bytes()).await?.ok("auth")?;
        let cookie = answer.header("set-cookie").and_then(|cookie| cookie.split(';').next());
        let cookie = format!("Cookie: {}\r\n", cookie.context("no cookie")?);
        let body = std::str::from_utf8(answer.body)?;
        let nonce = body.split_once(r#""nonce":""#).and_then(|(_, rest)| rest.split_once('"'));
        Ok((cookie, nonce.context("no nonce")?.0.to_owned()))
    }

    async fn attest(&mut self, cookie: &str, nonce: &str) -> Result<()> {
        let Key { modulus, exponent, .. } = &*self.key;
        let mut bound = digest::Context::new(&SHA512);
        for text in [nonce, modulus, exponent] {
            bound.update(text.as_bytes());
        }
        let report = self.machine.report(bound.finish().as_ref().try_into()?);
        let mut body = String::with_capacity(1024 + 2 * REPORT_LEN);
        body += r#"{"tee-pubkey":{"alg":"RSA","k-mod":""#;
        body += modulus;
        body += r#"","k-exp":""#;
        body += exponent;
        body += r#""},"tee-evidence":"{\"gen\":\"milan\",\"report\":\""#;
        HEXUPPER.encode_append(&report, &mut body);
        body += r#"\",\"cert_chain\":\"[]\"}"}"#;
        self.post("attest", cookie, &body);
        self.connection.exchange(self.request.as_bytes()).await?.ok("attest")?;
        Ok(())
    }

    /// Fetches the passphrase, and compares it now and then.
    async fn fetch(&mut self, cookie: &str) -> Result<()> {
        self.boots += 1;
        self.request.clear();
        self.request += &format!(
            "GET /kbs/v0/key/{} HTTP/1.1\r\nHost: {}\r\n{cookie}Accept: application/json\r\n\r\n",
            self.workload, self.host
        );
        let answer = self.connection.exchange(self.request.as_bytes()).await?.ok("key")?;
        let ciphertext = answer.body.get(1..513).context("no passphrase")?;
        if self.boots % DECRYPTED == 1 {
            let passphrase = self.key.pair.decrypt(&HEXUPPER_PERMISSIVE.decode(ciphertext)?)?;
            ensure!(passphrase == self.passphrase.as_bytes(), "another workload's passphrase");
        }
        Ok(())
    }

    fn post(&mut self, step: &str, cookie: &str, body: &str) {
        self.request.clear();
        post(&mut self.request, &self.host, step, cookie, body);
    }
}

/// The request of a stranger who asks for a challenge.
pub(crate) fn challenge_request(address: SocketAddr) -> String {
    let mut request = String::new();
    post(&mut request, &address.to_string(), "auth", "", &auth_body("nobody-registered-this"));
    request
}

fn auth_body(workload: &str) -> String {
    format!(r#"{{"extra-params":"{{\"workload_id\":\"{workload}\"}}","tee":"snp","version":"0.0.0"}}"#)
}

fn post(request: &mut String, host: &str, step: &str, cookie: &str, body: &str) {
    *request += &format!(
        "POST /kbs/v0/{step} HTTP/1.1\r\nHost: {host}\r\n{cookie}Accept: application/json\r\n\
         Content-Type: application/json; charset=utf-8\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    *request += body;
}
