//! `keybroker keys rewrap` on AWS: rows move from key to key by KMS's ReEncrypt.

use std::{fs, process::Stdio, sync::Arc, time::Duration};

use aws_sdk_dynamodb::types::AttributeValue;
use keybroker_aws::{
    dynamodb::{AllTables, DynamoStore},
    kms::{KmsKeyring, KmsUnwrap, KmsWrap},
};
use keybroker_common::{
    amend::{self, Change},
    audit::{AuditRecord, Decision, Operation},
    dialect::Dialect,
    ids::WorkloadId,
    keyring::{Keyring, KeyringWrap as _, Purpose},
    secret::{EncryptionContext, Secret, Unwrap as _},
    store::{KeyringStore as _, OperatorStore as _, WorkloadStore as _},
    workload::Workload,
};
use keybroker_tests::{
    local_aws::{dynamodb, kms, refuse, refuse_times},
    operator::{Contents, Operator},
    program::Ended,
    unique,
};
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use crate::resource::wrapped;

const SECRET: &[u8] = b"a secret that stays what it is";

/// A deployment whose alias leads to the new key already.
struct Deployment {
    operator: Operator,
    kms: aws_sdk_kms::Client,
    alias: String,
    old: String,
    new: String,
}

impl Deployment {
    /// With these workloads; the rings `challenge` and `signature` are of the old key, and `session` has one
    /// of each.
    async fn with(contents: impl AsyncFnOnce(&KmsWrap) -> Vec<Workload>) -> Self {
        let ((kms, old), (_, new)) = (kms().await, kms_key().await);
        let alias = format!("alias/{}", unique("t"));
        kms.create_alias().alias_name(&alias).target_key_id(&new).send().await.unwrap();
        let mut rings = Vec::new();
        for (purpose, keys) in [
            (Purpose::Challenge, vec![&old]),
            (Purpose::Session, vec![&old, &new]),
            (Purpose::Signature, vec![&old]),
        ] {
            let mut ring = Keyring::default();
            for key in keys {
                let wrap = KmsKeyring::new(kms.clone(), key, purpose);
                let key = wrap.wrap_key(&Secret::new(vec![7; 32])).await.unwrap();
                ring = ring.with(key, jiff::Timestamp::now());
            }
            rings.push((purpose, ring));
        }
        let workloads = contents(&KmsWrap::new(kms.clone(), &old)).await;
        let operator = Operator::aws(&Contents { workloads, rings, ..Contents::default() }).await;
        Self { operator, kms, alias, old, new }
    }

    fn arguments<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        let keys = ["--from", &self.old, "--to", &self.new, "--kms-key", &self.alias];
        [&["keys", "rewrap"][..], &keys, more].concat()
    }

    fn rewrap(&self, more: &[&str]) -> Ended {
        self.operator.run(&self.arguments(more))
    }

    fn store(&self) -> DynamoStore<AllTables> {
        let workloads = self.operator.table("workloads");
        DynamoStore::new(dynamodb(), AllTables::with_prefix(workloads.strip_suffix("-workloads").unwrap()))
    }

    async fn row(&self, id: &str) -> Workload {
        self.store().workload(&WorkloadId::new(id).unwrap()).await.unwrap().unwrap()
    }

    /// Asserts that every secret opens with the key that its row names, and gives the ids of the rows that
    /// name another key than the new one.
    async fn left(&self, expected: &[u8]) -> Vec<String> {
        let (store, unwrap) = (self.store(), KmsUnwrap::new(self.kms.clone()));
        let (mut left, mut next) = (Vec::new(), None);
        loop {
            let page = store.workloads(next.as_ref()).await.unwrap();
            for row in page.rows {
                for (name, wrapped) in &row.secrets {
                    let context = EncryptionContext {
                        workload_id: row.id.clone(),
                        secret: name.clone(),
                        registration: row.digest(),
                    };
                    let opened = unwrap.unwrap_secret(&context, wrapped).await.unwrap();
                    assert_eq!(opened.expose(), expected, "{} {name}", row.id);
                }
                if row.secrets.values().any(|wrapped| wrapped.key_id != self.new) {
                    left.push(row.id.to_string());
                }
            }
            next = page.next;
            if next.is_none() {
                return left;
            }
        }
    }

    fn records(&self) -> Vec<Value> {
        let records = self.operator.json(&["audit", "--since", "1h"])["records"].clone();
        let mut records = records.as_array().unwrap().clone();
        records.retain(|record| record["decision"] == "rewrapped");
        records
    }
}

