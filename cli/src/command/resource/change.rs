//! The change of one secret, from the row as it is seen to the row as it becomes.

use anyhow::anyhow;
use keybroker_common::{
    amend::{self, AmendError, Change},
    audit::{Act, AuditRecord, Decision},
    ids::{AuditId, RegistrationDigest, WorkloadId},
    secret::KeyError,
    store::StoreError,
    workload::Workload,
};
use serde::Serialize;

use crate::{
    aws::Trouble,
    confirm::ConfirmArgs,
    exit::{Exit, Failure},
    operator::{Backend, OperatorHandle, StoreArgs, WrappingArgs, workload_id},
    table::{self, printable},
};

/// The secret that is changed, and where.
#[derive(Debug, clap::Args)]
pub(super) struct ChangeArgs {
    /// The workload
    #[arg(value_name = "WORKLOAD", value_parser = workload_id, index = 1)]
    workload: WorkloadId,
    /// The name of the secret: repository/type/tag for guests of Trustee, a plain name for others
    #[arg(value_name = "NAME", index = 2)]
    name: String,
    #[command(flatten)]
    confirm: ConfirmArgs,
    /// Print one JSON document in place of the lines
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    wrapping: WrappingArgs,
    #[command(flatten)]
    store: StoreArgs,
}

/// The document that `--json` prints.
#[derive(Debug, Serialize)]
struct Changed<'a> {
    /// Version of this form.
    schema: u8,
    dry_run: bool,
    workload_id: &'a WorkloadId,
    resource: &'a str,
    /// Whether the workload had a secret of this name before.
    existed: bool,
    /// The registration before; in a dry run the one that is there.
    replaced: RegistrationDigest,
    /// The registration as it became.
    #[serde(skip_serializing_if = "Option::is_none")]
    registration: Option<RegistrationDigest>,
    /// The audit record.
    #[serde(skip_serializing_if = "Option::is_none")]
    audit: Option<AuditId>,
}

/// Changes the secret as `change` says.
pub(super) async fn run(args: &ChangeArgs, change: Change) -> Result<Exit, Failure> {
    let decision = decision(&change);
    let seen = {
        // The command does not hold the file open while a person thinks: nobody else could open it.
        let operator = args.store.open().await?;
        let seen = operator.workload(&args.workload).await?;
        amend::check(&seen, &args.name, &change).map_err(|error| refused(&operator, args, &seen, error))?;
        seen
    };
    let existed = seen.secrets.contains_key(&args.name);
    let before = Changed {
        schema: 1,
        dry_run: args.confirm.dry_run,
        workload_id: &seen.id,
        resource: &args.name,
        existed,
        replaced: seen.digest(),
        registration: None,
        audit: None,
    };
    if args.confirm.dry_run {
        return told(args, decision, &before);
    }
    if existed && !args.confirm.agreed(&question(decision, &args.name, &seen))? {
        say!("nothing was changed");
        return Ok(Exit::Failure);
    }
    let operator = args.store.open().await?;
    let wrap = args.wrapping.of_secrets(&args.store, &operator).await?;
    let amended = amend::amended(&seen, &args.name, change, wrap.as_ref()).await;
    let amended = amended.map_err(|error| refused(&operator, args, &seen, error))?;
    let audit = AuditRecord {
        secret: Some(args.name.clone()),
        act: Some(Act::Amended { replaced: seen.digest() }),
        ..operator.record(decision, &amended)
    };
    match operator.store.amend(&seen, &amended, &audit).await {
        Err(StoreError::Conflict) => return Err(conflict(&operator, &seen).await),
        result => result.map_err(|error| operator.failure(error))?,
    }
    let (registration, audit) = (Some(amended.digest()), Some(audit.id));
    told(args, decision, &Changed { registration, audit, ..before })?;
    say!("a guest that attested before gets nothing more, and must attest again");
    if let Some(since) = seen.revoked_at {
        say!("{} has been revoked since {}, and stays so", seen.id, table::time(since));
    }
    let list = operator.place.command("resource list", &[seen.id.as_str()]);
    say!("to see all secrets of the workload: {list}");
    Ok(Exit::Ok)
}

