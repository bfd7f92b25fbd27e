//! An operator changes one secret of a workload, and nothing else.
//!
//! The change is a new registration with the same requirements and another serial: so it has another digest,
//! and no session from before rests on it. Every other secret is bound to the new digest without being opened
//! ([`Rewrap`]).
//!
//! That works only if each secret was wrapped for the very registration in the row. So a registration that
//! somebody altered in the store is not made a sound one by this, which would hand the new secret to a guest
//! of theirs: the secret that is replaced is proved in the same way, and a workload without secrets is not
//! changed.

use std::collections::BTreeMap;

use futures_util::future::try_join_all;
use uuid::Uuid;

use crate::{
    dialect::{Dialect, Dialects},
    ids::{RegistrationDigest, WorkloadId},
    secret::{
        EncryptionContext, KeyError, Rewrap, Secret, WrappedSecret,
        bounds::{MAX_SECRET_LEN, MAX_SECRETS, fits_in},
    },
    wire::names_secret,
    workload::{Registration, RegistrationError, Workload},
};

/// The fate of the secret of a name.
#[derive(Debug)]
pub enum Change {
    /// It is this one from then on, whether there was one or not.
    Set(Secret),
    /// There is none any more.
    Delete,
}

/// Why a secret cannot be changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AmendError {
    /// The registration cannot be read.
    #[error(transparent)]
    Registration(#[from] RegistrationError),
    /// The one secret of libkrun's guests opens their image.
    #[error("libkrun's guests have one secret, the passphrase of their image, and it changes with the image")]
    Passphrase,
    /// No guest of the workload could ask for it.
    #[error("no guest of this workload can ask for such a name")]
    Name,
    /// There is no such secret.
    #[error("the workload has no such secret")]
    Absent,
    /// Empty, or too long.
    #[error("a secret must have 1 to {MAX_SECRET_LEN} bytes")]
    Length,
    /// One more than a registration can have.
    #[error("a workload has at most {MAX_SECRETS} secrets")]
    Count,
    /// Without another one, nothing would show that the registration is as it was written.
    #[error("it is the only secret of the workload")]
    Last,
    /// No secret shows that the registration is as it was written.
    #[error("the workload has no secret, so nothing shows that its registration is as it was written")]
    Unproven,
    /// A secret could not be wrapped, or was not wrapped for this registration.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// The row of `workload` with the secret `name` changed: its registration and secrets are others, and the
/// rest is as it was.
pub async fn amended(
    workload: &Workload,
    name: &str,
    change: Change,
    wrap: &dyn Rewrap,
) -> Result<Workload, AmendError> {
    check(workload, name, &change)?;
    let read = workload.read()?;
    let registration = Registration { serial: Uuid::new_v4(), ..read.registration().clone() }.to_bytes()?;
    let digest = RegistrationDigest::of(&registration);
    let mut secrets = rewrapped(workload, digest, wrap).await?;
    match change {
        Change::Set(secret) => {
            let wrapped = wrap.wrap_secret(&context(&workload.id, name, digest), &secret).await?;
            secrets.insert(name.to_owned(), wrapped);
        }
        Change::Delete => drop(secrets.remove(name)),
    }
    Ok(Workload { registration, secrets, ..workload.clone() })
}

/// The names that secrets of a registration in `dialects` have, in words.
pub fn names(dialects: &Dialects) -> &'static str {
    match (dialects.contains(Dialect::Trustee), dialects.only()) {
        (true, Some(_)) => "repository/type/tag",
        (true, None) => "repository/type/tag, or a plain name",
        (false, _) => "a plain name of up to 64 letters, digits, dots, - and _",
    }
}

/// Refuses a change that the workload cannot have, before anything is wrapped.
pub fn check(workload: &Workload, name: &str, change: &Change) -> Result<(), AmendError> {
    let (read, secrets) = (workload.read()?, &workload.secrets);
    let dialects = &read.registration().dialects;
    let there = secrets.contains_key(name);
    if dialects.contains(Dialect::Libkrun) {
        return Err(AmendError::Passphrase);
    }
    if secrets.is_empty() {
        return Err(AmendError::Unproven);
    }
    match change {
        Change::Set(secret) if !fits_in(secret) => Err(AmendError::Length),
        Change::Set(_) if there => Ok(()),
        Change::Set(_) if !names_secret(dialects, name) => Err(AmendError::Name),
        Change::Set(_) if secrets.len() >= MAX_SECRETS => Err(AmendError::Count),
        Change::Delete if !there => Err(AmendError::Absent),
        Change::Delete if secrets.len() == 1 => Err(AmendError::Last),
        _ => Ok(()),
    }
}

/// Every secret of the row, bound to the registration of this digest: all at once, as at registration.
async fn rewrapped(
    workload: &Workload,
    digest: RegistrationDigest,
    wrap: &dyn Rewrap,
) -> Result<BTreeMap<String, WrappedSecret>, KeyError> {
    let held = workload.digest();
    let rewraps = workload.secrets.iter().map(|(name, wrapped)| async move {
        let [from, to] = [held, digest].map(|digest| context(&workload.id, name, digest));
        Ok((name.clone(), wrap.rewrap_secret(&from, &to, wrapped).await?))
    });
    Ok(try_join_all(rewraps).await?.into_iter().collect())
}

fn context(id: &WorkloadId, name: &str, registration: RegistrationDigest) -> EncryptionContext {
    EncryptionContext { workload_id: id.clone(), secret: name.to_owned(), registration }
}
