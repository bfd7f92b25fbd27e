//! The init data that a registration's guests must have.

use keybroker_initdata::{Binding, Document, digest_of};
use serde::Deserialize;

use super::{super::json, RegistrationFault as Fault};
use crate::{
    dialect::{Dialect, Dialects},
    ids::WorkloadId,
    requirements::{BoundBy, InitDataRequirement, init_data::digest},
};

/// `init_data` as sent: the document, or its digest.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct InitData {
    /// `host_data`, `measurement`, or `nothing`.
    bound_by: BoundBy,
    /// `sha256`, `sha384` or `sha512`.
    #[serde(default, deserialize_with = "json::present")]
    algorithm: Option<String>,
    /// In hex.
    #[serde(default, deserialize_with = "json::present")]
    digest: Option<String>,
    /// The whole document. It must name the workload, and have the binding that `bound_by` says.
    #[serde(default, deserialize_with = "json::present")]
    document: Option<String>,
}

impl InitData {
    /// The requirement, for the workload of this id and its guests of `dialects`.
    pub(super) fn requirement(
        &self,
        workload_id: &WorkloadId,
        dialects: &Dialects,
    ) -> Result<InitDataRequirement, Fault> {
        let bound_by = self.bound_by;
        // Nothing but HOST_DATA ties a guest of Trustee's to its document.
        if dialects.contains(Dialect::Trustee) && bound_by != BoundBy::HostData {
            return Err(Fault::TrusteeBinding);
        }
        let any_document = !dialects.contains(Dialect::Native);
        match (&self.document, &self.algorithm, &self.digest) {
            (Some(text), None, None) if any_document => {
                let digest = digest_of(text).map_err(|_| Fault::AnyDocument)?;
                Ok(InitDataRequirement { digest, bound_by, broker_keys: None })
            }
            (Some(text), None, None) => {
                let document = Document::parse(text).map_err(|_| Fault::Document)?;
                let settings = document.keybroker();
                if settings.workload != workload_id.as_str() {
                    return Err(Fault::OtherWorkload);
                }
                if bound_by != bound(settings.binding) {
                    return Err(Fault::OtherBinding);
                }
                let keys = settings.broker_keys.iter().map(|named| named.key.id());
                let broker_keys = Some(keys.collect());
                Ok(InitDataRequirement { digest: document.digest(), bound_by, broker_keys })
            }
            (None, Some(algorithm), Some(hex)) => {
                let digest = digest(algorithm, hex).map_err(|_| Fault::InitData)?;
                // A guest that nothing binds has zeros there.
                if digest.host_data() == [0; 32] {
                    return Err(Fault::Zeros("init_data.digest"));
                }
                Ok(InitDataRequirement { digest, bound_by, broker_keys: None })
            }
            _ => Err(Fault::InitData),
        }
    }
}

