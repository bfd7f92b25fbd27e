//! Every dialect a workload is registered for × every challenge × every way to attest × every way to ask for
//! the secret: what belongs together is released, and nothing else.

use std::collections::BTreeSet;

use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER};
use keybroker_common::{
    broker::{self, Credential, RegisterRequest},
    dialect::{
        Dialect::{self, Keybroker, Libkrun, Native, Trustee},
        Dialects,
    },
    ids::{AuditId, HostData, WorkloadId},
    requirements::{BoundBy, InitDataRequirement},
    secret::Secret,
};
use keybroker_initdata::{Algorithm, InitDataDigest};
use keybroker_native::{
    Evidence, Suite,
    client::{self, Pending},
};
use keybroker_simulator::{
    guest::trustee::{
        self, Attestation, HashAlgorithm, Jwe, JweForm, KbsVersion, KeyForm, Shape, TrusteeKey,
    },
    report::ReportFields,
};
use keybroker_testing::{
    guest::KEY,
    world::{PASSPHRASE, SECRET, World, request},
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha512};

use super::*;

/// A status, and the check that failed where there is an audit record.
type Outcome = (u16, Option<String>);

/// A challenge, in the parts that any dialect makes its own of.
struct Given {
    /// As a cookie holds it.
    id: String,
    /// As `auth` gives it.
    nonce: String,
}

/// A broker, and one workload that guests of every dialect can name.
struct Ground {
    world: World,
    host_data: HostData,
    /// The key of Trustee's guests.
    key: TrusteeKey,
    router: Router,
}

/// The secret as Trustee's guests name it.
const TRUSTEE_SECRET: &str = "default/key/passphrase";

impl Ground {
    /// A process that has turned nobody away yet.
    fn again(&mut self) {
        let keybroker_testing::world::Broker { register, auth, attest } = self.world.broker();
        self.router = checked(router(broker::Broker { register, auth, attest }));
    }

    async fn new(dialects: &[Dialect], init_data: Option<InitDataRequirement>) -> Self {
        let world = World::new().await;
        let host_data = HostData::random();
        let mut registration = RegisterRequest {
            workload_id: host_data.workload_id(),
            dialects: Dialects::try_from(dialects.to_vec()).unwrap(),
            credential: Credential::None,
            ..request("unused", PASSPHRASE)
        };
        registration.policy.init_data = init_data;
        let secret = Secret::new(PASSPHRASE.as_bytes().to_vec());
        registration.secrets.insert(TRUSTEE_SECRET.to_owned(), secret);
        world.broker().register.register(registration).await.unwrap();
        let key = TrusteeKey::generate(KeyForm::P256);
        let mut ground = Self { world, host_data, key, router: Router::new() };
        ground.again();
        ground
    }

    fn workload_id(&self) -> WorkloadId {
        self.host_data.workload_id()
    }

    async fn ask(&self, request: Request<Body>) -> (Outcome, http::HeaderMap, String) {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let headers = response.headers().clone();
        let (status, body) = whole(response).await;
        let read: Value = serde_json::from_str(&body).unwrap_or_default();
        let id = read.get("id").or(read.get("decision")).and_then(Value::as_str);
        let detail = read.get("detail").and_then(Value::as_str);
        let id = id.or(detail.and_then(|detail| detail.split_once("(decision ")?.1.strip_suffix(')')));
        let record = |id: &str| {
            let id = AuditId(id.parse().unwrap());
            self.world.store.audit_record(id).unwrap().expect("a record")
        };
        let failed = id.and_then(|id| record(id).failed).map(|failed| failed.check);
        ((status.as_u16(), failed), headers, body)
    }

    /// The path below the URL that names the workload.
    fn named(&self, path: &str) -> String {
        format!("/w/{}{path}", self.workload_id())
    }

