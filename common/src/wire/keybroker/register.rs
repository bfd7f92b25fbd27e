//! `POST /rvp/register`, as keybroker's `rvp_cli` sends it, and with what that client does not know.

use data_encoding::{BASE64, HEXLOWER_PERMISSIVE};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    super::{Invalid, Part, json},
    RegistrationFault as Fault,
    init_data::InitData,
    requirements::{self, Floors, Launch, OneOrMore, Require},
    resources::Resources,
};
use crate::{
    broker::{Credential, RegisterRequest},
    dialect::{Dialect, Dialects},
    ids::{HostData, WorkloadId},
    platform::{Levels, Rows},
    policy::PolicyText,
    requirements::{AppraisalPolicy, Measurement, ReferenceValues},
};

/// Reference values, what else a guest must satisfy, and what it then gets. A launch measurement (in
/// `measurements` or `reference_values.measurement`) or `require.id_key_digest` must be named.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    /// Queries in Rego: each must be defined and true.
    #[serde(default)]
    query: Vec<String>,
    /// The root of `data` in the queries. `measurement` in it, one of 96 hex digits or a non-empty array of
    /// them, is enforced natively too, before any query.
    #[serde(default, deserialize_with = "json::present")]
    reference_values: Option<Box<RawValue>>,
    resources: Resources,
    /// A module in Rego. Only beside a query.
    #[serde(default, deserialize_with = "json::present")]
    policy: Option<String>,
    /// Launch measurements: the report's must be one of them. Where `reference_values` names some as well, it
    /// must be in both.
    #[serde(default, deserialize_with = "json::present")]
    measurements: Option<Vec<String>>,
    /// Floors of REPORTED_TCB.
    #[serde(default, deserialize_with = "json::optional_object")]
    minimum_tcb: Option<Rows<Levels>>,
    /// Floors of COMMITTED_TCB.
    #[serde(default, deserialize_with = "json::optional_object")]
    minimum_committed_tcb: Option<Rows<Levels>>,
    /// Floors of CURRENT_TCB.
    #[serde(default, deserialize_with = "json::optional_object")]
    minimum_current_tcb: Option<Rows<Levels>>,
    /// Floors of LAUNCH_TCB.
    #[serde(default, deserialize_with = "json::optional_object")]
    minimum_launch_tcb: Option<Rows<Levels>>,
    #[serde(default, deserialize_with = "json::optional_object")]
    require: Option<Require>,
    /// The dialects in which its guests may ask, `v1`, `trustee` or both. Without it: `v1` where there is a
    /// workload id, and else keybroker's own.
    #[serde(default, deserialize_with = "json::present")]
    dialects: Option<Dialects>,
    /// The id of the workload, for guests of the broker's own protocol and of Trustee's. Without it, the
    /// broker draws HOST_DATA, which selects the registration.
    #[serde(default, deserialize_with = "json::present")]
    workload_id: Option<String>,
    #[serde(default, deserialize_with = "json::optional_object")]
    init_data: Option<InitData>,
}

/// The reference values that are enforced natively. The others are for the queries.
#[derive(Default, Deserialize)]
struct Native {
    #[serde(default, deserialize_with = "json::present")]
    measurement: Option<OneOrMore>,
}

/// Reads a registration, and which HOST_DATA its guests are to be launched with: `drawn`, unless their init
/// data says another.
pub fn register_request(body: &[u8], drawn: HostData) -> Result<(RegisterRequest, [u8; 32]), Invalid> {
    let body: Body = json::read(Part::Body, body)?;
    let (workload_id, dialects, host_data, launch) =
        launched(body.workload_id, body.dialects, body.init_data, drawn)?;
    let floors = Floors {
        reported: body.minimum_tcb,
        committed: body.minimum_committed_tcb,
        current: body.minimum_current_tcb,
        launch: body.minimum_launch_tcb,
    };
    let policy = requirements::policy(body.require.unwrap_or_default(), floors, launch)?;
    let reference_values = body.reference_values.as_deref().map(RawValue::get);
    if reference_values.is_some_and(|text| !text.trim_start().starts_with('{')) {
        return Err(Fault::ReferenceValues.into());
    }
    let request = RegisterRequest {
        workload_id,
        secrets: body.resources.checked(&dialects)?,
        dialects,
        credential: Credential::None,
        reference_values: admitted(body.measurements.as_deref(), reference_values, &policy)?,
        policy,
        rego: rego(body.query, body.policy, reference_values)?,
    };
    Ok((request, host_data))
}

