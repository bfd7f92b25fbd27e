//! The demands of a registration, from flags: members of `require`, and the floors of a month.

use anyhow::anyhow;
use keybroker_common::platform::{MitigationBits, PlatformDemands};
use serde_json::{Map, Value, json};

use super::arguments::DocumentArgs;
use crate::{
    advisories,
    exit::{Exit, Failure},
    hex, id_key, platform,
};

/// The demands to which a month of the table of AMD's bulletins may add, with what it adds: told on stderr,
/// since the registration has the numbers and no month.
pub(super) fn by_month(args: &DocumentArgs) -> Result<PlatformDemands, Failure> {
    let (minimum_tcb, month) = platform::by_month("--minimum-tcb", &args.minimum_tcb)?;
    let mut demands = PlatformDemands {
        minimum_tcb,
        current_mitigations: platform::rows("--current-mitigations", &args.current_mitigations)?,
        conditions: args.require_platform.clone(),
        ..PlatformDemands::default()
    };
    if let Some(month) = month {
        let table = args.advisories.choice(Some(month)).resolve(&mut demands).map_err(advisories::refused)?;
        say!(
            "advisories={month} stands for these numbers, by a table of {}: {}",
            table.date(),
            flags(&demands)
        );
    }
    Ok(demands)
}

/// Demands as flags.
fn flags(demands: &PlatformDemands) -> String {
    let floors = demands.minimum_tcb.rows().map(|(key, levels)| format!("--minimum-tcb {key}:{levels}"));
    let bits =
        demands.current_mitigations.rows().map(|(key, bits)| format!("--current-mitigations {key}:{bits}"));
    let conditions = demands.conditions.iter().map(|condition| format!("--require-platform {condition}"));
    floors.chain(bits).chain(conditions).collect::<Vec<_>>().join(" ")
}

/// The demands on the platform that are no floors of its TCB, by the members of `require`.
fn platform_demands(args: &DocumentArgs, by_month: &PlatformDemands) -> Result<Map<String, Value>, Failure> {
    let mut demands = Map::new();
    let mut put = |name: &str, value: Value| drop(demands.insert(name.to_owned(), value));
    if !by_month.current_mitigations.is_empty() {
        put("current_mitigations", json!(by_month.current_mitigations));
    }
    if !args.launch_mitigations.is_empty() {
        let bits = platform::rows::<MitigationBits>("launch_mitigations", &args.launch_mitigations)?;
        put("launch_mitigations", json!(bits));
    }
    if !by_month.conditions.is_empty() {
        put("platform", json!(by_month.conditions));
    }
    if let Some(firmware) = args.minimum_firmware {
        put("minimum_firmware", json!(firmware));
    }
    if !args.accept_product.is_empty() {
        let names = args.accept_product.iter().map(|product| product.name().to_ascii_lowercase());
        put("products", names.collect());
    }
    if !args.accept_chip.is_empty() {
        put("chips", json!(args.accept_chip));
    }
    Ok(demands)
}

/// The demands. A value that is a number or a boolean is one; any other is text.
pub(super) fn demands(
    args: &DocumentArgs,
    by_month: &PlatformDemands,
) -> Result<Map<String, Value>, Failure> {
    let mut demands = platform_demands(args, by_month)?;
    if args.forbid_smt {
        demands.insert("smt".to_owned(), false.into());
    }
    if !args.id_key.is_empty() {
        let digests = args.id_key.iter().map(|given| id_key::digest(given)).collect::<Result<Vec<_>, _>>()?;
        // A broker of an earlier release knows one key alone, as a string.
        let keys = if let [one] = digests.as_slice() { json!(one) } else { json!(digests) };
        demands.insert("id_key_digest".to_owned(), keys);
    }
    if let Some(given) = &args.author_key {
        demands.insert("author_key_digest".to_owned(), json!(id_key::digest(given)?));
    }
    for (name, text) in &args.require {
        let literal = serde_json::from_str::<Value>(text).ok();
        // JSON would read a digest of 96 decimal digits as a number.
        let literal = literal.filter(|value| value.is_boolean() || (value.is_u64() && text.len() < 16));
        let value = match literal {
            Some(literal) => literal,
            None => hex::digest(text).map_or_else(|never| match never {}, Value::from),
        };
        if demands.insert(name.clone(), value).is_some() {
            return Err(Failure::new(Exit::Usage, anyhow!("{name} is required twice")));
        }
    }
    Ok(demands)
}
