//! A registration without its secrets, in the form in which one is sent.

use keybroker_snp::product::Product;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::{
    dialect::{Dialect, Dialects},
    encoding::Hex,
    ids::WorkloadId,
    platform::{BySilicon, ChipId, Condition, FirmwareVersion, Levels, MitigationBits, PlatformDemands},
    policy::PolicyText,
    requirements::{
        Abi, AppraisalPolicy, BoundBy, EvidenceForm, InitDataRequirement, KeyDigests, Measurement,
        ReferenceValues,
    },
    workload::Registration,
};

/// The body of `POST /rvp/register` that makes the same demands, without `resources`. A member that demands
/// nothing is left out.
///
/// A registration as buildah makes it has no such body. It is written with the dialect `v0`, and with the
/// least ABI in `require.minimum_abi`: `keybroker register --from` reads that, and the broker does not. If
/// the broker drew HOST_DATA, the body has neither it nor the id, which are drawn anew. Which keys of the
/// broker an init data document names stands in that document, and not here.
#[derive(Debug, Serialize)]
pub struct Exported<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    workload_id: Option<&'a WorkloadId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dialects: Option<&'a Dialects>,
    #[serde(skip_serializing_if = "Option::is_none")]
    init_data: Option<InitData>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    measurements: &'a [Measurement],
    #[serde(skip_serializing_if = "BySilicon::is_empty")]
    minimum_tcb: &'a BySilicon<Levels>,
    #[serde(skip_serializing_if = "BySilicon::is_empty")]
    minimum_committed_tcb: &'a BySilicon<Levels>,
    #[serde(skip_serializing_if = "BySilicon::is_empty")]
    minimum_current_tcb: &'a BySilicon<Levels>,
    #[serde(skip_serializing_if = "BySilicon::is_empty")]
    minimum_launch_tcb: &'a BySilicon<Levels>,
    #[serde(skip_serializing_if = "Require::is_empty")]
    require: Require<'a>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    query: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<&'a str>,
    /// As it was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    reference_values: Option<Box<RawValue>>,
}

#[derive(Debug, Serialize)]
struct InitData {
    bound_by: BoundBy,
    algorithm: &'static str,
    digest: String,
}

#[derive(Debug, Default, PartialEq, Serialize)]
struct Require<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    host_data: Option<Hex<32>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id_key_digest: Option<&'a KeyDigests>,
    #[serde(skip_serializing_if = "Option::is_none")]
    author_key_digest: Option<Hex<48>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    family_id: Option<Hex<16>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image_id: Option<Hex<16>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    minimum_guest_svn: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    single_socket: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    smt: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ciphertext_hiding: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    minimum_abi: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    products: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    chips: Option<&'a [ChipId]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    current_mitigations: Option<&'a BySilicon<MitigationBits>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    launch_mitigations: Option<&'a BySilicon<MitigationBits>>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    platform: &'a [Condition],
    #[serde(skip_serializing_if = "Option::is_none")]
    minimum_firmware: Option<FirmwareVersion>,
    #[serde(skip_serializing_if = "Option::is_none")]
    evidence: Option<&'static str>,
}