    /// A challenge of this dialect.
    async fn challenge(&self, dialect: Dialect) -> Given {
        let asking = |version, extra| json!({"version": version, "tee": "snp", "extra-params": extra});
        let (path, body) = match dialect {
            Libkrun => {
                let named = json!({"workload_id": self.workload_id().as_str()}).to_string();
                (AUTH.to_owned(), asking("0.0.0", json!(named)))
            }
            Keybroker => (AUTH.to_owned(), asking("0.0.0", json!(""))),
            Native => (client::CHALLENGE_PATH.to_owned(), json!({})),
            Trustee => (self.named(AUTH), asking("0.2.0", json!({}))),
        };
        self.challenge_by(dialect, &path, &body).await
    }

    /// A challenge by a request of this dialect.
    async fn challenge_by(&self, dialect: Dialect, path: &str, body: &Value) -> Given {
        let ((status, _), headers, body) = self.ask(post(path, body.to_string())).await;
        assert_eq!(status, 200, "{dialect:?}: {body}");
        let body: Value = serde_json::from_str(&body).unwrap();
        if dialect == Native {
            assert!(!headers.contains_key(header::SET_COOKIE));
            let (id, nonce) = body["challenge"].as_str().unwrap().split_at(35);
            let nonce = BASE64.encode(&BASE64URL_NOPAD.decode(nonce.as_bytes()).unwrap());
            return Given { id: id.to_owned(), nonce };
        }
        let cookie = headers[header::SET_COOKIE].to_str().unwrap();
        let (name, rest) = cookie.split_once('=').unwrap();
        assert_eq!(Some(name), cookie_of(dialect));
        let id = rest.split_once(';').unwrap().0.to_owned();
        Given { id, nonce: body["nonce"].as_str().unwrap().to_owned() }
    }

    fn report(&self, report_data: [u8; 64]) -> Vec<u8> {
        let chip = &self.world.hardware.chip;
        let host_data = self.host_data.to_bytes();
        let fields = ReportFields { report_data, host_data, ..ReportFields::new(chip) };
        fields.sign(&chip.vcek_key(chip.tcb)).to_vec()
    }

    /// Attests as a guest of this dialect, sound in all else. A native guest gets its secret at once.
    async fn attest(&self, dialect: Dialect, given: &Given) -> (Outcome, Option<Vec<u8>>) {
        if dialect == Native {
            return self.release(given, init_data()).await;
        }
        if dialect == Trustee {
            return (self.attest_trustee(KbsVersion::V0_2_0, &self.key, given).await, None);
        }
        let parts = [given.nonce.as_bytes(), KEY.texts.modulus.as_bytes(), KEY.texts.exponent.as_bytes()];
        let report = self.report(Sha512::digest(parts.concat()).into());
        let evidence = json!({"report": HEXLOWER.encode(&report)}).to_string();
        let key = json!({"alg": "RSA", "k-mod": KEY.texts.modulus, "k-exp": KEY.texts.exponent});
        let body = json!({"tee-pubkey": key, "tee-evidence": evidence}).to_string();
        let request = under(dialect, &given.id, post(ATTEST, body));
        (self.ask(request).await.0, None)
    }

    /// Attests as a guest of Trustee's that has this key.
    async fn attest_trustee(&self, version: KbsVersion, key: &TrusteeKey, given: &Given) -> Outcome {
        let mut message = Attestation {
            version,
            nonce: given.nonce.clone(),
            tee_pubkey: key.jwk().clone(),
            evidence: String::new(),
            additional_evidence: String::new(),
            init_data: None,
        };
        let report = self.report(message.report_data(HashAlgorithm::Sha384));
        let written = Shape::A.write(&report.try_into().unwrap()).unwrap();
        message.evidence = trustee::evidence(&written, None);
        self.ask(under(Trustee, &given.id, post(ATTEST, message.body()))).await.0
    }

