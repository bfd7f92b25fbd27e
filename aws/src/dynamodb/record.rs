//! A guest's audit record as attributes: one for each field, with digests and ids of hardware as bytes. A
//! decision with its session is 1 KB then, which is one write unit.

use aws_sdk_dynamodb::types::AttributeValue;
use data_encoding::HEXLOWER;
use keybroker_common::{
    audit::{AuditRecord, Basis, CrlEdition, EvidenceSummary, FailedCheck},
    encoding::{Base64, Hex},
    ids::{AuditId, RegistrationDigest, WorkloadId},
    requirements::EvidenceForm,
    secret::seal::GuestKey,
    store::StoreError,
};
use keybroker_snp::{endorsement::EndorsementKind, product::Product};

use super::{
    audit::{TIME, WORKLOAD},
    item::{Attributes, Item, Map, bytes, instant, number, read_instant, text},
    tcb, verdict,
};

const OPERATION: &str = "operation";
const DECISION: &str = "decision";
const REGISTRATION: &str = "registration";
const SECRET: &str = "secret";
const SECRETS: &str = "secrets";
const ATTESTATION: &str = "attestation";
/// Why it was refused.
const CHECK: &str = "check";
const CAUSE: &str = "cause";
/// The evidence; the first is there if any of it is.
const MEASUREMENT: &str = "measurement";
const VERIFIED: &str = "verified";
/// The form in which it was presented, where that is not the bare report.
const FORM: &str = "form";
const VERSION: &str = "version";
const CHIP_ID: &str = "chip_id";
const PRODUCT: &str = "product";
const ENDORSEMENT: &str = "endorsement";
const TCB: &str = "tcb";
const POLICY: &str = "policy";
const VMPL: &str = "vmpl";
const HOST_DATA: &str = "host_data";
const ID_KEY_DIGEST: &str = "id_key_digest";
/// Its basis; the first is there if any of it is.
const ANCHOR: &str = "anchor";
const SIMULATED: &str = "simulated";
const VEK: &str = "vek";
const CRLS: &str = "crls";
const FLEET: &str = "fleet";
/// The verdict on its TCB, in few bytes ([`verdict`](super::verdict)).
const JUDGED: &str = "amd";
/// The guest key's thumbprint, where the key itself does not stand beside it.
const GUEST_KEY: &str = "guest_key";

/// Adds `record`, all but its id, to an item that holds this key of the guest, if it does.
pub(super) fn encode<I: Item>(
    record: &AuditRecord,
    guest_key: Option<&GuestKey>,
    item: &mut Map,
) -> Result<(), StoreError> {
    let AuditRecord {
        id: _,
        time,
        operation,
        decision,
        workload_id,
        principal: None,
        registration,
        evidence,
        basis,
        tcb,
        secret,
        secrets,
        token: None,
        act: None,
        reason: None,
        attestation,
        failed,
    } = record
    else {
        return Err(I::corrupt("a guest's record has no principal, token, act or reason"));
    };
    let mut put = |name: &str, value| item.insert(name.to_owned(), value);
    put(TIME, instant(*time));
    put(OPERATION, I::name(operation)?);
    put(DECISION, I::name(decision)?);
    workload_id.as_ref().map(|id| put(WORKLOAD, text(id.as_str())));
    registration.map(|digest| put(REGISTRATION, bytes(digest.as_bytes())));
    secret.as_ref().map(|name| put(SECRET, text(name)));
    // No name of a secret has a blank in it.
    (!secrets.is_empty()).then(|| put(SECRETS, text(secrets.join(" "))));
    attestation.map(|id| put(ATTESTATION, text(id.to_string())));
    if let Some(FailedCheck { check, cause }) = failed {
        put(CHECK, text(check));
        put(CAUSE, text(cause));
    }
    if let Some(evidence) = evidence {
        encode_evidence::<I>(evidence, item)?;
    }
    if let Some(basis) = basis {
        encode_basis(basis, guest_key, item);
    }
    if let Some(judged) = tcb {
        item.insert(JUDGED.to_owned(), bytes(&verdict::encode(judged)));
    }
    Ok(())
}

/// Reads what [`encode`] wrote.
pub(super) fn decode<I: Item>(
    item: &Attributes<'_, I>,
    guest_key: Option<&GuestKey>,
) -> Result<AuditRecord, StoreError> {
    let failed = item.optional(CHECK, |item, check| {
        Ok(FailedCheck { check: item.text(check)?.to_owned(), cause: item.text(CAUSE)?.to_owned() })
    })?;
    Ok(AuditRecord {
        id: id(item, I::KEY)?,
        time: item.instant(TIME)?,
        operation: item.named(OPERATION)?,
        decision: item.named(DECISION)?,
        workload_id: item.optional(WORKLOAD, workload_id)?,
        principal: None,
        registration: item.optional(REGISTRATION, Attributes::array)?.map(RegistrationDigest::from_bytes),
        evidence: item.optional(MEASUREMENT, |item, _| decode_evidence(item))?,
        basis: item.optional(ANCHOR, |item, _| decode_basis(item, guest_key))?,
        tcb: item.optional(JUDGED, |item, name| {
            verdict::decode(&item.bytes(name)?).ok_or_else(|| I::corrupt(format!("{name} is no verdict")))
        })?,
        secret: item.optional(SECRET, Attributes::text)?.map(str::to_owned),
        secrets: item
            .optional(SECRETS, Attributes::text)?
            .map_or_else(Vec::new, |names| names.split(' ').map(str::to_owned).collect()),
        token: None,
        act: None,
        reason: None,
        attestation: item.optional(ATTESTATION, id)?,
        failed,
    })
}

