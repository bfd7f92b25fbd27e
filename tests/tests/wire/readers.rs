//! Programs over libraries of others, which read what the broker writes: tests/jwe.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use jiff::Timestamp;
use keybroker_common::secret::seal::{GuestKey, Jwe};
use keybroker_simulator::guest::trustee::Jwk;
use keybroker_tests::{program::workspace, skip};
use serde_json::{Value, json};

/// A program with private keys that it keeps.
pub(crate) struct Reader {
    pub(crate) name: &'static str,
    keys: Vec<GuestKey>,
    /// The same keys as the texts of a guest's JWK.
    pub(crate) jwks: Vec<Jwk>,
    program: Child,
    asked: ChildStdin,
    said: BufReader<ChildStdout>,
}

impl Reader {
    fn start(name: &'static str) -> Self {
        let mut command = Command::new(workspace().join("tests/jwe/run"));
        let mut program = command.arg(name).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (asked, said) = (program.stdin.take().unwrap(), program.stdout.take().unwrap());
        let mut reader =
            Self { name, keys: Vec::new(), jwks: Vec::new(), program, asked, said: BufReader::new(said) };
        let written = reader.line();
        reader.keys = written.as_array().unwrap().iter().map(guest_key).collect();
        reader.jwks = written.as_array().unwrap().iter().map(jwk).collect();
        reader
    }

    /// All of them; where there is no npm, those in Python.
    pub(crate) fn each() -> impl Iterator<Item = Self> {
        let npm = Command::new("npm").arg("--version").stdout(Stdio::null()).status().is_ok();
        if !npm {
            skip("a reader of JWEs in JavaScript, for want of npm");
        }
        let names = ["jwcrypto", "joserfc", "jose"].into_iter();
        names.filter(move |name| npm || *name != "jose").map(Self::start)
    }

    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("{}: {line:?}", self.name))
    }

    /// The secret, or why it was not opened: with the key's algorithm allowed by name, or as the library is.
    pub(crate) fn ask(&mut self, key: usize, jwe: &[u8], by_name: bool) -> Result<Vec<u8>, String> {
        let allowed = by_name.then(|| [self.keys[key].alg(), "A256GCM"]);
        let jwe = std::str::from_utf8(jwe).unwrap();
        let said = self.answer(&json!({"key": key, "jwe": jwe, "algs": allowed}))?;
        Ok(HEXLOWER.decode(said["clear"].as_str().unwrap().as_bytes()).unwrap())
    }

    /// The claims of an attestation result by a JWK Set, or why it was not read.
    pub(crate) fn claims(&mut self, result: &str, jwks: &Value, now: Timestamp) -> Result<Value, String> {
        let asked = json!({"jwt": result, "jwks": jwks, "now": now.as_second()});
        Ok(self.answer(&asked)?["claims"].take())
    }

    fn answer(&mut self, asked: &Value) -> Result<Value, String> {
        writeln!(self.asked, "{asked}").unwrap();
        let said = self.line();
        match said["refused"].as_str() {
            Some(why) => Err(why.to_owned()),
            None => Ok(said),
        }
    }

    pub(crate) fn open(&mut self, key: usize, jwe: &Jwe) -> Result<Vec<u8>, String> {
        self.ask(key, &jwe.to_json(), true)
    }

    /// The keys of a guest that asks for this algorithm.
    pub(crate) fn keys(&self, alg: &str) -> Vec<(usize, GuestKey)> {
        self.keys.iter().cloned().enumerate().filter(|(_, key)| key.alg() == alg).collect()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

/// The key in a JWK, as Trustee's guests send one.
fn guest_key(jwk: &Value) -> GuestKey {
    let member = |name: &str| BASE64URL_NOPAD.decode(jwk[name].as_str().unwrap().as_bytes()).unwrap();
    match jwk["alg"].as_str().unwrap() {
        "RSA1_5" => GuestKey::rsa(&member("n"), &member("e")),
        "RSA-OAEP-256" => GuestKey::rsa_oaep_256(&member("n"), &member("e")),
        _ => GuestKey::p256(&member("x"), &member("y")),
    }
    .unwrap()
}

fn jwk(jwk: &Value) -> Jwk {
    let members = jwk.as_object().unwrap().iter();
    Jwk(members.map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())).collect())
}