    /// Asks for the secret as a guest of this dialect, under its own cookie.
    async fn secret(&self, dialect: Dialect, given: &Given) -> (Outcome, Option<Vec<u8>>) {
        if dialect == Native {
            return self.release(given, init_data()).await;
        }
        let request = under(dialect, &given.id, bare(Method::GET, &self.secret_path(dialect)));
        let (outcome, _, body) = self.ask(request).await;
        if dialect == Trustee {
            let jwe = Jwe::parse(body.as_bytes());
            return (outcome, jwe.and_then(|jwe| jwe.open(JweForm::Rfc7516, &self.key).ok()));
        }
        let body: Value = serde_json::from_str(body.trim_end_matches('\0')).unwrap();
        let sealed = if dialect == Libkrun { &body } else { &body["ciphertext"] };
        let opened = sealed.as_str().and_then(|hex| KEY.open(&HEXLOWER.decode(hex.as_bytes()).unwrap()));
        (outcome, opened)
    }

    fn secret_path(&self, dialect: Dialect) -> String {
        match dialect {
            Libkrun => format!("/kbs/v0/key/{}", self.workload_id()),
            Trustee => format!("/kbs/v0/resource/{TRUSTEE_SECRET}"),
            _ => RESOURCE.replace("{name}", SECRET),
        }
    }

    async fn release(&self, given: &Given, said: InitDataDigest) -> (Outcome, Option<Vec<u8>>) {
        let nonce = BASE64URL_NOPAD.encode(&BASE64.decode(given.nonce.as_bytes()).unwrap());
        let challenge = client::Challenge { challenge: format!("{}{nonce}", given.id), expires_in: 300 };
        let key = self.world.signer.broker_key();
        let (workload, secrets) = (self.workload_id(), vec![SECRET.to_owned()]);
        let pending =
            Pending::new(Suite::X25519, &challenge, workload.as_str(), secrets, said, vec![key.id()])
                .unwrap();
        let report = self.report(pending.report_data());
        let body = pending.request(&Evidence::of_report(report, Vec::new()));
        let (outcome, _, answer) = self.ask(post(client::RELEASE_PATH, body)).await;
        let opened = pending.open(answer.as_bytes(), &[key]).ok();
        (outcome, opened.map(|opened| opened.secrets[0].to_vec()))
    }
}

/// The init data that native guests say they have.
fn init_data() -> InitDataDigest {
    Algorithm::Sha256.digest("a document")
}

fn cookie_of(dialect: Dialect) -> Option<&'static str> {
    keybroker_common::wire::manners(dialect).session.map(|session| session.cookie)
}

/// The request with this session under the cookie of `dialect`.
fn under(dialect: Dialect, id: &str, mut request: Request<Body>) -> Request<Body> {
    let cookie = format!("{}={id}", cookie_of(dialect).unwrap());
    request.headers_mut().insert(header::COOKIE, cookie.parse().unwrap());
    request
}

fn refused(status: u16, check: &str) -> Outcome {
    (status, Some(check.to_owned()))
}

const OK: Outcome = (200, None);
/// It has not the form of its dialect: nothing is decided.
const FORM: Outcome = (400, None);
/// The same, where the guest is Trustee's.
const TRUSTEE_FORM: Outcome = (401, None);

/// The status of a refusal in the form that `dialect` reads: Trustee's guests attest anew after 401.
fn forbidden(dialect: Dialect) -> u16 {
    if dialect == Trustee { 401 } else { 403 }
}

/// How attesting must end.
fn attested(registered: &[Dialect], challenge: Dialect, attest: Dialect) -> Outcome {
    match (challenge, attest) {
        (_, Native) if challenge != attest => FORM,
        // The cookie is keybroker's and Trustee's: the challenge says in which form the evidence is read.
        (_, Trustee) if challenge != attest => FORM,
        (Trustee, Keybroker) => TRUSTEE_FORM,
        _ if challenge != attest => refused(403, "session"),
        _ if !registered.contains(&attest) => refused(forbidden(attest), "workload"),
        _ => OK,
    }
}

