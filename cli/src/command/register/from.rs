//! `--from`: the document of a registration, as `keybroker workload export` writes one. Its secrets are in
//! it, or given apart.

use std::fmt;

use anyhow::{Context as _, anyhow};
use keybroker_common::{ids::WorkloadId, requirements::Measurement};
use serde::{
    Deserialize, Deserializer,
    de::{self, IgnoredAny},
};
use serde_json::{Map, Value, value::RawValue};
use zeroize::Zeroizing;

use crate::{
    exit::{Exit, Failure},
    hex,
};

/// A document that was read.
pub(super) enum FromDocument {
    /// A registration as buildah makes it, whose secret is a passphrase.
    AsBuildah(AsBuildah),
    /// The body of `POST /rvp/register`.
    Body(Zeroizing<Vec<u8>>),
}

/// A registration as buildah makes it, without its passphrase.
pub(super) struct AsBuildah {
    pub(super) id: WorkloadId,
    pub(super) measurement: Measurement,
    pub(super) forbid_smt: bool,
    pub(super) minimum_abi: (u8, u8),
}

impl FromDocument {
    /// Reads a document, and adds `resources` to its own. A document that needs neither stays as it is: its
    /// faults are the broker's to find.
    pub(super) fn read(text: Zeroizing<Vec<u8>>, resources: Map<String, Value>) -> Result<Self, Failure> {
        let usage = |error: anyhow::Error| Failure::new(Exit::Usage, error);
        let unusable = |error: anyhow::Error| Failure::new(Exit::Configuration, error);
        let Ok(Members(members)) = serde_json::from_slice(&text) else { return Ok(Self::Body(text)) };
        let named =
            |name: &str| members.iter().find(|(known, _)| known == name).map(|(_, value)| value.get());
        let dialects = named("dialects").map(serde_json::from_str::<Vec<String>>);
        if dialects.is_some_and(|dialects| dialects.is_ok_and(|dialects| dialects == ["v0"])) {
            if !resources.is_empty() {
                let error = anyhow!("a registration with the dialect v0 has a passphrase, and no resources");
                return Err(usage(error).hint("give it with --passphrase-file"));
            }
            return AsBuildah::read(&text).map(Self::AsBuildah).map_err(unusable);
        }
        match named("resources") {
            None if resources.is_empty() => Err(usage(anyhow!("the registration names no resources")).hint(
                "give each secret with --resource NAME=FILE; a registration without secrets has \
                     \"resources\": {}",
            )),
            Some(_) if resources.is_empty() => Ok(Self::Body(text)),
            own => with_resources(&members, own.unwrap_or("{}"), resources).map(Self::Body).map_err(unusable),
        }
    }
}

/// The document with further resources. A name that comes twice stays twice, and the broker refuses it.
fn with_resources(
    members: &[(String, Box<RawValue>)],
    own: &str,
    resources: Map<String, Value>,
) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let Members(mut all) = serde_json::from_str(own).context("`resources` is not an object of secrets")?;
    for (name, resource) in resources {
        all.push((name, serde_json::value::to_raw_value(&resource)?));
    }
    let rest = members.iter().filter(|(name, _)| name != "resources");
    let mut text = Zeroizing::new(b"{\"resources\":".to_vec());
    text.extend(Zeroizing::new(object(&all)?).as_bytes());
    for (name, value) in rest {
        text.extend(format!(",{}:{}", serde_json::to_string(name)?, value.get()).as_bytes());
    }
    text.push(b'}');
    Ok(text)
}

fn object(members: &[(String, Box<RawValue>)]) -> anyhow::Result<String> {
    let member = |(name, value): &(String, Box<RawValue>)| {
        anyhow::Ok(format!("{}:{}", serde_json::to_string(name)?, value.get()))
    };
    let members = members.iter().map(member).collect::<Result<Vec<_>, _>>()?;
    Ok(format!("{{{}}}", members.join(",")))
}

impl AsBuildah {
    fn read(text: &[u8]) -> anyhow::Result<Self> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Form {
            workload_id: WorkloadId,
            #[serde(rename = "dialects")]
            _dialects: IgnoredAny,
            measurements: Vec<String>,
            #[serde(default)]
            require: Require,
        }

