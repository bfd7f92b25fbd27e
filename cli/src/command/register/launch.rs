//! The launch of a guest with its document: arguments of QEMU, and the XML of libvirt.

use std::{fmt, path::Path};

use anyhow::Context as _;
use data_encoding::BASE64;
use keybroker_common::requirements::AppraisalPolicy;
use keybroker_initdata::Binding;
use serde::Serialize;

use super::init_data::InitData;
use crate::exit::Failure;

/// The name under which a guest finds its document in QEMU's fw_cfg.
const FW_CFG: &str = "opt/keybroker/initdata";

/// Both forms.
#[derive(Debug, Serialize)]
pub(super) struct Launch {
    /// Arguments of QEMU.
    qemu: Vec<String>,
    /// The elements of a domain of libvirt that are for this guest.
    libvirt: String,
}

impl Launch {
    /// The launch of a guest that has this document and meets this policy; `None` for a document that another
    /// program launches its guests with.
    pub(super) fn new(init_data: &InitData, policy: &AppraisalPolicy) -> Result<Option<Self>, Failure> {
        let Some(document) = init_data.ours() else { return Ok(None) };
        let file = std::path::absolute(&init_data.file).context("the path of the document")?;
        let binding = document.keybroker().binding;
        let host_data = match binding {
            Binding::HostData => Some(document.digest().host_data()),
            Binding::Measured | Binding::Nothing => policy.host_data.map(|chosen| chosen.0),
        };
        let host_data = host_data.map(|bytes| BASE64.encode(&bytes));
        let policy = guest_policy(policy);
        // A document that is measured lies in the initrd.
        let file = (binding != Binding::Measured).then_some(file);
        Ok(Some(Self {
            qemu: qemu(policy, host_data.as_deref(), file.as_deref()),
            libvirt: libvirt(policy, host_data.as_deref(), file.as_deref()),
        }))
    }
}

/// A guest policy that meets the requirements, and else permits what a guest usually has: SMT, and neither
/// DEBUG nor migration.
fn guest_policy(policy: &AppraisalPolicy) -> u64 {
    const SMT: u64 = 1 << 16;
    const RESERVED_ONE: u64 = 1 << 17;
    const SINGLE_SOCKET: u64 = 1 << 20;
    const CIPHERTEXT_HIDING: u64 = 1 << 24;
    let when = |set: bool, bit: u64| if set { bit } else { 0 };
    RESERVED_ONE
        | when(!policy.forbid_smt, SMT)
        | when(policy.require_single_socket, SINGLE_SOCKET)
        | when(policy.require_ciphertext_hiding, CIPHERTEXT_HIDING)
}

fn qemu(policy: u64, host_data: Option<&str>, file: Option<&Path>) -> Vec<String> {
    let host_data = host_data.map(|base64| format!(",host-data={base64}")).unwrap_or_default();
    let guest = format!("policy={policy:#x},kernel-hashes=on{host_data}");
    let mut arguments = vec![
        "-machine".to_owned(),
        "q35,confidential-guest-support=sev0".to_owned(),
        "-object".to_owned(),
        format!("sev-snp-guest,id=sev0,cbitpos=51,reduced-phys-bits=1,{guest}"),
    ];
    if let Some(file) = file {
        // A comma in a value is doubled.
        let file = file.display().to_string().replace(',', ",,");
        arguments.extend(["-fw_cfg".to_owned(), format!("name={FW_CFG},file={file}")]);
    }
    arguments
}

fn libvirt(policy: u64, host_data: Option<&str>, file: Option<&Path>) -> String {
    let mut lines = vec![
        "<launchSecurity type='sev-snp' kernelHashes='yes'>".to_owned(),
        format!("  <policy>{policy:#010x}</policy>"),
    ];
    lines.extend(host_data.map(|base64| format!("  <hostData>{base64}</hostData>")));
    lines.push("</launchSecurity>".to_owned());
    if let Some(file) = file {
        let file = escaped(&file.display().to_string());
        lines.push("<sysinfo type='fwcfg'>".to_owned());
        lines.push(format!("  <entry name='{FW_CFG}' file='{file}'/>"));
        lines.push("</sysinfo>".to_owned());
    }
    lines.join("\n")
}

/// A text in an attribute of XML.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('\'', "&apos;")
}

/// An argument as a shell takes it.
fn quoted(argument: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_=,./:+@%".contains(&b);
    match argument.bytes().all(plain) {
        true => argument.to_owned(),
        false => format!("'{}'", argument.replace('\'', r"'\''")),
    }
}

impl fmt::Display for Launch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options: Vec<String> = self
            .qemu
            .chunks(2)
            .map(|words| words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" "))
            .collect();
        write!(f, "QEMU:\n  {}\n\nlibvirt:\n  ", options.join(" \\\n  "))?;
        f.write_str(&self.libvirt.replace('\n', "\n  "))
    }
}

#[cfg(test)]
mod tests {
    use keybroker_snp::report::GuestPolicy;

    use super::*;

    #[test]
    fn the_policy_meets_the_requirements() {
        let policy = AppraisalPolicy::default();
        assert_eq!(guest_policy(&policy), 0x30000);
        let strict = AppraisalPolicy {
            forbid_smt: true,
            require_single_socket: true,
            require_ciphertext_hiding: true,
            ..policy
        };
        assert_eq!(guest_policy(&strict), 0x112_0000);
        let read = GuestPolicy::new(guest_policy(&strict));
        assert!(read.single_socket() && read.ciphertext_hiding() && read.reserved_one());
        assert!(!read.smt_allowed() && !read.unknown_bits());
    }

    #[test]
    fn a_path_is_quoted_for_each_reader() {
        let path = Path::new("/srv/a,b & <c>'s");
        let arguments = qemu(0x30000, None, Some(path));
        assert_eq!(arguments.last().unwrap(), "name=opt/keybroker/initdata,file=/srv/a,,b & <c>'s");
        assert_eq!(quoted("/srv/a b's"), r"'/srv/a b'\''s'");
        assert!(libvirt(0x30000, None, Some(path)).contains("file='/srv/a,b &amp; &lt;c>&apos;s'"));
    }
}