/// How asking for the secret must end after that.
fn asked(
    registered: &[Dialect],
    attested: &Outcome,
    challenge: Dialect,
    attest: Dialect,
    secret: Dialect,
) -> Outcome {
    let session = *attested == OK && attest != Native;
    match secret {
        Native if challenge != Native => FORM,
        // Nothing was decided about the challenge yet.
        Native if *attested == FORM => self::attested(registered, challenge, secret),
        // A challenge is answered once.
        Native => refused(401, "session"),
        _ if !session => refused(401, "session"),
        _ if secret != attest => refused(forbidden(secret), "session"),
        _ => OK,
    }
}

/// Every set of dialects.
fn every_registration() -> Vec<Vec<Dialect>> {
    let chosen =
        |set: usize| Dialect::ALL.into_iter().enumerate().filter(move |(bit, _)| set >> bit & 1 == 1);
    (1..1 << Dialect::ALL.len()).map(|set| chosen(set).map(|(_, dialect)| dialect).collect()).collect()
}

#[tokio::test]
async fn what_belongs_together_is_released_and_nothing_else() {
    let mut released = BTreeSet::new();
    let mut combinations = 0;
    for registered in every_registration() {
        let mut ground = Ground::new(&registered, None).await;
        let mut in_the_log = 0;
        for challenge in Dialect::ALL {
            for attest in Dialect::ALL {
                let mut session = None;
                for secret in Dialect::ALL {
                    ground.again();
                    let what =
                        format!("registered for {registered:?}, {challenge:?}, {attest:?}, {secret:?}");
                    // Asking for a secret under a session changes nothing about it. A challenge of the native
                    // dialect is spent by it.
                    let (given, first, at_once) = match session.take() {
                        Some((given, first)) if challenge != Native => (given, first, None),
                        _ => {
                            let given = ground.challenge(challenge).await;
                            let (first, at_once) = ground.attest(attest, &given).await;
                            (given, first, at_once)
                        }
                    };
                    assert_eq!(first, attested(&registered, challenge, attest), "{what}: attest");
                    let (then, fetched) = ground.secret(secret, &given).await;
                    assert_eq!(then, asked(&registered, &first, challenge, attest, secret), "{what}: secret");
                    let mut got = at_once.into_iter().chain(fetched).peekable();
                    if got.peek().is_some() {
                        released.insert(what);
                    }
                    for clear in got {
                        assert_eq!(clear, PASSPHRASE.as_bytes());
                        in_the_log += 1;
                    }
                    combinations += 1;
                    session = Some((given, first));
                }
            }
        }
        let releases = ground.world.audit().into_iter();
        let releases =
            releases.filter(|record| record.decision == keybroker_common::audit::Decision::Released);
        assert_eq!(releases.count(), in_the_log, "{registered:?}");
    }
    let mut expected = BTreeSet::new();
    for registered in every_registration() {
        for dialect in &registered {
            // A native guest has its secret before anybody asks in another way.
            let asked: &[Dialect] = if *dialect == Native { &Dialect::ALL } else { &[*dialect] };
            for secret in asked {
                expected
                    .insert(format!("registered for {registered:?}, {dialect:?}, {dialect:?}, {secret:?}"));
            }
            // A body that has not the form of its dialect spends no challenge.
            if *dialect == Native {
                expected.insert(format!("registered for {registered:?}, Native, Trustee, Native"));
            }
        }
    }
    assert_eq!(released, expected);
    assert_eq!((combinations, expected.len()), (15 * 64, 3 * 8 + 8 * 5));
}

/// A session under another dialect's cookie is none where that cookie is not looked for.
#[tokio::test]
async fn a_route_knows_its_own_cookie_alone() {
    let mut ground = Ground::new(&Dialect::ALL, None).await;
    for (own, other) in [(Libkrun, Keybroker), (Keybroker, Libkrun)] {
        ground.again();
        let given = ground.challenge(own).await;
        assert_eq!(ground.attest(own, &given).await.0, OK);
        let path = ground.secret_path(other);
        let (outcome, ..) = ground.ask(under(own, &given.id, bare(Method::GET, &path))).await;
        assert_eq!(outcome, (401, None), "{own:?}");
        assert_eq!(ground.secret(own, &given).await.0, OK);
        // No cookie opens the broker's own protocol, or is asked for there.
        let fresh = ground.challenge(Native).await;
        let body = json!({"challenge": fresh.id}).to_string();
        let (outcome, ..) = ground.ask(under(own, &given.id, post(client::RELEASE_PATH, body))).await;
        assert_eq!(outcome, FORM);
    }
}

