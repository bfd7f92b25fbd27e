//! `keybroker measure kata`: QEMU's guest, as kata's configuration has it.

use std::{
    fs,
    num::NonZeroU32,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow};
use keybroker_snp::measurement::{
    qemu::{MOST_VCPUS, Vmm},
    vcpu::GuestFeatures,
};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    boot::{Boot, BootArgs},
    explain::ExplainArgs,
    guests::Guests,
    input::{Input, unusable},
    output::OutputArgs,
    vcpus::{VcpuType, features, vcpus},
};
use crate::{
    bounded,
    exit::{Exit, Failure},
};

/// Compute the launch measurement of kata's guests
///
/// Firmware, kernel, initrd and the number of vCPUs are those of kata's configuration, and the vCPUs are of
/// the type that kata gives to guests of SEV-SNP. A flag takes the place of what the configuration has.
///
/// The kernel's command line is not in the configuration: kata puts it together when it starts a pod, and
/// writes the node's number of processors into it (nr_cpus). So --append or --append-file must give it. A pod
/// with a CPU limit has more vCPUs than the configuration says: give --vcpus with all numbers that pods have.
#[derive(Debug, clap::Args)]
#[command(after_help = Exit::TABLE, after_long_help = format!("\
Examples:
  On a node that runs a pod, the command line is behind -append:
      tr '\\0' '\\n' </proc/$(pgrep -of qemu-system)/cmdline |
          grep -A1 -e '^-append$' | tail -1 >cmdline
      keybroker measure kata --append-file cmdline
  Pods of one to four vCPUs, registered without copying a digest:
      keybroker measure kata --append-file cmdline --vcpus 1,2,3,4 --json \\
          | keybroker register --measurements - --workload-id web --dialect trustee \\
              --init-data initdata.toml --resource default/key/tls=tls.pem --yes
  A guest that was refused, by the measurement in its report:
      keybroker measure kata --append-file cmdline --explain report.bin

{}", Exit::TABLE))]
pub(super) struct KataArgs {
    /// kata's configuration. The default is where kata's releases install it for QEMU with SEV-SNP
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The firmware, if it is not the configuration's
    #[arg(long, value_name = "FILE")]
    ovmf: Option<PathBuf>,
    /// The number of vCPUs, or several with commas, if it is not the configuration's default
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = vcpus)]
    vcpus: Vec<NonZeroU32>,
    /// The type of the vCPUs
    #[arg(long, value_name = "TYPE", value_delimiter = ',', value_parser = VcpuType::parse)]
    #[arg(default_value = "EPYC-v4")]
    vcpu_type: Vec<VcpuType>,
    /// The features that the host sets in SEV_FEATURES; some hosts set 0x21
    #[arg(long, value_name = "BITS", value_delimiter = ',', value_parser = features, default_value = "0x1")]
    guest_features: Vec<GuestFeatures>,
    #[command(flatten)]
    boot: BootArgs,
    #[command(flatten)]
    explain: ExplainArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// Where kata's releases and distributions have the configuration.
const PLACES: [&str; 4] = [
    "/etc/kata-containers/configuration-qemu-snp.toml",
    "/opt/kata/share/defaults/kata-containers/configuration-qemu-snp.toml",
    "/opt/kata/share/defaults/kata-containers/runtimes/qemu-snp/configuration-qemu-snp.toml",
    "/usr/share/defaults/kata-containers/configuration-qemu-snp.toml",
];

/// The part of kata's configuration that a launch depends on.
#[derive(Debug, Default, PartialEq, Eq)]
struct Configuration {
    firmware: Option<PathBuf>,
    kernel: Option<PathBuf>,
    initrd: Option<PathBuf>,
    /// The number of vCPUs of a pod without a limit, as it is written.
    default_vcpus: Option<String>,
}

pub(super) fn run(args: &KataArgs) -> Result<Exit, Failure> {
    let line = args.boot.command_line()?.ok_or_else(no_command_line)?;
    let configuration = args.configuration()?;
    let from = |given: &Option<PathBuf>, configured, name: &str, flag: &str| {
        given.clone().or(configured).ok_or_else(|| {
            Failure::new(Exit::Usage, anyhow!("kata's configuration names no {name}: give {flag}"))
        })
    };
    let ovmf = from(&args.ovmf, configuration.firmware, "firmware", "--ovmf")?;
    let kernel = from(&args.boot.kernel, configuration.kernel, "kernel", "--kernel")?;
    let initrd = args.boot.initrd.clone().or(configuration.initrd);
    let vcpus = match args.vcpus.as_slice() {
        [] => vec![default_vcpus(configuration.default_vcpus.as_deref())?],
        given => given.to_vec(),
    };
    let guests = Guests {
        vmms: vec![Vmm::Qemu],
        ovmf: Input::read(&ovmf)?,
        boot: Some(Boot::read(&kernel, initrd.as_deref(), line)?),
        vcpus,
        vcpu_types: args.vcpu_type.clone(),
        features: args.guest_features.clone(),
    };
    guests.tell(&args.explain, &args.output)
}