async fn kms_key() -> (aws_sdk_kms::Client, String) {
    kms().await
}

async fn some(wrap: &KmsWrap) -> Vec<Workload> {
    let web = [("a/b/c", SECRET), ("a/b/d", SECRET)];
    vec![
        wrapped(wrap, "web", Dialect::Trustee, &web).await,
        wrapped(wrap, "api", Dialect::Keybroker, &[("tls.key", SECRET)]).await,
        wrapped(wrap, "image", Dialect::Libkrun, &[("passphrase", SECRET)]).await,
    ]
}

async fn many(wrap: &KmsWrap) -> Vec<Workload> {
    let mut workloads = Vec::new();
    for number in 0..40 {
        workloads
            .push(wrapped(wrap, &format!("w{number}"), Dialect::Keybroker, &[("tls.key", SECRET)]).await);
    }
    workloads
}

#[tokio::test]
async fn every_row_moves_and_is_on_record_and_a_second_run_finds_nothing() {
    let aws = Deployment::with(some).await;
    assert_eq!(aws.operator.run(&["workload", "revoke", "api"]).code, Some(0));
    let dry = aws.rewrap(&["--dry-run"]);
    for said in [
        "workload web",
        "2 secrets",
        "1 secret ",
        "1 key ",
        "ring challenge",
        "ring session",
        "ring signature",
        &aws.old,
    ] {
        assert!(dry.code == Some(0) && dry.out.contains(said), "{said}: {dry:?}");
    }
    assert_eq!(aws.left(SECRET).await.len(), 3);
    let asked = aws.rewrap(&[]);
    assert!(asked.code == Some(2) && asked.log.contains("--yes"), "{asked:?}");
    let before = aws.row("web").await;

    // KMS refuses once: the command asks again.
    refuse("test", "ReEncrypt", "ThrottlingException");
    let ended = aws.rewrap(&["--yes", "--json"]);
    assert!(ended.code == Some(0) && ended.log.contains("no row names an old key"), "{ended:?}");
    let document: Value = serde_json::from_str(&ended.out).unwrap();
    let (workloads, rings) = (&document["workloads"], &document["rings"]);
    assert_eq!((workloads.as_array().unwrap().len(), rings.as_array().unwrap().len()), (3, 3), "{document}");
    assert_eq!(aws.left(SECRET).await, Vec::<String>::new());
    let after = aws.row("web").await;
    assert_eq!(Workload { secrets: before.secrets.clone(), ..after }, before, "nothing else changed");
    assert!(aws.row("api").await.revoked_at.is_some());
    for purpose in [Purpose::Challenge, Purpose::Session, Purpose::Signature] {
        for kept in aws.store().keyring(purpose).await.unwrap().unwrap().ring.keys {
            let opened =
                KmsKeyring::new(aws.kms.clone(), "none", purpose).unwrap_key(&kept.wrapped).await.unwrap();
            assert_eq!((opened.expose(), &kept.wrapped.key_id), (&[7; 32][..], &aws.new));
        }
    }
    let records = aws.records();
    assert_eq!(records.len(), 6);
    for record in &records {
        let act = &record["act"]["rewrapped"];
        assert_eq!((&act["from"], &act["to"]), (&json!([aws.old]), &json!(aws.new)), "{record}");
        assert!(record["principal"].as_str().unwrap().starts_with("aws-access-key/"), "{record}");
        assert_eq!(record["workload_id"].is_string(), record["registration"].is_string(), "{record}");
        assert_ne!(record["workload_id"].is_string(), act["ring"].is_string(), "{record}");
    }
    let again = aws.rewrap(&[]);
    assert!(again.code == Some(0) && again.log.contains("no row names an old key"), "{again:?}");
    assert_eq!(aws.records().len(), 6);
}

