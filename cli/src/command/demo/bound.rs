//! A workload that is bound to its disk: a registration with init data, its guest, and the host's attempts.

use std::time::Duration;

use anyhow::{Context as _, anyhow};
use data_encoding::HEXLOWER;
use keybroker_initdata::{
    Algorithm, Binding, BrokerKey, Disk, Document, Settings,
    document::{Device, SigningKey},
    luks::{DiskRefused, Header, judge},
    volume_key::{Segment, VolumeKeyDigest},
};
use keybroker_native::{
    Evidence, Suite,
    client::{CHALLENGE_BODY, CHALLENGE_PATH, Challenge, Opened, Pending, RELEASE_PATH},
};
use keybroker_simulator::{
    disk::luks1_header,
    guest::Said,
    http::{Response, exchange},
};
use serde_json::json;

use super::world::{MEASUREMENT, World};

/// The workload's id.
const WORKLOAD: &str = "workload-bound-to-its-disk";
/// The passphrase of its disk.
pub(super) const PASSPHRASE: &str = "the passphrase of one disk";
/// The digests of two volume keys: the workload's, and that of a disk of the host's making.
const VOLUME_KEY: [u8; 20] = [0x4B; 20];
const HOSTS_VOLUME_KEY: [u8; 20] = [0x66; 20];

/// The document of a guest with a disk of this volume key.
fn document(world: &World, volume_key: [u8; 20]) -> anyhow::Result<Document> {
    // The same in every document of the story: the digest covers it.
    let not_after = "2999-12-31T00:00:00Z".parse()?;
    let settings = Settings {
        workload: WORKLOAD.to_owned(),
        brokers: vec![world.url.clone()],
        binding: Binding::HostData,
        certificates: None,
        broker_keys: vec![SigningKey { key: world.broker_key.clone(), not_after }],
        disks: vec![Disk {
            name: "root".to_owned(),
            device: Device::Path("/dev/vda".to_owned()),
            secret: "passphrase".to_owned(),
            volume_key: VolumeKeyDigest::Luks1 {
                hash: "sha256".to_owned(),
                iterations: 2000,
                salt: [3; 32],
                digest: volume_key,
            },
            segment: Segment {
                cipher: "aes-xts-plain64".to_owned(),
                key_bits: 512,
                sector_size: 512,
                offset: 4096 * 512,
                integrity: None,
                flags: Vec::new(),
            },
        }],
    };
    Ok(Document::write(Algorithm::Sha256, &settings)?)
}

/// Registers the workload with its document.
pub(super) async fn register(world: &World) -> anyhow::Result<Response> {
    let body = json!({
        "workload_id": WORKLOAD,
        "init_data": { "bound_by": "host_data", "document": document(world, VOLUME_KEY)?.text() },
        "measurements": [HEXLOWER.encode(&MEASUREMENT)],
        "resources": { "passphrase": PASSPHRASE },
    });
    post(world, "/rvp/register", body.to_string().as_bytes()).await
}

/// Boots the workload's own guest: the secrets that it opened.
pub(super) async fn boot(world: &World) -> anyhow::Result<Opened> {
    let document = document(world, VOLUME_KEY)?;
    let answered = asks(world, &document, document.digest().host_data()).await?;
    answered.map_err(|said| anyhow!("the guest was refused: {}", said.body))
}

/// The guest's judgement of its own disk, and of one of the host's making.
pub(super) fn judges(world: &World) -> anyhow::Result<[Result<(), DiskRefused>; 2]> {
    let document = document(world, VOLUME_KEY)?;
    let disk = document.keybroker().disks.first().context("the document names a disk")?;
    let judged = |volume_key: &[u8; 20]| judge(&Header::parse(&luks1_header(volume_key))?, disk).map(drop);
    Ok([judged(&VOLUME_KEY), judged(&HOSTS_VOLUME_KEY)])
}

/// A guest with the host's own document and disk claims the workload: what the broker says.
///
/// `copied` is whether the host launched it with HOST_DATA of the workload's document. Then an honest guest
/// stops before it asks; this one asks all the same.
pub(super) async fn claims(world: &World, copied: bool) -> anyhow::Result<Said> {
    let (workloads, hosts) = (document(world, VOLUME_KEY)?, document(world, HOSTS_VOLUME_KEY)?);
    let launched = if copied { &workloads } else { &hosts };
    match asks(world, &hosts, launched.digest().host_data()).await? {
        Ok(_) => Err(anyhow!("it was let through")),
        Err(said) => Ok(said),
    }
}

/// The broker's answer to a guest with this document, launched with this HOST_DATA.
async fn asks(
    world: &World,
    document: &Document,
    host_data: [u8; 32],
) -> anyhow::Result<Result<Opened, Said>> {
    let given = post(world, CHALLENGE_PATH, CHALLENGE_BODY).await?;
    let challenge = Challenge::from_json(given.text().as_bytes())?;
    let keys = [&world.broker_key];
    let secrets = vec!["passphrase".to_owned()];
    let ids = keys.iter().map(|key: &&BrokerKey| key.id()).collect();
    let pending = Pending::new(Suite::P384, &challenge, WORKLOAD, secrets, document.digest(), ids)?;
    let mut machine = world.machine();
    machine.fields.host_data = host_data;
    let report = machine.report(pending.report_data()).to_vec();
    let evidence = Evidence::of_report(report, Vec::new());
    let answer = post(world, RELEASE_PATH, &pending.request(&evidence)).await?;
    if !answer.is_success() {
        return Ok(Err(Said::from(&answer)));
    }
    Ok(Ok(pending.open(answer.text().as_bytes(), &keys)?))
}

async fn post(world: &World, path: &str, body: &[u8]) -> anyhow::Result<Response> {
    let authority = world.url.trim_start_matches("http://");
    let length = body.len();
    let mut request = format!(
        "POST {path} HTTP/1.1\r\nHost: {authority}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n"
    )
    .into_bytes();
    request.extend_from_slice(body);
    Ok(exchange(authority, &request, Duration::from_secs(30)).await?)
}
