//! The workload: `/.krun_config.json` on the opened disk, as buildah writes it.
//!
//! The file is the configuration of an OCI image: its member `config` says what runs. libkrun's own init
//! takes the same members wherever they stand, so they may also stand outermost.

use std::{collections::BTreeMap, fs};

use serde::Deserialize;

use crate::{failure::Failure, root::Root};

const FILE: &str = "/.krun_config.json";

/// The environment of every program, unless the image says otherwise.
const DEFAULTS: [(&str, &str); 3] = [
    ("HOME", "/root"),
    ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
    ("TERM", "linux"),
];

/// The program that is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Workload {
    pub(super) program: String,
    pub(super) arguments: Vec<String>,
    pub(super) environment: BTreeMap<String, String>,
    pub(super) directory: String,
}

/// An image's configuration. Members that are not for /init are passed over, as in libkrun's own.
#[derive(Debug, Default, Deserialize)]
struct Image {
    config: Option<Settings>,
    #[serde(flatten)]
    outermost: Settings,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Settings {
    env: Option<Vec<String>>,
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    working_dir: Option<String>,
}

/// Reads the workload from the disk that was opened.
pub(super) fn read(root: &Root) -> Result<Workload, Failure> {
    let path = root.path(FILE);
    let text = fs::read_to_string(path).map_err(|error| Failure::doing(FILE, error))?;
    workload(&text).map_err(|error| Failure::doing(FILE, error))
}

fn workload(text: &str) -> Result<Workload, String> {
    let image: Image = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let Settings { env, entrypoint, cmd, working_dir } = image.config.unwrap_or(image.outermost);
    let mut words = entrypoint.into_iter().chain(cmd).flatten();
    let program = words.next().ok_or("it names no program: neither Entrypoint nor Cmd")?;
    let mut environment: BTreeMap<_, _> =
        DEFAULTS.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let variables = env.unwrap_or_default();
    environment.extend(variables.iter().filter_map(|variable| {
        let (name, value) = variable.split_once('=')?;
        Some((name.to_owned(), value.to_owned()))
    }));
    let directory = working_dir.filter(|directory| !directory.is_empty()).unwrap_or_else(|| "/".to_owned());
    Ok(Workload { program, arguments: words.collect(), environment, directory })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As buildah writes it, shortened.
    const BUILDAH: &str = r#"{"created":"2026-11-29T00:00:00Z","architecture":"amd64","os":"linux","config":{
        "User":"1000","Env":["PATH=/opt/bin:/bin","GREETING=a=b","ODD"],"Entrypoint":["/entry","--fast"],
        "Cmd":["serve","8080"],"WorkingDir":"/srv","Labels":{"Cmd":"no"}},
        "rootfs":{"type":"layers","diff_ids":[]},"history":[{"created_by":"/bin/sh -c #(nop) CMD"}]}"#;

    #[test]
    fn buildahs_configuration_is_followed() {
        let workload = workload(BUILDAH).unwrap();
        assert_eq!(workload.program, "/entry");
        assert_eq!(workload.arguments, ["--fast", "serve", "8080"]);
        assert_eq!(workload.directory, "/srv");
        let environment: Vec<_> =
            workload.environment.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(environment, ["GREETING=a=b", "HOME=/root", "PATH=/opt/bin:/bin", "TERM=linux"]);
    }

    #[test]
    fn members_may_stand_outermost_and_either_may_be_missing() {
        let only = |text: &str| {
            let workload = workload(text).unwrap();
            (workload.program, workload.arguments, workload.directory)
        };
        let expected = ("sh".to_owned(), vec!["-c".to_owned()], "/".to_owned());
        assert_eq!(only(r#"{"Cmd":["sh","-c"]}"#), expected);
        assert_eq!(only(r#"{"config":{"Entrypoint":["sh","-c"],"Cmd":null,"WorkingDir":""}}"#), expected);
    }

    #[test]
    fn there_is_no_shell_where_the_image_names_no_program() {
        for text in ["{}", r#"{"config":{}}"#, r#"{"config":{"Cmd":[],"Entrypoint":null}}"#] {
            let error = workload(text).unwrap_err();
            assert_eq!(error, "it names no program: neither Entrypoint nor Cmd", "{text}");
        }
        assert!(workload("").is_err());
        assert!(workload(r#"{"config":{"Cmd":"sh"}}"#).is_err());
        assert!(
            workload(r#"{"config":{"Cmd":["a"],"Cmd":["b"]}}"#).unwrap_err().starts_with("duplicate field")
        );
    }
}