/// A writer of the table can put there what a key of its own wrapped, or alter what a row demands. The
/// broker's key takes neither over.
#[tokio::test]
async fn what_the_broker_did_not_wrap_for_its_row_stays_as_it_is_and_is_told() {
    let (kms, thief) = kms().await;
    let aws = Deployment::with(async |wrap| {
        let mut altered = wrapped(wrap, "altered", Dialect::Keybroker, &[("tls.key", SECRET)]).await;
        altered.registration.push(b' ');
        let thiefs = KmsWrap::new(kms, &thief);
        let strange = wrapped(&thiefs, "strange", Dialect::Keybroker, &[("tls.key", SECRET)]).await;
        [some(wrap).await, vec![altered, strange]].concat()
    })
    .await;
    let before = (aws.row("altered").await, aws.row("strange").await);
    let dry = aws.rewrap(&["--dry-run"]);
    assert!(
        dry.code == Some(1) && dry.log.contains("workload strange: ") && dry.log.contains(&thief),
        "{dry:?}"
    );
    let ended = aws.rewrap(&["--yes"]);
    let told = ["workload altered: ", "workload strange: ", "do not disable the old key"];
    assert!(ended.code == Some(1) && told.iter().all(|told| ended.log.contains(told)), "{ended:?}");
    assert_eq!((aws.row("altered").await, aws.row("strange").await), before);
    for id in ["web", "api", "image"] {
        assert!(aws.row(id).await.secrets.values().all(|wrapped| wrapped.key_id == aws.new), "{id}");
    }
    assert_eq!(aws.records().len(), 6);
}

/// A writer of another release or program: the row stays, and the cause is told.
#[tokio::test]
async fn a_row_that_another_program_wrote_stays_and_is_told() {
    let aws = Deployment::with(async |wrap| {
        let mut by_id = wrapped(wrap, "by-id", Dialect::Keybroker, &[("tls.key", SECRET)]).await;
        for secret in by_id.secrets.values_mut() {
            secret.key_id = secret.key_id.rsplit_once('/').unwrap().1.to_owned();
        }
        [some(wrap).await, vec![by_id]].concat()
    })
    .await;
    let spaced = serde_json::to_string_pretty(&aws.row("web").await.secrets).unwrap();
    let update = dynamodb().update_item().table_name(aws.operator.table("workloads"));
    let update = update.key("workload_id", AttributeValue::S("web".to_owned()));
    let update = update.update_expression("SET secrets = :secrets");
    update.expression_attribute_values(":secrets", AttributeValue::S(spaced)).send().await.unwrap();
    let before = aws.row("web").await;
    let ended = aws.rewrap(&["--yes"]);
    for told in [
        "workload web: its secrets are not written as this release writes them",
        "workload by-id: it names its wrapping key as",
        "2 rows cannot be moved: do not disable the old key",
    ] {
        assert!(ended.code == Some(1) && ended.log.contains(told), "{told}: {ended:?}");
    }
    // Nor does it change otherwise: nobody can tell whether it was moved meanwhile.
    let ended = aws.operator.run(&["resource", "delete", "web", "a/b/c", "--yes"]);
    let told = "the secrets of web are not written as this release writes them";
    assert!(ended.code == Some(1) && ended.log.contains(told), "{ended:?}");
    assert!(ended.log.contains("register the workload again, with all its secrets"), "{ended:?}");
    assert_eq!(aws.row("web").await, before);
    assert_eq!(aws.records().len(), 5);
}

#[tokio::test]
async fn what_kms_denies_ends_the_run_at_once_and_what_it_throttles_is_told() {
    let mut aws = Deployment::with(async |wrap| {
        vec![wrapped(wrap, "api", Dialect::Keybroker, &[("tls.key", SECRET)]).await]
    })
    .await;
    let key = unique("AKIA");
    aws.operator = aws.operator.with("AWS_ACCESS_KEY_ID", &key);
    refuse(&key, "ReEncrypt", "AccessDeniedException");
    let ended = aws.rewrap(&["--yes"]);
    assert!(ended.code == Some(1) && ended.log.contains("KMS denies this"), "{ended:?}");
    assert!(ended.log.contains("the role PREFIX-rewrap"), "{ended:?}");
    assert_eq!(aws.left(SECRET).await, ["api"]);
    // The SDK itself calls three times.
    refuse_times(&key, "ReEncrypt", "ThrottlingException", 6);
    let ended = aws.rewrap(&["--yes"]);
    let told = "KMS asks for fewer calls (ThrottlingException): asking again in 1 s";
    assert!(ended.code == Some(0) && ended.log.contains(told), "{ended:?}");
    assert_eq!(aws.left(SECRET).await, Vec::<String>::new());
}