/// A document's binding, in a registration's terms.
fn bound(binding: Binding) -> BoundBy {
    match binding {
        Binding::HostData => BoundBy::HostData,
        Binding::Measured => BoundBy::Measurement,
        Binding::Nothing => BoundBy::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use keybroker_initdata::Algorithm;
    use serde_json::{Value, json};

    use super::{
        super::{super::Invalid, RegistrationFault as Fault, register_request},
        *,
    };
    use crate::{
        broker::RegisterRequest,
        dialect::Dialect,
        encoding::Hex,
        ids::HostData,
        wire::{self, FieldName, Part},
    };

    /// A document of the workload `web`, bound by HOST_DATA.
    const DOCUMENT: &str = include_str!("../../../../initdata/tests/data/document.toml");

    /// A registration of `web` with this init data.
    fn body(init_data: Value) -> Value {
        json!({
            "workload_id": "web",
            "init_data": init_data,
            "measurements": ["4d".repeat(48)],
            "resources": {"passphrase": "of the disk"},
        })
    }

    fn by_digest(bound_by: &str) -> Value {
        json!({"bound_by": bound_by, "algorithm": "sha384", "digest": "D1".repeat(48)})
    }

    fn by_document(bound_by: &str, document: &str) -> Value {
        json!({"bound_by": bound_by, "document": document})
    }

    fn read(body: &Value) -> Result<(RegisterRequest, [u8; 32]), Invalid> {
        register_request(body.to_string().as_bytes(), HostData::random())
    }

    fn fault(body: &Value) -> Fault {
        match read(body) {
            Err(Invalid::Registration(fault)) => fault,
            other => panic!("{body}: {other:?}"),
        }
    }

    #[test]
    fn a_digest_is_required_as_it_was_given() {
        let bound = [
            ("host_data", BoundBy::HostData),
            ("measurement", BoundBy::Measurement),
            ("nothing", BoundBy::Nothing),
        ];
        for (name, bound_by) in bound {
            let (request, host_data) = read(&body(by_digest(name))).unwrap();
            assert_eq!(request.workload_id.as_str(), "web");
            // Guests of other dialects say nothing about their init data.
            assert_eq!(request.dialects, Dialect::Native.into());
            assert_eq!(host_data, [0xD1; 32], "{name}");
            let digest = keybroker_initdata::InitDataDigest::new(Algorithm::Sha384, vec![0xD1; 48]).unwrap();
            let required = InitDataRequirement { digest, bound_by, broker_keys: None };
            assert_eq!(
                (request.policy.init_data, request.policy.host_data),
                (Some(required), None),
                "{name}"
            );
        }
    }

    #[test]
    fn a_document_is_required_by_its_digest_and_says_which_keys_its_guests_accept() {
        let (request, host_data) = read(&body(by_document("host_data", DOCUMENT))).unwrap();
        let document = Document::parse(DOCUMENT).unwrap();
        let required = request.policy.init_data.unwrap();
        assert_eq!((&required.digest, required.bound_by), (&document.digest(), BoundBy::HostData));
        assert_eq!(host_data, document.digest().host_data());
        let keys: Vec<_> = document.keybroker().broker_keys.iter().map(|named| named.key.id()).collect();
        assert_eq!(required.broker_keys, Some(keys));
        for (of_the_document, name) in [("measured", "measurement"), ("none", "nothing")] {
            let document = DOCUMENT.replace("\"host-data\"", &format!("\"{of_the_document}\""));
            assert!(read(&body(by_document(name, &document))).is_ok(), "{name}");
            assert_eq!(fault(&body(by_document("host_data", &document))), Fault::OtherBinding);
        }
    }

    #[test]
    fn a_document_that_is_not_the_workloads_own_is_refused() {
        let refused = |document: &str| fault(&body(by_document("host_data", document)));
        assert_eq!(
            refused(&DOCUMENT.replace("workload = \"web\"", "workload = \"web2\"")),
            Fault::OtherWorkload
        );
        for binding in ["measurement", "nothing"] {
            assert_eq!(fault(&body(by_document(binding, DOCUMENT))), Fault::OtherBinding);
        }
        for document in ["", "version = \"0.1.0\"", &DOCUMENT.replace("[[disk]]", "[[disc]]")] {
            assert_eq!(refused(document), Fault::Document, "{document}");
        }
    }

    #[test]
    fn init_data_is_a_document_or_its_digest() {
        let digest = "d1".repeat(32);
        for wrong in [
            json!({"bound_by": "host_data"}),
            json!({"bound_by": "host_data", "algorithm": "sha256"}),
            json!({"bound_by": "host_data", "digest": digest}),
            json!({"bound_by": "host_data", "algorithm": "md5", "digest": digest}),
            json!({"bound_by": "host_data", "algorithm": "sha256", "digest": "d1".repeat(31)}),
            json!({"bound_by": "host_data", "algorithm": "sha512", "digest": digest}),
            json!({"bound_by": "host_data", "algorithm": "sha256", "digest": digest, "document": DOCUMENT}),
            json!({"bound_by": "host_data", "digest": digest, "document": DOCUMENT}),
        ] {
            assert_eq!(fault(&body(wrong.clone())), Fault::InitData, "{wrong}");
        }
        for (algorithm, digest) in
            [("sha256", "00".repeat(32)), ("sha384", "00".repeat(32) + &"d1".repeat(16))]
        {
            let zeros = json!({"bound_by": "nothing", "algorithm": algorithm, "digest": digest});
            assert_eq!(fault(&body(zeros)), Fault::Zeros("init_data.digest"));
        }
        let form = |fault| Invalid::Json { part: Part::Body, fault };
        let digest = json!({"algorithm": "sha256", "digest": digest});
        let missing = form(wire::Fault::MissingField(FieldName::new("bound_by")));
        assert_eq!(read(&body(digest)).unwrap_err(), missing);
        for wrong in [by_digest("hostdata"), by_digest(""), json!([]), json!("d1"), Value::Null] {
            assert_eq!(read(&body(wrong.clone())).unwrap_err(), form(wire::Fault::Type), "{wrong}");
        }
        let mut more = by_digest("nothing");
        more["unbound"] = true.into();
        let unknown = form(wire::Fault::UnknownField(FieldName::new("unbound")));
        assert_eq!(read(&body(more)).unwrap_err(), unknown);
    }

    #[test]
    fn workload_and_init_data_come_together() {
        for left_out in ["workload_id", "init_data"] {
            let mut alone = body(by_digest("nothing"));
            alone.as_object_mut().unwrap().remove(left_out);
            assert_eq!(fault(&alone), Fault::InitDataAlone, "{left_out}");
        }
        let mut unnamed = body(by_digest("nothing"));
        unnamed["workload_id"] = "a/b".into();
        assert!(matches!(read(&unnamed).unwrap_err(), Invalid::WorkloadId(_)));
    }

    /// A client that chooses HOST_DATA itself may require it. Where it binds the init data, it is the digest.
    #[test]
    fn host_data_is_the_clients_to_require_beside_init_data() {
        let requiring = |bound_by, host_data: &str| {
            let mut body = body(by_digest(bound_by));
            body["require"] = json!({"host_data": host_data});
            body
        };
        for bound_by in ["host_data", "measurement", "nothing"] {
            let (request, host_data) = read(&requiring(bound_by, &"d1".repeat(32))).unwrap();
            assert_eq!((request.policy.host_data, host_data), (Some(Hex([0xD1; 32])), [0xD1; 32]));
        }
        assert_eq!(fault(&requiring("host_data", &"d2".repeat(32))), Fault::OtherHostData);
        // Where HOST_DATA does not bind the init data, it may be anything.
        for bound_by in ["measurement", "nothing"] {
            let (request, _) = read(&requiring(bound_by, &"d2".repeat(32))).unwrap();
            assert_eq!(request.policy.host_data, Some(Hex([0xD2; 32])));
        }
        assert_eq!(fault(&requiring("host_data", "d1")), Fault::Hex("host_data", 64));
    }
}
