//! The finding about something that AWS does not show.

use crate::{
    aws::{Kind, Trouble},
    command::doctor::finding::Finding,
};

/// Something that is missing is a failure. Something that these credentials may not see is a warning: it may
/// be fine. `needs` is the permission that the call takes.
pub(super) fn unseen(check: &'static str, name: &str, needs: &str, trouble: &Trouble) -> Finding {
    match trouble.kind() {
        Kind::Missing => Finding::fail(
            check,
            format!("there is no {name}"),
            "check --prefix, --region and --profile, or deploy infra/storage.yaml",
        ),
        Kind::Denied => Finding::unseen(check, needs, name),
        _ => Finding::fail(check, format!("{name}: {}", trouble.words()), trouble.helps()),
    }
}
