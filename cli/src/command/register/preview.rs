//! The preview of a registration: its requirements, the rows that it meets, and each reason for which the
//! broker would refuse it.

use jiff::Timestamp;
use keybroker_common::{
    broker::RegisterRequest,
    dialect::Dialect,
    ids::WorkloadId,
    wire::names,
    workload::{Registration, Workload},
};
use keybroker_rego::Policy;
use uuid::Uuid;

use super::{Registering, document::Document, send, trustee::Kbs};
use crate::{
    carried,
    exit::Failure,
    operator::changed_since,
    policy_fault::{self, Sources},
    requirements, table,
};

impl Registering<'_> {
    /// Shows the registration on stderr, with the rows that it meets in the store.
    pub(super) fn preview(&self, request: &RegisterRequest) -> Result<Shown, Failure> {
        show(request, self.document.is_drawn())?;
        send::check_length(self.document.path(), self.document.body())?;
        self.warn(request);
        let held = self.held(request).unwrap_or_default();
        let Held { replaced, selected } = held.unwrap_or_default();
        if let Some(replaced) = &replaced {
            self.tell_replaced(replaced, request);
        }
        if let Some(holder) = selected.filter(|holder| *holder != request.workload_id) {
            let show = self.destination.store.place().command("workload show", &[holder.as_str()]);
            say!("warning: HOST_DATA selects the guests of {holder}, so the broker will refuse this: {show}");
        }
        Ok(Shown(replaced))
    }

    /// Refuses to replace another row than the one that was shown: somebody may have written while a person
    /// read. If the store cannot be opened any more, sending the registration says why.
    pub(super) fn check_unchanged(&self, request: &RegisterRequest, shown: &Shown) -> Result<(), Failure> {
        match self.held(request) {
            Ok(Some(held)) if held.replaced != shown.0 => {
                Err(changed_since(&self.destination.store.place(), &request.workload_id))
            }
            Err(failure) if shown.0.is_some() => Err(failure),
            _ => Ok(()),
        }
    }

    /// Looks for what this registration meets in the store. `None` if it cannot see that: the store is on
    /// another machine, or the broker draws the id.
    fn held(&self, request: &RegisterRequest) -> Result<Option<Held>, Failure> {
        if self.document.is_drawn() || self.destination.store.aws {
            return Ok(None);
        }
        crate::operator::block_on(async {
            let operator = self.destination.store.open().await?;
            let failed = |error| operator.failure(error);
            let replaced = operator.store.workload(&request.workload_id).await.map_err(failed)?;
            let selected = match registration(request).selected_by() {
                Some(host_data) => operator.store.selected(&host_data).await.unwrap_or_default(),
                None => None,
            };
            Ok(Some(Held { replaced, selected }))
        })
    }

    /// Tells on stderr that a registration is replaced, and which secrets that deletes; or that it cannot be.
    fn tell_replaced(&self, replaced: &Workload, request: &RegisterRequest) {
        let id = &replaced.id;
        let since = table::time(replaced.first_registered_at);
        if is_drawn(replaced) {
            say!(
                "warning: {id} has been registered since {since}, under an id that the broker drew: nothing takes \
                 the place of such a registration, so the broker will refuse this. Give another id"
            );
            return;
        }
        say!("{id} has been registered since {since}: this replaces it");
        let gone: Vec<_> =
            replaced.secrets.keys().filter(|name| !request.secrets.contains_key(*name)).collect();
        if !gone.is_empty() {
            let names: Vec<_> = gone.into_iter().map(|name| table::printable(name)).collect();
            say!("warning: these secrets are deleted, for good: {}", names.join(", "));
        }
        if let Some(since) = replaced.revoked_at {
            let restore = self.destination.store.place().command("workload restore", &[id.as_str()]);
            say!(
                "warning: it has been revoked since {}, so the broker will refuse this: {restore}",
                table::time(since)
            );
        }
    }

    /// Tells on stderr of floors that refuse more guests than they seem to, and of an id that the guests'
    /// cookie cannot carry.
    fn warn(&self, request: &RegisterRequest) {
        for (version, floors) in request.policy.platform.floors() {
            for product in floors.products_alone() {
                say!(
                    "warning: the floor of {product}'s {} TCB holds for reports of version 2 alone: guests with later \
                     reports are refused until a floor names their stepping, as milan-b1",
                    version.name()
                );
            }
        }
        if request.secrets.is_empty() {
            say!(
                "warning: no secret is given, so guests that attest as this workload get nothing but their \
                 attestation's result"
            );
        }
        let carrier = match &self.document {
            Document::Libkrun(_) => "libkrun's cookie",
            Document::Named(_) if Kbs::is_named_by(request) => "Trustee's cookie",
            _ => return,
        };
        if carried::is_too_long(&request.workload_id) {
            say!(
                "warning: {carrier} cannot carry this id, so the broker will refuse the workload's guests: {}",
                carried::HELPS
            );
        }
    }
}

