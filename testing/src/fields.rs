//! Reports at random.

use keybroker_simulator::{
    Product, Tcb,
    report::{ReportFields, SIGNED_BY_NONE, SIGNED_BY_VCEK, SIGNED_BY_VLEK},
};
use proptest::{
    array::{uniform16, uniform32},
    prelude::*,
};

fn bytes<const N: usize>() -> impl Strategy<Value = [u8; N]> {
    prop::collection::vec(any::<u8>(), N).prop_map(|bytes| bytes.try_into().unwrap())
}

pub fn tcb() -> impl Strategy<Value = Tcb> {
    any::<[u8; 5]>().prop_map(|[fmc, boot_loader, tee, snp, microcode]| Tcb {
        fmc,
        boot_loader,
        tee,
        snp,
        microcode,
    })
}

prop_compose! {
    /// Any report that has the form of one. Product and version are those of Milan, version 3: set what else
    /// is wanted.
    pub fn fields()(
        (guest_svn, policy, vmpl, platform_info) in any::<(u32, u64, u32, u64)>(),
        (author_key_en, mask_chip_key) in any::<(bool, bool)>(),
        signing_key in prop::sample::select(vec![SIGNED_BY_VCEK, SIGNED_BY_VLEK, SIGNED_BY_NONE]),
        (family_id, image_id) in (uniform16(any::<u8>()), uniform16(any::<u8>())),
        (host_data, report_id, report_id_ma)
            in (uniform32(any::<u8>()), uniform32(any::<u8>()), uniform32(any::<u8>())),
        (report_data, chip_id) in (bytes::<64>(), bytes::<64>()),
        (measurement, id_key_digest, author_key_digest) in (bytes::<48>(), bytes::<48>(), bytes::<48>()),
        (current_tcb, reported_tcb, committed_tcb, launch_tcb) in (tcb(), tcb(), tcb(), tcb()),
        (cpuid, current_firmware, committed_firmware) in any::<([u8; 3], [u8; 3], [u8; 3])>(),
        (launch_mit_vector, current_mit_vector) in any::<(u64, u64)>(),
    ) -> ReportFields {
        ReportFields {
            product: Product::Milan,
            version: 3,
            signature_algo: 1,
            guest_svn, policy, vmpl, platform_info, author_key_en, mask_chip_key, signing_key, family_id,
            image_id, host_data, report_id, report_id_ma, report_data, chip_id, measurement, id_key_digest,
            author_key_digest,
            current_tcb, reported_tcb, committed_tcb, launch_tcb, cpuid, current_firmware, committed_firmware,
            launch_mit_vector, current_mit_vector,
        }
    }
}
