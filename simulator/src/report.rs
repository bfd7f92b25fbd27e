//! Attestation reports, as a secure processor makes them (SEV-SNP firmware ABI 1.58, 7.3,
//! ATTESTATION_REPORT).

use crate::{
    pki::{Chip, VekKey},
    product::{Product, Tcb},
};

/// Size of a report in bytes.
pub const REPORT_LEN: usize = 0x4A0;
/// How many of its bytes, from the first, are signed.
pub const SIGNED_LEN: usize = 0x2A0;

/// SIGNING_KEY: a VCEK signed.
pub const SIGNED_BY_VCEK: u32 = 0;
/// SIGNING_KEY: a VLEK signed.
pub const SIGNED_BY_VLEK: u32 = 1;
/// SIGNING_KEY: no key signed.
pub const SIGNED_BY_NONE: u32 = 7;

/// The fields of a report, under AMD's names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportFields {
    /// The layout of the TCB versions: no field of the report itself.
    pub product: Product,
    /// VERSION, 2 to 5.
    pub version: u32,
    /// GUEST_SVN.
    pub guest_svn: u32,
    /// POLICY. 0x30000, as libkrun launches: SMT and the bit that is always one.
    pub policy: u64,
    /// FAMILY_ID.
    pub family_id: [u8; 16],
    /// IMAGE_ID.
    pub image_id: [u8; 16],
    /// VMPL.
    pub vmpl: u32,
    /// SIGNATURE_ALGO: 1 is ECDSA P-384 with SHA-384.
    pub signature_algo: u32,
    /// CURRENT_TCB.
    pub current_tcb: Tcb,
    /// PLATFORM_INFO: bit 0 SMT_EN, bit 1 TSME_EN, bit 2 ECC_EN and so on.
    pub platform_info: u64,
    /// AUTHOR_KEY_EN.
    pub author_key_en: bool,
    /// MASK_CHIP_KEY.
    pub mask_chip_key: bool,
    /// SIGNING_KEY, three bits: see [`SIGNED_BY_VCEK`] and its like.
    pub signing_key: u32,
    /// REPORT_DATA.
    pub report_data: [u8; 64],
    /// MEASUREMENT.
    pub measurement: [u8; 48],
    /// HOST_DATA.
    pub host_data: [u8; 32],
    /// ID_KEY_DIGEST.
    pub id_key_digest: [u8; 48],
    /// AUTHOR_KEY_DIGEST.
    pub author_key_digest: [u8; 48],
    /// REPORT_ID.
    pub report_id: [u8; 32],
    /// REPORT_ID_MA: all ones without a migration agent.
    pub report_id_ma: [u8; 32],
    /// REPORTED_TCB: what the signing key was derived for.
    pub reported_tcb: Tcb,
    /// CPUID_FAM_ID, CPUID_MOD_ID and CPUID_STEP. Version 2 has no such field and zeros in its place.
    pub cpuid: [u8; 3],
    /// CHIP_ID: zero where the host masks it, and with a VLEK.
    pub chip_id: [u8; 64],
    /// COMMITTED_TCB.
    pub committed_tcb: Tcb,
    /// CURRENT_BUILD, CURRENT_MINOR and CURRENT_MAJOR.
    pub current_firmware: [u8; 3],
    /// COMMITTED_BUILD, COMMITTED_MINOR and COMMITTED_MAJOR.
    pub committed_firmware: [u8; 3],
    /// LAUNCH_TCB.
    pub launch_tcb: Tcb,
    /// LAUNCH_MIT_VECTOR: version 5, zeros before.
    pub launch_mit_vector: u64,
    /// CURRENT_MIT_VECTOR: version 5, zeros before.
    pub current_mit_vector: u64,
}

impl ReportFields {
    /// A guest as libkrun launches it on `chip`: the VCEK signs, every TCB is the chip's own, the version is
    /// what the product's firmware writes today (5 on Turin, else 3).
    pub fn new(chip: &Chip) -> Self {
        let product = chip.product();
        let tcb = chip.tcb;
        Self {
            product,
            version: if product == Product::Turin { 5 } else { 3 },
            guest_svn: 0,
            policy: 0x3_0000,
            family_id: [0; 16],
            image_id: [0; 16],
            vmpl: 0,
            signature_algo: 1,
            current_tcb: tcb,
            platform_info: 1,
            author_key_en: false,
            mask_chip_key: false,
            signing_key: SIGNED_BY_VCEK,
            report_data: [0; 64],
            measurement: [0x4D; 48],
            host_data: [0; 32],
            id_key_digest: [0; 48],
            author_key_digest: [0; 48],
            report_id: [0x1D; 32],
            report_id_ma: [0xFF; 32],
            reported_tcb: tcb,
            cpuid: product.cpuid(),
            chip_id: chip.chip_id(),
            committed_tcb: tcb,
            current_firmware: [29, 55, 1],
            committed_firmware: [29, 55, 1],
            launch_tcb: tcb,
            launch_mit_vector: 0x3F,
            current_mit_vector: 0x3F,
        }
    }