impl KataArgs {
    /// kata's configuration. Without one, flags must name everything.
    fn configuration(&self) -> Result<Configuration, Failure> {
        let path = match &self.config {
            Some(path) => path,
            None => match PLACES.iter().map(Path::new).find(|path| fs::exists(path).unwrap_or_default()) {
                Some(path) => path,
                None if self.ovmf.is_some() && self.boot.kernel.is_some() => {
                    return Ok(Configuration::default());
                }
                None => {
                    let error = anyhow!("this machine has no configuration of kata for QEMU with SEV-SNP");
                    return Err(Failure::new(Exit::Usage, error).hint(
                        "run the command on a node, or give --config FILE, or all of --ovmf, --kernel, \
                         --initrd and --vcpus",
                    ));
                }
            },
        };
        let text = bounded::text(path).map_err(|error| unusable(path, error))?;
        Configuration::parse(&text).map_err(|error| unusable(path, error))
    }
}

impl Configuration {
    fn parse(text: &str) -> anyhow::Result<Self> {
        let document = DeTable::parse(text).map_err(|error| anyhow!("it is no TOML: {}", error.message()))?;
        let hypervisors = document.get_ref().get("hypervisor").and_then(|value| value.get_ref().as_table());
        let qemu = hypervisors.and_then(|all| all.get("qemu")).and_then(|value| value.get_ref().as_table());
        let qemu = qemu.context("it has no section [hypervisor.qemu]: only QEMU's guests are measured so")?;
        let value = |name: &str| qemu.get(name).map(Spanned::get_ref);
        if value("sev_snp_guest").and_then(DeValue::as_bool) != Some(true) {
            return Err(anyhow!("it does not say sev_snp_guest = true: its guests are no guests of SEV-SNP"));
        }
        // An empty path is none.
        let path =
            |name| value(name).and_then(DeValue::as_str).filter(|path| !path.is_empty()).map(PathBuf::from);
        let default_vcpus = value("default_vcpus").map(|value| match value {
            DeValue::Integer(number) => number.as_str().to_owned(),
            DeValue::Float(number) => number.as_str().to_owned(),
            _ => String::new(),
        });
        Ok(Self { firmware: path("firmware"), kernel: path("kernel"), initrd: path("initrd"), default_vcpus })
    }
}

/// The number of vCPUs of a pod without a limit. kata gives it 1 where the configuration says nothing, and
/// rounds up.
fn default_vcpus(configured: Option<&str>) -> Result<NonZeroU32, Failure> {
    let number = match configured.unwrap_or("0").parse::<f64>() {
        Ok(0.0) => NonZeroU32::new(1),
        Ok(number) if number > 0.0 && number <= f64::from(MOST_VCPUS) => {
            NonZeroU32::new(number.ceil() as u32)
        }
        _ => None,
    };
    number.ok_or_else(|| {
        let error = anyhow!("kata's configuration leaves the number of vCPUs to the node");
        Failure::new(Exit::Usage, error).hint("say how many they are: --vcpus N")
    })
}

fn no_command_line() -> Failure {
    Failure::new(Exit::Usage, anyhow!("the kernel's command line is not in kata's configuration")).hint(
        "kata puts it together when it starts a pod. Copy it from a node, where the QEMU of a pod has it \
             behind -append (`tr '\\0' '\\n' < /proc/PID/cmdline`), into a file, and give --append-file FILE",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_section_of_qemu_with_snp_is_read() {
        let read = Configuration::parse(
            "[hypervisor.qemu]\nkernel = \"/k\"\nimage = \"/i\"\ninitrd = \"\"\nfirmware = \"/f\"\n\
             sev_snp_guest = true\ndefault_vcpus = 2\nkernel_params = \"x\"\n[agent.kata]\n",
        )
        .unwrap();
        let expected = Configuration {
            firmware: Some("/f".into()),
            kernel: Some("/k".into()),
            initrd: None,
            default_vcpus: Some("2".to_owned()),
        };
        assert_eq!(read, expected);
        for (text, said) in [
            ("", "no section [hypervisor.qemu]"),
            ("[hypervisor.clh]\nsev_snp_guest = true", "no section [hypervisor.qemu]"),
            ("[hypervisor.qemu]\n", "does not say sev_snp_guest"),
            ("[hypervisor.qemu]\nsev_snp_guest = false", "does not say sev_snp_guest"),
            ("= ", "it is no TOML"),
        ] {
            let error = Configuration::parse(text).unwrap_err();
            assert!(format!("{error:#}").contains(said), "{text}: {error:#}");
        }
    }

    #[test]
    fn vcpus_are_those_of_a_pod_without_a_limit() {
        let of = |text| default_vcpus(text).ok().map(NonZeroU32::get);
        let known = [None, Some("0"), Some("1"), Some("2.5"), Some("8")];
        assert_eq!(known.map(of), [1, 1, 1, 3, 8].map(Some));
        assert_eq!([Some("-1"), Some(""), Some("nan"), Some("1e9")].map(of), [None; 4]);
    }
}