/// The local KMS decrypts whatever became of the key, so it is told to refuse.
#[tokio::test]
async fn a_key_that_kms_does_not_use_keeps_its_rows_alone() {
    let mut aws = Deployment::with(some).await;
    let key = unique("AKIA");
    aws.operator = aws.operator.with("AWS_ACCESS_KEY_ID", &key);
    refuse_times(&key, "ReEncrypt", "KMSInvalidStateException", 1000);
    let ended = aws.rewrap(&["--yes"]);
    for told in [
        "workload web: KMS does not use the key that wrapped it",
        "ring signature: KMS does not use the key that wrapped it",
        "6 rows cannot be moved: do not disable the old key",
        "cancel-key-deletion",
    ] {
        assert!(ended.code == Some(1) && ended.log.contains(told), "{told}: {ended:?}");
    }
    assert_eq!((aws.left(SECRET).await.len(), aws.records().len()), (3, 0));
    // Whichever row is refused, the others move, and it has another turn.
    let another = unique("AKIA");
    aws.operator = aws.operator.with("AWS_ACCESS_KEY_ID", &another);
    refuse(&another, "ReEncrypt", "NotFoundException");
    let ended = aws.rewrap(&["--yes"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!((aws.left(SECRET).await.len(), aws.records().len()), (0, 6));
}

#[tokio::test]
async fn a_key_that_is_not_in_use_or_not_of_the_deployment_gets_nothing() {
    let aws = Deployment::with(some).await;
    let (old, new) = (aws.old.as_str(), aws.new.as_str());
    let place = |region: &str, account: &str| {
        let id = new.rsplit_once('/').unwrap().1;
        format!("arn:aws:kms:{region}:{account}:key/{id}")
    };
    let (elsewhere, others) = (place("eu-central-1", "123456789012"), place("us-east-1", "210987654321"));
    let (_, third) = kms().await;
    for (keys, code, said) in [
        (vec!["--to", new], 2, "give --from"),
        (vec!["--from", old], 2, "give --from and --to"),
        (vec!["--from", new, "--to", new], 2, "cannot be given up and take over"),
        (vec!["--from", old, "--from", new, "--to", new], 2, "cannot be given up and take over"),
        (vec!["--from", old, "--to", elsewhere.as_str()], 2, "not of one region and account"),
        (vec!["--from", old, "--to", others.as_str()], 2, "not of one region and account"),
        (vec!["--from", old, "--to", aws.alias.as_str()], 2, "must be the ARN of a KMS key"),
        (vec!["--from", old, "--to", new, "--new-key-file", "f"], 2, "--new-key-file"),
        // The alias leads to another key, so new secrets would be wrapped by that one.
        (vec!["--from", old, "--to", third.as_str()], 5, "leads to"),
        (vec!["--from", new, "--to", old], 5, "leads to"),
    ] {
        let alias = ["--kms-key", &aws.alias, "--yes"];
        let ended = aws.operator.run(&[&["keys", "rewrap"][..], &keys, &alias].concat());
        assert!(ended.code == Some(code) && ended.log.contains(said), "{keys:?}: {ended:?}");
    }
    // `attest` has not used the key yet.
    let store = aws.store();
    let stored = store.keyring(Purpose::Session).await.unwrap().unwrap();
    let keys = stored.ring.keys.iter().filter(|key| key.wrapped.key_id == aws.old).cloned().collect();
    let unused = Keyring { keys, ..stored.ring.clone() };
    store.put_keyring(Purpose::Session, Some(stored.edition), &unused).await.unwrap();
    let ended = aws.rewrap(&["--yes"]);
    assert!(ended.code == Some(5) && ended.log.contains("nobody knows whether it can"), "{ended:?}");
    assert!(aws.rewrap(&["--dry-run"]).out.contains("workload web"));
    // The local KMS disables by an id alone.
    aws.kms.disable_key().key_id(new.rsplit_once('/').unwrap().1).send().await.unwrap();
    let ended = aws.rewrap(&["--yes"]);
    assert!(ended.code == Some(4) && ended.log.contains("is not enabled"), "{ended:?}");
    assert_eq!(aws.left(SECRET).await.len(), 3);
    assert_eq!(aws.records(), Vec::<Value>::new());
}

/// Killed somewhere: each row is whole, and the next run moves what is left.
#[tokio::test]
async fn a_run_that_is_killed_leaves_everything_readable() {
    let aws = Deployment::with(many).await;
    let mut seen = Vec::new();
    for round in 1..=3 {
        let mut command = aws.operator.command(&aws.arguments(&["--yes"]));
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let before = aws.records().len();
        while aws.records().len() < before + round && child.try_wait().unwrap().is_none() {}
        child.kill().unwrap();
        child.wait().unwrap();
        seen.push(aws.left(SECRET).await.len());
    }
    assert!(seen.is_sorted_by(|one, next| one >= next) && seen[0] < 40, "{seen:?}");
    assert_eq!(aws.rewrap(&["--yes"]).code, Some(0));
    assert_eq!(aws.left(SECRET).await, Vec::<String>::new());
    // A record for each row and ring, and none twice.
    assert_eq!(aws.records().len(), 43);
}

/// Another writes the rows meanwhile: nothing of that is lost, and in the end no row is left behind.
#[tokio::test]
async fn a_row_that_is_written_meanwhile_is_not_lost() {
    const ANOTHER: &[u8] = b"another secret";
    let aws = Deployment::with(async |wrap| {
        let mut workloads = Vec::new();
        for number in 0..40 {
            workloads.push(
                wrapped(wrap, &format!("w{number}"), Dialect::Keybroker, &[("tls.key", ANOTHER)]).await,
            );
        }
        workloads
    })
    .await;
    let store = Arc::new(aws.store());
    let (kms, old) = (aws.kms.clone(), aws.old.clone());
    // Each row is bound to another registration, by one who still wraps with the old key.
    let writer = tokio::spawn(async move {
        let wrap = keybroker_aws::kms::KmsRewrap::new(kms, old);
        let mut written = 0;
        for number in (0..40).rev() {
            let id = WorkloadId::new(format!("w{number}")).unwrap();
            let seen = store.workload(&id).await.unwrap().unwrap();
            let change = Change::Set(Secret::new(ANOTHER.to_vec()));
            let amended = amend::amended(&seen, "tls.key", change, &wrap).await.unwrap();
            let audit = AuditRecord::new(jiff::Timestamp::now(), Operation::Operate, Decision::ResourceSet);
            written += u32::from(store.amend(&seen, &amended, &audit).await.is_ok());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        written
    });
    let mut command = aws.operator.command(&aws.arguments(&["--yes"]));
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let written = writer.await.unwrap();
    let _ = child.wait_with_output().unwrap();
    assert!(written > 0);
    aws.left(ANOTHER).await;
    let ended = aws.rewrap(&["--yes"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(aws.left(ANOTHER).await, Vec::<String>::new());
}

/// While an operator thinks. A row that was moved does not go back under the old key, which may be disabled
/// by then.
#[tokio::test]
async fn a_secret_that_is_set_across_a_move_is_not_wrapped_by_the_old_key() {
    let aws = Deployment::with(some).await;
    let file = NamedTempFile::new().unwrap();
    fs::write(&file, SECRET).unwrap();
    let path = file.path().to_str().unwrap();
    let set = ["resource", "set", "web", "a/b/c", path, "--kms-key", &aws.alias];
    let mut terminal = aws.operator.at_terminal(&set);
    terminal.wait_for("Replace the secret a/b/c of web, for good? [y/N]");
    let ended = aws.rewrap(&["--yes"]);
    assert!(ended.code == Some(0) && ended.log.contains("no row names an old key"), "{ended:?}");
    let moved = aws.row("web").await;
    let (code, shown) = terminal.typed("y\n");
    assert_eq!((aws.row("web").await, aws.left(SECRET).await), (moved.clone(), Vec::new()), "{shown}");
    assert!(code == Some(1) && shown.contains("web changed a moment ago"), "{shown}");
    assert!(shown.contains("run the command again"), "{shown}");
    let ended = aws.operator.run(&[&set[..], &["--yes"]].concat());
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_ne!(aws.row("web").await.digest(), moved.digest());
    assert_eq!(aws.left(SECRET).await, Vec::<String>::new());
}