impl Require<'_> {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl<'a> Exported<'a> {
    /// The demands of a registration, which is that of the workload `id`. Everything that demands something
    /// is named here: a demand that is added and not written does not compile.
    pub fn new(id: &'a WorkloadId, registration: &'a Registration) -> Result<Self, serde_json::Error> {
        let Registration { serial: _, dialects, owner: _, reference_values, policy, rego } = registration;
        let ReferenceValues { measurements } = reference_values;
        let AppraisalPolicy {
            forbid_smt,
            require_single_socket,
            require_ciphertext_hiding,
            minimum_abi,
            platform,
            host_data,
            id_key_digest,
            author_key_digest,
            family_id,
            image_id,
            minimum_guest_svn,
            init_data,
            evidence,
        } = policy;
        let PlatformDemands {
            products,
            chips,
            minimum_tcb,
            minimum_committed_tcb,
            minimum_current_tcb,
            minimum_launch_tcb,
            current_mitigations,
            launch_mitigations,
            conditions,
            minimum_firmware,
        } = platform;
        let drawn = dialects.contains(Dialect::Keybroker);
        let (query, policy, reference_values) = match rego {
            None => ([].as_slice(), None, None),
            Some(PolicyText { module, queries, reference_values }) => {
                let raw = RawValue::from_string(reference_values.clone())?;
                (queries.as_slice(), module.as_deref(), Some(raw))
            }
        };
        let set = |demanded: bool, value: bool| demanded.then_some(value);
        let name = |product: &Product| product.name().to_ascii_lowercase();
        let abi = |Abi { major, minor }: Abi| format!("{major}.{minor}");
        Ok(Self {
            workload_id: (!drawn).then_some(id),
            dialects: (!drawn).then_some(dialects),
            init_data: init_data.as_ref().map(InitData::of),
            measurements,
            minimum_tcb,
            minimum_committed_tcb,
            minimum_current_tcb,
            minimum_launch_tcb,
            require: Require {
                host_data: host_data.filter(|_| !drawn),
                id_key_digest: id_key_digest.as_ref(),
                author_key_digest: *author_key_digest,
                family_id: *family_id,
                image_id: *image_id,
                minimum_guest_svn: *minimum_guest_svn,
                single_socket: set(*require_single_socket, true),
                smt: set(*forbid_smt, false),
                ciphertext_hiding: set(*require_ciphertext_hiding, true),
                minimum_abi: minimum_abi.map(abi),
                products: products.as_ref().map(|products| products.iter().map(name).collect()),
                chips: chips.as_deref(),
                current_mitigations: Some(current_mitigations).filter(|rows| !rows.is_empty()),
                launch_mitigations: Some(launch_mitigations).filter(|rows| !rows.is_empty()),
                platform: conditions,
                minimum_firmware: *minimum_firmware,
                evidence: (*evidence != EvidenceForm::Snp).then(|| evidence.name()),
            },
            query,
            policy,
            reference_values,
        })
    }
}