        #[derive(Default, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        struct Require {
            smt: Option<bool>,
            minimum_abi: Option<String>,
        }

        let form: Form = serde_json::from_slice(text).context("a registration with the dialect v0")?;
        let [measurement] = form.measurements.as_slice() else {
            return Err(anyhow!("a registration with the dialect v0 has exactly one measurement"));
        };
        if form.require.smt == Some(true) {
            return Err(anyhow!("require.smt would require nothing"));
        }
        let read_abi = |text: String| abi(&text).map_err(|error| anyhow!("minimum_abi {error}"));
        Ok(Self {
            id: form.workload_id,
            measurement: hex::measurement(measurement).map_err(|error| anyhow!("measurements: {error}"))?,
            forbid_smt: form.require.smt.is_some(),
            minimum_abi: form.require.minimum_abi.map(read_abi).transpose()?.unwrap_or_default(),
        })
    }
}

/// An ABI version, as flags and documents have it.
pub(super) fn abi(text: &str) -> Result<(u8, u8), &'static str> {
    let (major, minor) = text.split_once('.').ok_or("must be MAJOR.MINOR")?;
    major.parse().ok().zip(minor.parse().ok()).ok_or("must be two numbers below 256: MAJOR.MINOR")
}

/// The members of an object in their order, each value as it was written.
struct Members(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(text: &str, resources: &[(&str, &str)]) -> Result<FromDocument, Failure> {
        let resources = resources.iter().map(|(name, secret)| ((*name).to_owned(), json!(secret)));
        FromDocument::read(Zeroizing::new(text.as_bytes().to_vec()), resources.collect())
    }

    fn body(text: &str, resources: &[(&str, &str)]) -> String {
        match read(text, resources) {
            Ok(FromDocument::Body(body)) => String::from_utf8(body.to_vec()).unwrap(),
            Ok(FromDocument::AsBuildah(_)) => panic!("{text}: as buildah"),
            Err(failure) => panic!("{text}: {failure:?}"),
        }
    }

    #[test]
    fn resources_are_added_and_nothing_else_is_changed() {
        let own = r#"{"resources":{"a":"1"}, "reference_values": { "x":  1.50 } }"#;
        assert_eq!(body(own, &[]), own);
        assert_eq!(
            body(own, &[("b", "2")]),
            r#"{"resources":{"a":"1","b":"2"},"reference_values":{ "x":  1.50 }}"#
        );
        assert_eq!(
            body(r#"{"query":["true"]}"#, &[("b", "\"")]),
            r#"{"resources":{"b":"\""},"query":["true"]}"#
        );
        // Twice: the broker refuses it.
        assert_eq!(body(own, &[("a", "2")]).matches("\"a\"").count(), 2);
        let twice = r#"{"resources":{},"query":[],"query":[]}"#;
        assert_eq!(body(twice, &[("a", "1")]).matches("\"query\"").count(), 2);
        // No document: the broker says why.
        assert_eq!(body("[]", &[("a", "1")]), "[]");
        assert!(read("{}", &[]).is_err() && read(r#"{"resources":[]}"#, &[("a", "1")]).is_err());
    }

    #[test]
    fn a_registration_as_buildah_makes_it_is_read_back() {
        let with = |members: Value| {
            let mut document = json!({
                "workload_id": "web",
                "dialects": ["v0"],
                "measurements": ["4d".repeat(48)],
            });
            document.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
            document.to_string()
        };
        let read = |members: Value| match read(&with(members), &[]) {
            Ok(FromDocument::AsBuildah(read)) => Some((read.forbid_smt, read.minimum_abi)),
            Ok(FromDocument::Body(_)) => panic!("a body"),
            Err(_) => None,
        };
        assert_eq!(read(json!({})), Some((false, (0, 0))));
        let required = json!({ "require": { "smt": false, "minimum_abi": "1.55" } });
        assert_eq!(read(required), Some((true, (1, 55))));
        for refused in [
            json!({ "require": { "smt": true } }),
            json!({ "require": { "minimum_abi": "1" } }),
            json!({ "require": { "id_key_digest": "1d".repeat(48) } }),
            json!({ "measurements": [] }),
            json!({ "measurements": ["4d".repeat(48), "4e".repeat(48)] }),
            json!({ "measurements": ["00".repeat(48)] }),
            json!({ "minimum_tcb": {} }),
            json!({ "resources": {} }),
            json!({ "workload_id": "a/b" }),
        ] {
            assert_eq!(read(refused.clone()), None, "{refused}");
        }
        assert!(super::tests::read(&with(json!({})), &[("a", "1")]).is_err());
    }
}