fn id<I: Item>(item: &Attributes<'_, I>, name: &'static str) -> Result<AuditId, StoreError> {
    item.text(name)?.parse().map(AuditId).map_err(|_| I::corrupt(format!("{name} is no id of a record")))
}

fn workload_id<I: Item>(item: &Attributes<'_, I>, name: &'static str) -> Result<WorkloadId, StoreError> {
    WorkloadId::new(item.text(name)?).map_err(I::corrupt)
}

fn encode_evidence<I: Item>(evidence: &EvidenceSummary, item: &mut Map) -> Result<(), StoreError> {
    let EvidenceSummary {
        verified,
        form,
        report_version,
        measurement,
        chip_id,
        product,
        endorsement,
        reported_tcb,
        policy,
        vmpl,
        host_data,
        id_key_digest,
    } = evidence;
    let hex = |text: &str| HEXLOWER.decode(text.as_bytes()).map_err(|_| I::corrupt("a value is not hex"));
    let mut put = |name: &str, value| item.insert(name.to_owned(), value);
    put(VERIFIED, AttributeValue::Bool(*verified));
    (!form.is_snp()).then(|| put(FORM, text(form.name())));
    put(VERSION, number(report_version));
    put(MEASUREMENT, bytes(&hex(measurement)?));
    put(CHIP_ID, bytes(&hex(chip_id)?));
    product.map(|product| put(PRODUCT, text(product.name())));
    endorsement.map(|kind| put(ENDORSEMENT, text(kind.name())));
    reported_tcb.map(|tcb| put(TCB, bytes(&tcb::levels(tcb))));
    put(POLICY, text(policy));
    put(VMPL, number(vmpl));
    host_data.map(|Hex(host_data)| put(HOST_DATA, bytes(&host_data)));
    id_key_digest.map(|Hex(digest)| put(ID_KEY_DIGEST, bytes(&digest)));
    Ok(())
}

fn decode_evidence<I: Item>(item: &Attributes<'_, I>) -> Result<EvidenceSummary, StoreError> {
    let hex = |name| item.bytes(name).map(|bytes| HEXLOWER.encode(&bytes));
    let kind =
        |name: &str| [EndorsementKind::Vcek, EndorsementKind::Vlek].into_iter().find(|k| k.name() == name);
    let unknown = |name: &str| I::corrupt(format!("{name} is not one that is known"));
    Ok(EvidenceSummary {
        verified: item.bool(VERIFIED)?,
        form: item
            .optional(FORM, |item, name| EvidenceForm::named(item.text(name)?).ok_or_else(|| unknown(name)))?
            .unwrap_or_default(),
        report_version: item.number(VERSION)?,
        measurement: hex(MEASUREMENT)?,
        chip_id: hex(CHIP_ID)?,
        product: item
            .optional(PRODUCT, |item, name| Product::parse(item.text(name)?).ok_or_else(|| unknown(name)))?,
        endorsement: item
            .optional(ENDORSEMENT, |item, name| kind(item.text(name)?).ok_or_else(|| unknown(name)))?,
        reported_tcb: item
            .optional(TCB, |item, name| tcb::read(&item.bytes(name)?).ok_or_else(|| unknown(name)))?,
        policy: item.text(POLICY)?.to_owned(),
        vmpl: item.number(VMPL)?,
        host_data: item.optional(HOST_DATA, Attributes::array)?.map(Hex),
        id_key_digest: item.optional(ID_KEY_DIGEST, Attributes::array)?.map(Hex),
    })
}

fn encode_basis(basis: &Basis, guest_key: Option<&GuestKey>, item: &mut Map) {
    let Basis { anchor, simulated, vek, crls, guest_key: thumbprint, fleet } = basis;
    let mut put = |name: &str, value| item.insert(name.to_owned(), value);
    put(ANCHOR, bytes(&anchor.0));
    simulated.then(|| put(SIMULATED, AttributeValue::Bool(true)));
    put(VEK, bytes(&vek.0));
    put(CRLS, AttributeValue::L(crls.iter().map(edition).collect()));
    put(FLEET, bytes(&fleet.0));
    if guest_key.is_none_or(|key| key.thumbprint() != thumbprint.0) {
        put(GUEST_KEY, bytes(&thumbprint.0));
    }
}

fn decode_basis<I: Item>(
    item: &Attributes<'_, I>,
    guest_key: Option<&GuestKey>,
) -> Result<Basis, StoreError> {
    let thumbprint = match item.optional(GUEST_KEY, Attributes::array)? {
        Some(thumbprint) => thumbprint,
        None => guest_key.ok_or_else(|| I::corrupt("it lacks the guest's key"))?.thumbprint(),
    };
    Ok(Basis {
        anchor: Base64(item.array(ANCHOR)?),
        simulated: item.optional(SIMULATED, Attributes::bool)?.unwrap_or_default(),
        vek: Base64(item.array(VEK)?),
        crls: item.list(CRLS, read_edition)?,
        guest_key: Base64(thumbprint),
        fleet: Base64(item.array(FLEET)?),
    })
}

/// A list's time, and its number where it has one.
fn edition(CrlEdition { this_update, number }: &CrlEdition) -> AttributeValue {
    AttributeValue::L([instant(*this_update)].into_iter().chain(number.as_ref().map(text)).collect())
}

fn read_edition(value: &AttributeValue) -> Option<CrlEdition> {
    let (this_update, number) = match value.as_l().ok()?.as_slice() {
        [this_update] => (this_update, None),
        [this_update, number] => (this_update, Some(number.as_s().ok()?.clone())),
        _ => return None,
    };
    Some(CrlEdition { this_update: read_instant(this_update)?, number })
}