impl InitData {
    fn of(required: &InitDataRequirement) -> Self {
        let InitDataRequirement { digest, bound_by, broker_keys: _ } = required;
        Self { bound_by: *bound_by, algorithm: digest.algorithm().name(), digest: digest.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use keybroker_testing::forms::describe;
    use serde_json::{Value, json};
    use uuid::Uuid;

    use super::*;
    use crate::{
        broker::RegisterRequest,
        ids::HostData,
        wire::{keybroker::register_request, libkrun},
    };

    fn registered(body: &Value) -> RegisterRequest {
        let mut body = body.clone();
        body["resources"] = json!({ "key": "a secret of 21 bytes!" });
        if body.get("dialects") == Some(&json!(["trustee"])) {
            body["resources"] = json!({ "default/key/one": "a secret of 21 bytes!" });
        }
        register_request(body.to_string().as_bytes(), HostData::random()).unwrap().0
    }

    fn registration(request: &RegisterRequest) -> Registration {
        Registration {
            serial: Uuid::nil(),
            dialects: request.dialects.clone(),
            owner: Some("somebody".to_owned()),
            reference_values: request.reference_values.clone(),
            policy: request.policy.clone(),
            rego: request.rego.clone(),
        }
    }

    fn exported(request: &RegisterRequest) -> Value {
        let registration = registration(request);
        let text = serde_json::to_string(&Exported::new(&request.workload_id, &registration).unwrap());
        serde_json::from_str(&text.unwrap()).unwrap()
    }

    /// Every member that can be sent, but `resources`, and the members that a workload id brings along.
    /// Azure's form of evidence is among those: it cannot be beside HOST_DATA, which the broker draws for all
    /// others.
    fn everything() -> Value {
        let rows = json!({
            "milan": { "snp": 22 },
            "milan-x": { "boot_loader": 4, "tee": 0, "snp": 27, "microcode": 71 },
            "turin-c1": { "fmc": 1, "snp": 4 },
        });
        json!({
            "query": ["data.policy.allow", "true"],
            "reference_values": { "more": [1, 2.50], "measurement": ["4d".repeat(48), "4e".repeat(48)] },
            "policy": "package policy\n\nallow if input.snp.vmpl == 0\n",
            "measurements": ["4d".repeat(48), "4e".repeat(48)],
            "minimum_tcb": rows,
            "minimum_committed_tcb": rows,
            "minimum_current_tcb": rows,
            "minimum_launch_tcb": rows,
            "require": {
                "id_key_digest": ["1d".repeat(48), "2d".repeat(48)],
                "author_key_digest": "a0".repeat(48),
                "family_id": "fa".repeat(16),
                "image_id": "1a".repeat(16),
                "minimum_guest_svn": 2,
                "single_socket": true,
                "smt": false,
                "ciphertext_hiding": true,
                "products": ["milan", "turin"],
                "chips": ["c1".repeat(64)],
                "current_mitigations": { "milan-x": [1, 2, 4], "genoa-b1": [] },
                "launch_mitigations": { "0x00A00F12": [63] },
                "platform": ["alias-check", "no-smt"],
                "minimum_firmware": "1.55.29",
            },
        })
    }

    /// The same demands, and as the body itself has them.
    fn assert_round(body: &Value, as_sent: &Value) {
        let once = registered(body);
        let out = exported(&once);
        assert_eq!(out, *as_sent);
        let again = registered(&out);
        let (mut once, mut again) = (registration(&once), registration(&again));
        if once.dialects.contains(Dialect::Keybroker) {
            // Drawn, each time another.
            assert!(once.policy.host_data.take().is_some() && again.policy.host_data.take().is_some());
        }
        assert_eq!(once, again);
        assert_eq!(exported(&registered(&out)), out);
    }

    /// The release before must read what this one writes: both run while a release is deployed, and the one
    /// before alone when it is taken back. So the form does not change unnoticed.
    #[test]
    fn the_stored_form_of_all_demands_is_one_that_the_release_before_reads() {
        let mut lines = BTreeSet::new();
        let digest = json!({ "bound_by": "host_data", "algorithm": "sha384", "digest": "d1".repeat(48) });
        let mut bound = everything();
        bound["workload_id"] = json!("web");
        bound["dialects"] = json!(["v1"]);
        let mut azure = bound.clone();
        bound["init_data"] = digest;
        bound["require"]["host_data"] = json!("d1".repeat(32));
        azure["init_data"] =
            json!({ "bound_by": "nothing", "algorithm": "sha384", "digest": "d1".repeat(48) });
        azure["require"]["evidence"] = json!("az-snp-vtpm");
        for body in [everything(), bound, azure] {
            let bytes = registration(&registered(&body)).to_bytes().unwrap();
            describe("registration", &serde_json::from_slice(&bytes).unwrap(), &mut lines);
        }
        let found = lines.into_iter().map(|line| line + "\n").collect::<String>();
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/wire/keybroker/forms-0.2.txt");
        if std::env::var_os("KEYBROKER_WRITE_FORMS").is_some() {
            fs::write(&file, &found).unwrap();
        }
        assert!(
            found == fs::read_to_string(&file).unwrap(),
            "the form of a registration changed: docs/upgrading.md says what the release before must be able to \
             read. With KEYBROKER_WRITE_FORMS=1 this test writes forms-0.2.txt anew: read the difference before you \
             commit it"
        );
    }

    #[test]
    fn every_demand_comes_back() {
        let all = everything();
        let mut as_sent = all.clone();
        // The same silicon by its name.
        as_sent["require"]["launch_mitigations"] = json!({ "milan-x": [63] });
        assert_round(&all, &as_sent);
        let members = |value: &Value| value.as_object().unwrap().clone();
        // And each alone.
        for (name, member) in members(&all["require"]) {
            let mut body = json!({ "measurements": ["4d".repeat(48)], "require": { &name: member } });
            if matches!(name.as_str(), "family_id" | "image_id" | "minimum_guest_svn") {
                body["require"]["author_key_digest"] = json!("a0".repeat(48));
            }
            let mut as_sent = body.clone();
            if name == "launch_mitigations" {
                as_sent["require"][&name] = json!({ "milan-x": [63] });
            }
            assert_round(&body, &as_sent);
        }
        for name in ["minimum_tcb", "minimum_committed_tcb", "minimum_current_tcb", "minimum_launch_tcb"] {
            let body = json!({ "measurements": ["4d".repeat(48)], name: all[name] });
            assert_round(&body, &body);
        }
        let keyed = json!({ "require": { "id_key_digest": "1d".repeat(48) } });
        assert_round(&keyed, &keyed);
    }

    #[test]
    fn a_workload_id_comes_back_with_what_it_brings_along() {
        let digest = json!({ "bound_by": "host_data", "algorithm": "sha384", "digest": "d1".repeat(48) });
        for (dialects, init_data) in
            [(json!(["v1"]), Some(&digest)), (json!(["trustee"]), None), (json!(["trustee"]), Some(&digest))]
        {
            let mut body = everything();
            body["workload_id"] = json!("web");
            body["dialects"] = dialects;
            body["require"]["host_data"] = json!("d1".repeat(32));
            if let Some(init_data) = init_data {
                body["init_data"] = init_data.clone();
            }
            let mut as_sent = body.clone();
            as_sent["require"]["launch_mitigations"] = json!({ "milan-x": [63] });
            assert_round(&body, &as_sent);
        }
        // Azure's evidence cannot be beside HOST_DATA, nor beside init data that it binds.
        let unbound = json!({ "bound_by": "nothing", "algorithm": "sha384", "digest": "d1".repeat(48) });
        for (dialects, init_data) in [(json!(["v1"]), Some(unbound)), (json!(["trustee"]), None)] {
            let mut body = json!({
                "workload_id": "web",
                "dialects": dialects,
                "measurements": ["4d".repeat(48)],
                "require": { "evidence": "az-snp-vtpm" },
            });
            if let Some(init_data) = init_data {
                body["init_data"] = init_data;
            }
            assert_round(&body, &body);
        }
    }

    #[test]
    fn a_form_of_evidence_comes_back() {
        let mut body = everything();
        body["workload_id"] = json!("web");
        body["dialects"] = json!(["trustee"]);
        body["require"]["evidence"] = json!("az-snp-vtpm");
        let mut as_sent = body.clone();
        as_sent["require"]["launch_mitigations"] = json!({ "milan-x": [63] });
        assert_round(&body, &as_sent);
        let exported = exported(&registered(&body));
        assert_eq!(exported["require"]["evidence"], "az-snp-vtpm");
    }

    /// The text of the reference values is hashed and evaluated as it was sent.
    #[test]
    fn reference_values_keep_their_text() {
        let text = r#"{ "b": 1.50,  "a": "\u00e4" }"#;
        let body = format!(
            r#"{{"query":["true"],"measurements":["{}"],"resources":{{}},"reference_values":{text}}}"#,
            "4d".repeat(48)
        );
        let (request, _) = register_request(body.as_bytes(), HostData::random()).unwrap();
        let registration = registration(&request);
        let out =
            serde_json::to_string(&Exported::new(&request.workload_id, &registration).unwrap()).unwrap();
        assert!(out.contains(text), "{out}");
    }

    /// buildah's registrations: the command reads them back, and the broker refuses the form.
    #[test]
    fn a_registration_as_buildah_makes_it_is_told_apart() {
        let config = json!({ "flags": { "bits": 14 }, "minfw": { "major": 1, "minor": 55 } }).to_string();
        let body = json!({
            "workload_id": "web",
            "launch_measurement": "4d".repeat(48),
            "passphrase": "a secret of 21 bytes!",
            "tee_config": config,
        });
        let request = libkrun::register_request(body.to_string().as_bytes()).unwrap();
        let out = exported(&request);
        assert_eq!(
            out,
            json!({
                "workload_id": "web",
                "dialects": ["v0"],
                "measurements": ["4d".repeat(48)],
                "require": { "smt": false, "minimum_abi": "1.55" },
            })
        );
        let mut sent = out;
        sent["resources"] = json!({});
        assert!(register_request(sent.to_string().as_bytes(), HostData::random()).is_err());
    }
}