    /// The bytes that are signed.
    pub fn encode(&self) -> [u8; SIGNED_LEN] {
        let tcb = |tcb: Tcb| tcb.encode(self.product);
        let key_info =
            u32::from(self.author_key_en) | u32::from(self.mask_chip_key) << 1 | (self.signing_key & 7) << 2;
        let mut report = [0; SIGNED_LEN];
        put::<0x000, 4>(&mut report, self.version.to_le_bytes());
        put::<0x004, 4>(&mut report, self.guest_svn.to_le_bytes());
        put::<0x008, 8>(&mut report, self.policy.to_le_bytes());
        put::<0x010, 16>(&mut report, self.family_id);
        put::<0x020, 16>(&mut report, self.image_id);
        put::<0x030, 4>(&mut report, self.vmpl.to_le_bytes());
        put::<0x034, 4>(&mut report, self.signature_algo.to_le_bytes());
        put::<0x038, 8>(&mut report, tcb(self.current_tcb));
        put::<0x040, 8>(&mut report, self.platform_info.to_le_bytes());
        put::<0x048, 4>(&mut report, key_info.to_le_bytes());
        put::<0x050, 64>(&mut report, self.report_data);
        put::<0x090, 48>(&mut report, self.measurement);
        put::<0x0C0, 32>(&mut report, self.host_data);
        put::<0x0E0, 48>(&mut report, self.id_key_digest);
        put::<0x110, 48>(&mut report, self.author_key_digest);
        put::<0x140, 32>(&mut report, self.report_id);
        put::<0x160, 32>(&mut report, self.report_id_ma);
        put::<0x180, 8>(&mut report, tcb(self.reported_tcb));
        if self.version >= 3 {
            put::<0x188, 3>(&mut report, self.cpuid);
        }
        put::<0x1A0, 64>(&mut report, self.chip_id);
        put::<0x1E0, 8>(&mut report, tcb(self.committed_tcb));
        put::<0x1E8, 3>(&mut report, self.current_firmware);
        put::<0x1EC, 3>(&mut report, self.committed_firmware);
        put::<0x1F0, 8>(&mut report, tcb(self.launch_tcb));
        if self.version >= 5 {
            put::<0x1F8, 8>(&mut report, self.launch_mit_vector.to_le_bytes());
            put::<0x200, 8>(&mut report, self.current_mit_vector.to_le_bytes());
        }
        report
    }

    /// The report, signed.
    pub fn sign(&self, key: &VekKey) -> [u8; REPORT_LEN] {
        sign(&self.encode(), key)
    }
}

/// Signs any bytes as the secure processor does: R and S are little-endian numbers in fields of 72 bytes.
pub fn sign(signed: &[u8; SIGNED_LEN], key: &VekKey) -> [u8; REPORT_LEN] {
    let (r, s) = key.sign(signed);
    let field = |big_endian: Vec<u8>| big_endian.into_iter().rev().chain(std::iter::repeat(0)).take(72);
    let mut report = [0; REPORT_LEN];
    let bytes = signed.iter().copied().chain(field(r)).chain(field(s));
    report.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
    report
}

