//! The registrations that the new one ends, read before anybody is asked.
//!
//! Nothing binds an image's trailer, so the id in it may be another workload's. By its word alone the command
//! replaces only a registration as buildah makes one, and revokes nothing.

use anyhow::anyhow;
use keybroker_common::{audit::Decision, dialect::Dialect, ids::WorkloadId, workload::Workload};

use crate::{
    exit::{Exit, Failure},
    operator::{OperatorHandle, no_such, workload_id},
    table::{printable, time},
};

/// The registrations that may end.
#[derive(Debug, clap::Args)]
pub(super) struct EarlierArgs {
    /// The workload's id, if it is not the one that buildah registered
    #[arg(long, value_name = "ID", value_parser = workload_id)]
    pub(super) workload_id: Option<WorkloadId>,
    /// Revoke this workload, which buildah registered for the image under another id
    #[arg(long, value_name = "ID", value_parser = workload_id, requires = "workload_id")]
    revoke: Option<WorkloadId>,
    /// Go on although a guest has had this passphrase
    ///
    /// The host of that guest may know the key of the disk. Then it can make another disk with the same key,
    /// which the workload's own guest will open. It is better to make the image again.
    #[arg(long)]
    yes_released: bool,
}

/// The rows of these registrations.
#[derive(Debug)]
pub(super) struct Earlier {
    replaced: Option<Workload>,
    revoked: Option<Workload>,
}

impl EarlierArgs {
    /// Reads the rows, and refuses to end what the operator did not name. `buildahs` is the id in the
    /// trailer.
    pub(super) async fn read(
        &self,
        operator: &OperatorHandle,
        id: &WorkloadId,
        buildahs: &str,
    ) -> Result<Earlier, Failure> {
        let replaced = row(operator, id).await?;
        if let Some(held) = &replaced
            && self.workload_id.is_none()
            && !is_buildahs(held)
        {
            let error = anyhow!("the image names the workload {id}, which is not registered as buildah does");
            return Err(Failure::new(Exit::Failure, error)
                .hint(format!("if it is the image's, replace its registration with --workload-id {id}")));
        }
        let revoked = match &self.revoke {
            Some(revoke) => Some(to_revoke(operator, id, revoke).await?),
            None => None,
        };
        let of_trailer = match WorkloadId::new(buildahs.to_owned()) {
            Ok(other) if other != *id => row(operator, &other).await?,
            _ => None,
        };
        let rows = [&replaced, &revoked, &of_trailer].into_iter().flatten();
        let released = rows.filter(|row| is_buildahs(row)).find_map(|row| Some((&row.id, row.released_at?)));
        if let (Some((id, at)), false) = (released, self.yes_released) {
            let error = anyhow!("a guest has had the passphrase of {id} since {}", time(at));
            return Err(Failure::new(Exit::Failure, error).hint(
                "its host may know the key of the disk: make the image again with another passphrase, or go \
                 on with --yes-released",
            ));
        }
        if let (Some(left), None) = (of_trailer.filter(|row| row.revoked_at.is_none()), &revoked) {
            say!("note: buildah registered the image as {}; to end that registration: --revoke {0}", left.id);
        }
        Ok(Earlier { replaced, revoked })
    }
}

async fn row(operator: &OperatorHandle, id: &WorkloadId) -> Result<Option<Workload>, Failure> {
    operator.store.workload(id).await.map_err(|error| operator.failure(error))
}

async fn to_revoke(
    operator: &OperatorHandle,
    id: &WorkloadId,
    revoke: &WorkloadId,
) -> Result<Workload, Failure> {
    if revoke == id {
        return Err(Failure::new(Exit::Usage, anyhow!("{id} is replaced, so it cannot be revoked")));
    }
    let row = row(operator, revoke).await?.ok_or_else(|| no_such("workload", revoke))?;
    if !is_buildahs(&row) {
        let error = anyhow!("{revoke} is not registered as buildah does");
        return Err(Failure::new(Exit::Failure, error)
            .hint(operator.place.command("workload revoke", &[revoke.as_str()])));
    }
    Ok(row)
}

/// Whether only libkrun's guests may ask for the workload's secrets.
fn is_buildahs(row: &Workload) -> bool {
    row.read().is_ok_and(|read| read.registration().dialects.only() == Some(Dialect::Libkrun))
}

impl Earlier {
    /// Says on stderr which registrations end.
    pub(super) fn show(&self) {
        for (act, row) in [("replaces", &self.replaced), ("revokes", &self.revoked)] {
            let Some(row) = row else { continue };
            let owner = row.read().ok().and_then(|read| read.registration().owner.clone());
            let owner =
                owner.map_or_else(|| "somebody without a token".to_owned(), |owner| printable(&owner));
            let since = time(row.first_registered_at);
            say!("{act:<13}{}, registered by {owner}, first at {since}", row.id);
        }
    }

    /// Refuses to end another registration under `id`, or another to revoke, than those that were shown.
    pub(super) async fn check_unchanged(
        &self,
        operator: &OperatorHandle,
        id: &WorkloadId,
    ) -> Result<(), Failure> {
        if row(operator, id).await? != self.replaced {
            return Err(operator.changed_since(id));
        }
        match &self.revoked {
            Some(shown) if row(operator, &shown.id).await?.as_ref() != Some(shown) => {
                Err(operator.changed_since(&shown.id))
            }
            _ => Ok(()),
        }
    }

    /// Revokes the one that the operator named, once the new registration is made.
    pub(super) async fn end(&self, operator: &OperatorHandle) -> Result<Option<WorkloadId>, Failure> {
        let Some(row) = &self.revoked else { return Ok(None) };
        let audit = operator.record(Decision::Revoked, row);
        operator.store.revoke(&row.id, &audit).await.map_err(|error| {
            operator
                .failure(error)
                .context(format!("the workload is registered, but {} is not revoked", row.id))
        })?;
        Ok(Some(row.id.clone()))
    }

    /// Whether there is one to revoke.
    pub(super) fn revokes(&self) -> bool {
        self.revoked.is_some()
    }
}