/// The failure that the row of `seen` is another by now. One that is the same and still not written has its
/// secrets in a text that this program would not write.
async fn conflict(operator: &OperatorHandle, seen: &Workload) -> Failure {
    match operator.store.workload(&seen.id).await {
        Ok(Some(row)) if (row.digest(), &row.secrets) == (seen.digest(), &seen.secrets) => {
            let error = anyhow!(
                "the secrets of {} are not written as this release writes them: another program or release \
                 wrote the row",
                seen.id
            );
            Failure::new(Exit::Failure, error).hint("register the workload again, with all its secrets")
        }
        _ => operator.changed_since(&seen.id),
    }
}

fn decision(change: &Change) -> Decision {
    match change {
        Change::Set(_) => Decision::ResourceSet,
        Change::Delete => Decision::ResourceDeleted,
    }
}

fn question(decision: Decision, name: &str, workload: &Workload) -> String {
    let (name, id) = (printable(name), &workload.id);
    match decision {
        Decision::ResourceDeleted => format!("Delete the secret {name} of {id}, for good?"),
        _ => format!("Replace the secret {name} of {id}, for good?"),
    }
}

fn told(args: &ChangeArgs, decision: Decision, changed: &Changed<'_>) -> Result<Exit, Failure> {
    if args.json {
        table::json(changed)?;
        return Ok(Exit::Ok);
    }
    let done = match (decision, changed.existed, changed.dry_run) {
        (Decision::ResourceDeleted, _, false) => "deleted",
        (Decision::ResourceDeleted, _, true) => "would be deleted",
        (_, true, false) => "replaced",
        (_, true, true) => "would be replaced",
        (_, false, false) => "added",
        (_, false, true) => "would be added",
    };
    let mut fields = vec![
        ("workload", changed.workload_id.to_string()),
        ("secret", format!("{}, {done}", changed.resource)),
    ];
    fields.extend(changed.registration.map(|digest| ("registration", digest.to_string())));
    fields.extend(changed.audit.map(|id| ("audit", id.to_string())));
    table::print_fields(&fields)?;
    Ok(Exit::Ok)
}

/// The failure to change a secret of `seen`.
fn refused(operator: &OperatorHandle, args: &ChangeArgs, seen: &Workload, error: AmendError) -> Failure {
    let id = seen.id.as_str();
    let unchanged = format!("the secret {} of {id} was not changed", printable(&args.name));
    if let (AmendError::Key(KeyError::Unavailable(cause)), Backend::Aws) = (&error, operator.backend) {
        return Failure::from(Trouble::unavailable(cause)).context(unchanged).hint_if_denied(
            "the operator needs the role PREFIX-resources, which alone may encrypt secrets and bind them to another \
             registration: docs/aws.md has its policy",
        );
    }
    let exit = match &error {
        AmendError::Length | AmendError::Name => Exit::Usage,
        AmendError::Key(KeyError::Unavailable(_)) => Exit::Unreachable,
        _ => Exit::Failure,
    };
    let hint = match &error {
        AmendError::Name => {
            let names = seen.read().ok().map(|read| amend::names(&read.registration().dialects));
            names.map(|names| format!("its secrets are named {names}"))
        }
        AmendError::Absent | AmendError::Count => {
            let list = operator.place.command("resource list", &[id]);
            Some(format!("to see all secrets of the workload: {list}"))
        }
        AmendError::Last => {
            let revoke = operator.place.command("workload revoke", &[id]);
            Some(format!("set another one first, or end all releases: {revoke}"))
        }
        AmendError::Passphrase | AmendError::Unproven => {
            Some("register the workload again, with all its secrets".to_owned())
        }
        AmendError::Key(KeyError::Mismatch) => Some(operator.place.advice_about(
            "somebody altered the row in the store: find out who could, look with `keybroker workload show ID` at \
             what it requires of a guest, and register the workload again",
            Some(id),
        )),
        _ => None,
    };
    let failure = Failure::new(exit, anyhow!(error)).context(unchanged);
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}