/// Init data is required in every dialect that a registration lists. Guests of the others say nothing of
/// theirs: HOST_DATA must, or nobody does.
#[tokio::test]
async fn init_data_is_required_in_every_dialect() {
    for bound_by in [BoundBy::Measurement, BoundBy::Nothing] {
        let required = InitDataRequirement { digest: init_data(), bound_by, broker_keys: None };
        let mut ground = Ground::new(&Dialect::ALL, Some(required)).await;
        for dialect in Dialect::ALL {
            ground.again();
            let given = ground.challenge(dialect).await;
            let expected = if dialect == Native { OK } else { refused(forbidden(dialect), "init-data") };
            assert_eq!(ground.attest(dialect, &given).await.0, expected, "{bound_by:?} {dialect:?}");
        }
        let given = ground.challenge(Native).await;
        let other = Algorithm::Sha256.digest("another document");
        assert_eq!(ground.release(&given, other).await, (refused(403, "init-data"), None));
    }
    let bound_by = BoundBy::HostData;
    let required = InitDataRequirement { digest: init_data(), bound_by, broker_keys: None };
    let ground = Ground::new(&Dialect::ALL, Some(required)).await;
    for dialect in Dialect::ALL {
        // Launched with a HOST_DATA that is no digest of it.
        let given = ground.challenge(dialect).await;
        let expected = refused(forbidden(dialect), "init-data");
        assert_eq!(ground.attest(dialect, &given).await.0, expected, "{dialect:?}");
    }
}

/// 0.1.0 with empty `extra-params` may be keybroker's guest or Trustee's: the key says which, once.
#[tokio::test]
async fn a_challenge_that_leaves_the_dialect_open_is_the_keys_to_decide() {
    let open = json!({"version": "0.1.0", "tee": "snp", "extra-params": ""});
    for registered in [vec![Keybroker], vec![Trustee], vec![Keybroker, Trustee]] {
        let mut ground = Ground::new(&registered, None).await;
        let rsa = TrusteeKey::generate(KeyForm::Rsa1_5);
        for dialect in [Keybroker, Trustee] {
            ground.again();
            let what = format!("registered for {registered:?}, {dialect:?}");
            let given = ground.challenge_by(dialect, AUTH, &open).await;
            let (first, expected) = match dialect {
                Keybroker => {
                    let own = registered.contains(&Keybroker);
                    let expected = if own { OK } else { refused(403, "workload") };
                    (ground.attest(dialect, &given).await.0, expected)
                }
                // There is no init data that HOST_DATA could select the registration by.
                _ => {
                    let attested = ground.attest_trustee(KbsVersion::V0_1_0, &rsa, &given).await;
                    (attested, refused(401, "host-data"))
                }
            };
            assert_eq!(first, expected, "{what}");
            // The other guest cannot answer it any more.
            let other = match dialect {
                Keybroker => ground.attest_trustee(KbsVersion::V0_1_0, &rsa, &given).await,
                _ => ground.attest(Keybroker, &given).await.0,
            };
            let late = if dialect == Keybroker { Trustee } else { Keybroker };
            assert_eq!(other, refused(401, "session"), "{what}, {late:?}");
            let path = ground.named(AUTH);
            let given = ground.challenge_by(Trustee, &path, &open).await;
            let named = ground.attest_trustee(KbsVersion::V0_1_0, &rsa, &given).await;
            let expected = if registered.contains(&Trustee) { OK } else { refused(401, "workload") };
            assert_eq!(named, expected, "{what}, by its URL");
        }
    }
}