/// Refuses a policy that the broker would refuse.
pub(super) fn check_policy(request: &RegisterRequest, sources: Sources<'_>) -> Result<(), Failure> {
    let Some(text) = &request.rego else { return Ok(()) };
    Policy::compile(text).map(drop).map_err(|error| policy_fault::failure(error, sources))
}

/// Whether the broker drew the id of a workload.
fn is_drawn(workload: &Workload) -> bool {
    workload.read().is_ok_and(|read| read.registration().dialects.contains(Dialect::Keybroker))
}

/// The row under the registration's id, as a person saw it.
#[derive(Debug)]
pub(super) struct Shown(Option<Workload>);

impl Shown {
    /// Whether the registration takes its place.
    pub(super) fn is_replaced(&self) -> bool {
        self.0.as_ref().is_some_and(|row| !is_drawn(row))
    }

    /// Since when that row has been there.
    pub(super) fn since(&self) -> Option<Timestamp> {
        self.0.as_ref().map(|row| row.first_registered_at)
    }
}

/// The rows that a registration meets in the store.
#[derive(Debug, Default)]
struct Held {
    /// The workload whose registration it would take the place of.
    replaced: Option<Workload>,
    /// The workload that the HOST_DATA of its guests selects.
    selected: Option<WorkloadId>,
}

/// Prints the requirements and the names of the secrets on stderr: stdout is for the result. `drawn` says
/// that the broker will draw the id, and that the one in `request` stands for it.
pub(crate) fn show(request: &RegisterRequest, drawn: bool) -> Result<(), Failure> {
    let registration = registration(request);
    let id = if drawn {
        "an id that the broker draws, with HOST_DATA".to_owned()
    } else {
        request.workload_id.to_string()
    };
    let mut lines = vec![("workload", id), ("dialect", names(&request.dialects))];
    // The broker draws HOST_DATA: the one in this request stands for it.
    let chosen = |name: &str| drawn && name == "HOST_DATA";
    lines.extend(requirements::of(&registration).into_iter().map(|(name, what)| {
        if chosen(name) { (name, "the one that the broker draws".to_owned()) } else { (name, what) }
    }));
    lines.extend(request.secrets.keys().map(|name| ("secret", name.clone())));
    let width = lines.iter().map(|(name, _)| name.len()).max().unwrap_or(0) + 2;
    for (name, what) in lines {
        say!("{name:<width$}{}", table::printable(&what));
    }
    Ok(())
}

/// The registration that `request` asks for, but for what the broker adds.
fn registration(request: &RegisterRequest) -> Registration {
    Registration {
        serial: Uuid::nil(),
        dialects: request.dialects.clone(),
        owner: None,
        reference_values: request.reference_values.clone(),
        policy: request.policy.clone(),
        rego: request.rego.clone(),
    }
}
