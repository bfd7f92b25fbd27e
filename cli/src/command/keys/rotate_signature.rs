//! `keybroker keys rotate signature`.

use jiff::Timestamp;
use keybroker_common::{
    audit::Decision,
    keyring::{Keyring, signing::SigningRingError},
};

use super::{
    documents::{Documents, UnknownArgs},
    signing::short,
};
use crate::{
    confirm::ConfirmArgs,
    exit::{Exit, Failure},
    operator::{StoreArgs, WrappingArgs, signing_ring},
};

/// The arguments that every rotation has, and this one needs.
#[derive(Debug, clap::Args)]
pub(super) struct RotateSignatureArgs {
    #[command(flatten)]
    unknown: UnknownArgs,
    #[command(flatten)]
    pub(super) confirm: ConfirmArgs,
    #[command(flatten)]
    wrapping: WrappingArgs,
    #[command(flatten)]
    pub(super) store: StoreArgs,
}

pub(super) async fn run(args: &RotateSignatureArgs) -> Result<Exit, Failure> {
    let operator = args.store.open().await?;
    let ring = signing_ring::checked(&operator, args.wrapping.key_file()).await?;
    let Some(next) = prepared(&ring) else {
        return Err(Failure::new(Exit::Failure, SigningRingError::NotPrepared).hint(
            operator.place.advice("make one with `keybroker keys prepare`, or bring one with keys import"),
        ));
    };
    let documents = Documents::read(&operator, &next).await?;
    let key = short(&next);
    Documents::require_none(&documents.silent, &format!("the next signing key {key} is missing in"))?;
    documents.check_unknown(&args.unknown)?;
    if args.confirm.dry_run {
        say!("signature: the key {key} would become the current one");
        return Ok(Exit::Ok);
    }
    signing_ring::change(&operator, Decision::KeysTurned, &next, |ring| {
        // Another key may have been prepared since the documents were read.
        let same = prepared(ring) == Some(next);
        if same { ring.with_prepared_used(Timestamp::now()) } else { Err(SigningRingError::NotPrepared) }
    })
    .await?;
    say!(
        "signature: the key {key} is the current one; a broker that runs learns it within a minute. Earlier \
         keys go on signing for guests that do not know it, until you retire them"
    );
    Ok(Exit::Ok)
}

fn prepared(ring: &Keyring) -> Option<keybroker_initdata::KeyId> {
    Some(ring.prepared()?.signing_key()?.id())
}
