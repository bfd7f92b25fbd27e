//! After a refusal of another launch measurement: the command that finds out what differs in the launch.

use keybroker_common::{
    appraisal::AppraisalCheck,
    audit::{AuditRecord, Check},
    dialect::{Dialect, Dialects},
};

use crate::operator::OperatorHandle;

/// The advice in a whole sentence, if the record is of such a refusal.
pub(super) async fn advice(operator: &OperatorHandle, record: &AuditRecord) -> Option<String> {
    let check = Check::parse(&record.failed.as_ref()?.check);
    if check != Some(Check::Appraisal(AppraisalCheck::Measurement)) {
        return None;
    }
    let digest = [record.evidence.as_ref()?.measurement.as_str()];
    let dialects = dialects(operator, record).await;
    let speaks = |dialect| dialects.as_ref().is_some_and(|dialects| dialects.contains(dialect));
    let (with, command) = if speaks(Dialect::Libkrun) {
        ("the libkrunfw-sev of the host", operator.place.command("measure krun --explain", &digest))
    } else if speaks(Dialect::Trustee) {
        (
            "kata's configuration, and the kernel command line of a pod in the file cmdline",
            operator.place.command("measure kata --append-file cmdline --explain", &digest),
        )
    } else {
        (
            "the firmware that the guest should have been launched with, and with --kernel, --initrd and \
             --append if they are measured",
            operator.place.command("measure qemu --ovmf OVMF.fd --explain", &digest),
        )
    };
    Some(format!("To find out what differs in the launch, with {with}: `{command}`."))
}

/// The dialects of the workload's guests, if the store has it.
async fn dialects(operator: &OperatorHandle, record: &AuditRecord) -> Option<Dialects> {
    let workload = operator.store.workload(record.workload_id.as_ref()?).await.ok()??;
    Some(workload.read().ok()?.registration().dialects.clone())
}
