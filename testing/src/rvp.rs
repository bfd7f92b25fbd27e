//! Registrations by reference values, and the guests that HOST_DATA selects them for.

use keybroker_common::{
    broker::{Error, RegisterRequest},
    challenge::{Challenge, Claim},
    dialect::Dialect,
    encoding::Hex,
    ids::{HostData, SessionId},
    requirements::AppraisalPolicy,
    secret::{Secret, seal::Sealed},
};
use keybroker_simulator::report::ReportFields;

use super::{
    guest::{KEY, evidence_with},
    world::{Broker, PASSPHRASE, World, request},
};

/// A registration of the measurement that guests have unless told otherwise, as `/rvp/register` makes one.
pub fn by_reference_values(host_data: HostData, resources: &[(&str, &str)]) -> RegisterRequest {
    let secret = |text: &str| Secret::new(text.as_bytes().to_vec());
    RegisterRequest {
        workload_id: host_data.workload_id(),
        dialects: Dialect::Keybroker.into(),
        policy: AppraisalPolicy { host_data: Some(Hex(host_data.to_bytes())), ..AppraisalPolicy::default() },
        secrets: resources.iter().map(|(name, text)| ((*name).to_owned(), secret(text))).collect(),
        ..request("unused", PASSPHRASE)
    }
}

/// Registers these resources, and gives what a guest is launched with to get them.
pub async fn registered(broker: &Broker, resources: &[(&str, &str)]) -> HostData {
    let host_data = HostData::random();
    broker.register.register(by_reference_values(host_data, resources)).await.unwrap();
    host_data
}

/// The challenge of a guest that names no workload.
pub async fn challenge(broker: &Broker) -> Challenge {
    broker.auth.challenge(Claim::HostData).await.unwrap()
}

/// Attests a guest that was launched with `host_data`.
pub async fn attest(
    world: &World,
    broker: &Broker,
    challenge: &Challenge,
    host_data: [u8; 32],
) -> Result<SessionId, Error> {
    let launched = |fields: &mut ReportFields| fields.host_data = host_data;
    let evidence = evidence_with(&world.hardware.chip, &KEY, challenge, launched);
    broker.attest.attest(&challenge.session_id, evidence).await?;
    Ok(challenge.session_id.clone())
}

/// A session of a guest that was launched with `host_data`.
pub async fn attested(world: &World, broker: &Broker, host_data: HostData) -> SessionId {
    attest(world, broker, &challenge(broker).await, host_data.to_bytes()).await.unwrap()
}

/// A short resource, as the guest opens it.
pub async fn resource(broker: &Broker, session: &SessionId, name: &str) -> Result<String, Error> {
    let released = broker.attest.resource(session, name).await?;
    let Sealed::Pkcs1(ciphertext) = released.sealed() else { panic!("a short secret") };
    Ok(String::from_utf8(KEY.open(ciphertext).unwrap()).unwrap())
}
