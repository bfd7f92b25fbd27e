//! The launch measurements of others: of sev-snp-measure, which runs in one process of Python for a whole
//! table, and of the crate `sev`.

use std::{
    fs,
    io::Write as _,
    panic,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use data_encoding::HEXLOWER;
use keybroker_snp::measurement::{
    direct_boot::DirectBoot,
    ovmf::Ovmf,
    qemu::{Launch, Vmm, measure},
    vcpu::{GuestFeatures, VcpuModel},
};
use serde_json::{Value, json};
use sev::measurement::{
    snp::{SnpMeasurementArgs, snp_calc_launch_digest},
    vcpu_types::CpuType,
    vmsa::{GuestFeatures as SevFeatures, VMMType},
};

/// A launch, by its files.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) vmm: Vmm,
    pub(crate) ovmf: PathBuf,
    pub(crate) boot: Option<Boot>,
    pub(crate) vcpus: u32,
    /// The name of a model of QEMU.
    pub(crate) model: &'static str,
    pub(crate) features: u64,
}

/// The files of a kernel, and its command line.
#[derive(Debug, Clone)]
pub(crate) struct Boot {
    pub(crate) kernel: PathBuf,
    pub(crate) initrd: Option<PathBuf>,
    pub(crate) append: Option<String>,
}

/// The answer of an implementation to a launch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Says {
    Measured(String),
    Refused(String),
    /// It has no word for this VMM or model.
    Unknown,
}

impl Case {
    pub(crate) fn new(ovmf: PathBuf) -> Self {
        let model = "EPYC-v4";
        Self { vmm: Vmm::Qemu, ovmf, boot: None, vcpus: 1, model, features: 1 }
    }

    /// The answer of the code under test.
    pub(crate) fn ours(&self) -> Says {
        let image = fs::read(&self.ovmf).unwrap();
        let ovmf = match Ovmf::parse(&image) {
            Ok(ovmf) => ovmf,
            Err(error) => return Says::Refused(error.to_string()),
        };
        let files = self.boot.as_ref().map(|boot| {
            (fs::read(&boot.kernel).unwrap(), boot.initrd.as_ref().map(|initrd| fs::read(initrd).unwrap()))
        });
        let boot = self.boot.as_ref().zip(files.as_ref()).map(|(boot, (kernel, initrd))| {
            DirectBoot::new(kernel, initrd.as_deref(), boot.append.as_deref().unwrap_or_default())
        });
        let launch = Launch {
            vmm: self.vmm,
            ovmf: &ovmf,
            boot,
            vcpus: self.vcpus,
            signature: VcpuModel::parse(self.model).unwrap().signature,
            features: GuestFeatures(self.features),
        };
        match measure(&launch) {
            Ok(measurement) => Says::Measured(HEXLOWER.encode(&measurement)),
            Err(error) => Says::Refused(error.to_string()),
        }
    }

    /// The answer of the crate `sev`.
    pub(crate) fn sev(&self) -> Says {
        let vmm = match self.vmm {
            Vmm::Qemu => VMMType::QEMU,
            // It has one EC2 alone.
            Vmm::Ec2 | Vmm::Ec2ZeroRdx => VMMType::EC2,
            Vmm::QemuZeroFpu | Vmm::Gce => return Says::Unknown,
        };
        let Ok(model) = CpuType::try_from(self.model) else { return Says::Unknown };
        let arguments = SnpMeasurementArgs {
            vcpus: self.vcpus,
            vcpu_type: model,
            ovmf_file: self.ovmf.clone(),
            guest_features: SevFeatures(self.features),
            kernel_file: self.boot.as_ref().map(|boot| boot.kernel.clone()),
            initrd_file: self.boot.as_ref().and_then(|boot| boot.initrd.clone()),
            append: self.boot.as_ref().and_then(|boot| boot.append.as_deref()),
            ovmf_hash_str: None,
            vmm_type: Some(vmm),
        };
        match panic::catch_unwind(panic::AssertUnwindSafe(|| snp_calc_launch_digest(arguments))) {
            Ok(Ok(digest)) => Says::Measured(digest.get_hex_ld()),
            Ok(Err(error)) => Says::Refused(error.to_string()),
            Err(_) => Says::Refused("panics".to_owned()),
        }
    }

    /// The question to sev-snp-measure.
    pub(crate) fn row(&self) -> Value {
        let boot = self.boot.as_ref();
        json!({"launch": {
            "vmm": format!("{:?}", self.vmm),
            "ovmf": self.ovmf,
            "kernel": boot.map(|boot| &boot.kernel),
            "initrd": boot.and_then(|boot| boot.initrd.as_ref()),
            "append": boot.and_then(|boot| boot.append.as_ref()),
            "vcpus": self.vcpus,
            "model": self.model,
            "features": self.features,
        }})
    }
}

/// The answers of sev-snp-measure, one for each row.
pub(crate) fn sev_snp_measure(rows: &[Value]) -> Vec<Says> {
    let mut python = script("measure").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = python.stdin.take().unwrap();
    let lines: String = rows.iter().map(|row| format!("{row}\n")).collect();
    // It answers while it reads.
    let writer = std::thread::spawn(move || input.write_all(lines.as_bytes()));
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", output.status);
    writer.join().unwrap().unwrap();
    let answers: Vec<Says> = String::from_utf8(output.stdout).unwrap().lines().map(says).collect();
    assert_eq!(answers.len(), rows.len());
    answers
}

fn says(line: &str) -> Says {
    let answer: Value = serde_json::from_str(line).unwrap();
    let text = |member: &str| answer.get(member).map(|text| text.as_str().unwrap().to_owned());
    match (text("measured"), text("refused")) {
        (Some(measured), _) => Says::Measured(measured),
        (_, Some(refused)) => Says::Refused(refused),
        _ => Says::Unknown,
    }
}

/// The directory of Debian's images of OVMF, on a machine that can have them.
pub(crate) fn debian() -> Option<PathBuf> {
    let output = script("firmware").output().unwrap();
    assert!(output.status.success(), "{}", output.status);
    let directory = String::from_utf8(output.stdout).unwrap().trim_end().to_owned();
    (!directory.is_empty()).then(|| directory.into())
}

fn script(part: &str) -> Command {
    let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/measurement/run"));
    command.arg(part).stderr(Stdio::inherit());
    command
}