/// The name of the workload, the dialects of its guests, and what they are to be launched with.
fn launched(
    workload_id: Option<String>,
    dialects: Option<Dialects>,
    init_data: Option<InitData>,
    drawn: HostData,
) -> Result<(WorkloadId, Dialects, [u8; 32], Launch), Invalid> {
    let Some(id) = workload_id else {
        if init_data.is_some() {
            return Err(Fault::InitDataAlone.into());
        }
        if dialects.is_some() {
            return Err(Fault::DialectsAlone.into());
        }
        return Ok((drawn.workload_id(), Dialect::Keybroker.into(), drawn.to_bytes(), Launch::Drawn(drawn)));
    };
    let id = WorkloadId::new(id)?;
    let dialects = dialects.unwrap_or(Dialect::Native.into());
    if !dialects.iter().all(|dialect| matches!(dialect, Dialect::Native | Dialect::Trustee)) {
        return Err(Fault::Dialects.into());
    }
    let Some(init_data) = init_data else {
        if dialects.contains(Dialect::Native) {
            return Err(Fault::InitDataAlone.into());
        }
        return Ok((id, dialects, [0; 32], Launch::Named));
    };
    let required = init_data.requirement(&id, &dialects)?;
    Ok((id, dialects, required.digest.host_data(), Launch::InitData(required)))
}

/// The launch measurements that a guest may have: those that are in every set that is given.
fn admitted(
    measurements: Option<&[String]>,
    reference_values: Option<&str>,
    policy: &AppraisalPolicy,
) -> Result<ReferenceValues, Invalid> {
    let field = "reference_values.measurement";
    let native: Native = match reference_values {
        Some(text) => json::read_known(Part::ReferenceValues, text.as_bytes(), Fault::Measurement(field))?,
        None => Native::default(),
    };
    let sent = measurements.map(|sent| parsed("measurements", sent)).transpose()?;
    let native = native.measurement.map(|measurements| parsed(field, measurements.as_slice())).transpose()?;
    let measurements = match (sent, native) {
        (Some(mut sent), Some(native)) => {
            sent.retain(|measurement| native.contains(measurement));
            if sent.is_empty() {
                return Err(Fault::Disjoint.into());
            }
            sent
        }
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) if policy.id_key_digest.is_some() => Vec::new(),
        (None, None) => return Err(Fault::Unbound.into()),
    };
    Ok(ReferenceValues { measurements })
}

fn parsed(field: &'static str, sent: &[String]) -> Result<Vec<Measurement>, Fault> {
    let fault = Fault::Measurement(field);
    if sent.is_empty() {
        return Err(fault);
    }
    let decode = |hex: &String| HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).ok()?.try_into().ok();
    let mut measurements = Vec::with_capacity(sent.len());
    for hex in sent {
        let measurement: [u8; 48] = decode(hex).ok_or(fault)?;
        if measurement == [0; 48] {
            return Err(Fault::Zeros(field));
        }
        measurements.push(Measurement(measurement));
    }
    Ok(measurements)
}

/// The Rego of a registration, not yet looked at. A module or reference values without a query decide
/// nothing, and are refused.
fn rego(
    queries: Vec<String>,
    module: Option<String>,
    reference_values: Option<&str>,
) -> Result<Option<PolicyText>, Invalid> {
    if !queries.is_empty() {
        let reference_values = reference_values.unwrap_or("{}").to_owned();
        return Ok(Some(PolicyText { module, queries, reference_values }));
    }
    if module.is_some() {
        return Err(Fault::Ignored("policy").into());
    }
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct NativeAlone {
        #[serde(rename = "measurement")]
        _measurement: OneOrMore,
    }
    if let Some(text) = reference_values {
        let ignored = Fault::Ignored("reference_values");
        let _: NativeAlone = json::read_known(Part::ReferenceValues, text.as_bytes(), ignored)?;
    }
    Ok(None)
}

/// The answer: HOST_DATA in standard base64, as a JSON string. `rvp_cli` cuts a character off either end of
/// the body.
pub fn registered(host_data: &[u8; 32]) -> Vec<u8> {
    format!("\"{}\"", BASE64.encode(host_data)).into_bytes()
}