/// Writes a field. The compiler checks that the field lies within the report.
fn put<const AT: usize, const LEN: usize>(report: &mut [u8; SIGNED_LEN], bytes: [u8; LEN]) {
    const { assert!(AT + LEN <= SIGNED_LEN) };
    report.iter_mut().skip(AT).zip(bytes).for_each(|(to, from)| *to = from);
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED, UnparsedPublicKey};

    use super::*;

    #[test]
    fn a_signed_report_verifies_and_an_altered_one_does_not() {
        let chip = Chip::new(Product::Milan, 1);
        let key = chip.vcek_key(chip.tcb);
        let report = ReportFields::new(&chip).sign(&key);
        let mut signature: Vec<u8> = report[0x2A0..0x2A0 + 48].iter().rev().copied().collect();
        signature.extend(report[0x2E8..0x2E8 + 48].iter().rev());

        let public = UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, key.public_key());
        public.verify(&report[..0x2A0], &signature).expect("the signature holds");
        let mut altered = report;
        altered[0x90] ^= 1;
        assert!(public.verify(&altered[..0x2A0], &signature).is_err());
        assert!(report[0x2A0 + 48..0x2E8].iter().chain(&report[0x2E8 + 48..]).all(|byte| *byte == 0));
    }

    /// Changing one field changes exactly the bytes that the ABI gives it.
    #[test]
    fn each_field_has_its_place() {
        let usual = ReportFields { version: 5, ..ReportFields::new(&Chip::new(Product::Milan, 1)) };
        let tcb = Tcb { fmc: 0, boot_loader: 99, tee: 98, snp: 97, microcode: 96 };
        type Change = fn(&mut ReportFields, Tcb);
        let rows: &[(usize, usize, Change)] = &[
            (0x000, 1, |f, _| f.version = 4),
            (0x004, 4, |f, _| f.guest_svn = !0),
            (0x008, 8, |f, _| f.policy = !f.policy),
            (0x010, 16, |f, _| f.family_id = [1; 16]),
            (0x020, 16, |f, _| f.image_id = [1; 16]),
            (0x030, 4, |f, _| f.vmpl = !0),
            (0x034, 4, |f, _| f.signature_algo = !f.signature_algo),
            (0x038, 8, |f, tcb| f.current_tcb = tcb),
            (0x040, 8, |f, _| f.platform_info = !f.platform_info),
            (0x048, 1, |f, _| f.author_key_en = true),
            (0x050, 64, |f, _| f.report_data = [1; 64]),
            (0x090, 48, |f, _| f.measurement = [1; 48]),
            (0x0C0, 32, |f, _| f.host_data = [1; 32]),
            (0x0E0, 48, |f, _| f.id_key_digest = [1; 48]),
            (0x110, 48, |f, _| f.author_key_digest = [1; 48]),
            (0x140, 32, |f, _| f.report_id = [1; 32]),
            (0x160, 32, |f, _| f.report_id_ma = [1; 32]),
            (0x180, 8, |f, tcb| f.reported_tcb = tcb),
            (0x188, 3, |f, _| f.cpuid = [0xFF; 3]),
            (0x1A0, 64, |f, _| f.chip_id = f.chip_id.map(|byte| !byte)),
            (0x1E0, 8, |f, tcb| f.committed_tcb = tcb),
            (0x1E8, 3, |f, _| f.current_firmware = [0xFF; 3]),
            (0x1EC, 3, |f, _| f.committed_firmware = [0xFF; 3]),
            (0x1F0, 8, |f, tcb| f.launch_tcb = tcb),
            (0x1F8, 8, |f, _| f.launch_mit_vector = !f.launch_mit_vector),
            (0x200, 8, |f, _| f.current_mit_vector = !f.current_mit_vector),
        ];
        let before = usual.encode();
        for (at, length, change) in rows {
            let mut fields = usual.clone();
            change(&mut fields, tcb);
            let after = fields.encode();
            let differ: Vec<usize> = (0..SIGNED_LEN).filter(|i| before[*i] != after[*i]).collect();
            // The four reserved bytes in the middle of Milan's TCB are zero in both, and version 4 has no
            // mitigation vectors, so the first and last byte show the place.
            let last = if *at == 0 { 0x200 } else { at + length - 1 };
            assert_eq!((differ.first(), differ.last()), (Some(at), Some(&last)), "{at:#x}");
        }
    }

    #[test]
    fn another_tcb_has_another_key() {
        let chip = Chip::new(Product::Milan, 1);
        let key = chip.vcek_key(chip.tcb).public_key();
        assert_eq!(chip.vcek_key(chip.tcb).public_key(), key);
        assert_ne!(chip.vcek_key(Tcb { microcode: 1, ..chip.tcb }).public_key(), key);
        assert_ne!(Chip::new(Product::Milan, 2).vcek_key(chip.tcb).public_key(), key);
    }

    #[test]
    fn version_2_says_nothing_of_the_cpu() {
        let chip = Chip::new(Product::Genoa, 1);
        let fields = ReportFields::new(&chip);
        assert_eq!(fields.encode()[0x188..0x18B], [0x19, 0x11, 1]);
        assert_eq!(ReportFields { version: 2, ..fields }.encode()[0x188..0x1A0], [0; 24]);
    }

    #[test]
    fn turin_has_its_own_layouts() {
        let chip = Chip::new(Product::Turin, 1);
        let report = ReportFields::new(&chip).encode();
        assert_eq!(report[0x180..0x188], [1, 1, 1, 4, 0, 0, 0, 81]);
        assert_eq!(report[0x1A8..0x1E0], [0; 56]);
        assert_eq!(report[0x1F8], 0x3F);
        assert_eq!(chip.hwid().len(), 8);
    }

    #[test]
    fn the_key_information_is_packed() {
        let fields = ReportFields::new(&Chip::new(Product::Milan, 1));
        let word = |fields: &ReportFields| fields.encode()[0x48];
        assert_eq!(word(&fields), 0);
        assert_eq!(word(&ReportFields { author_key_en: true, ..fields.clone() }), 1);
        assert_eq!(word(&ReportFields { mask_chip_key: true, ..fields.clone() }), 2);
        assert_eq!(word(&ReportFields { signing_key: SIGNED_BY_VLEK, ..fields.clone() }), 4);
        assert_eq!(word(&ReportFields { signing_key: SIGNED_BY_NONE, ..fields }), 28);
    }
}
