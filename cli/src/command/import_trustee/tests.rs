use std::{
    fs,
    os::unix::{fs::symlink, net::UnixListener},
    path::Path,
};

use jiff::Timestamp;
use tempfile::TempDir;

use super::{
    directory::{self, Found},
    report::Kind,
};
use crate::distinct::Distinct;

/// A directory with these files below it.
fn directory(files: &[(&str, &[u8])]) -> TempDir {
    let directory = TempDir::new().unwrap();
    for (path, contents) in files {
        let path = directory.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, contents).unwrap();
    }
    directory
}

fn read(path: &Path, only: &[&str]) -> Found {
    let only: Vec<_> = only.iter().map(|one| (*one).to_owned()).collect();
    directory::read(path, &only, Timestamp::now()).unwrap_or_else(|failure| panic!("{:?}", failure.told()))
}

fn names(found: &Found) -> Vec<&str> {
    found.resources.iter().map(|(name, _)| name.as_str()).collect()
}

/// The note about what was left out under this name.
fn left<'a>(found: &'a Found, name: &str) -> &'a str {
    let item = found.items.iter().find(|item| item.name == name && item.becomes.is_none());
    item.map_or_else(|| panic!("{name}: {:?}", found.items), |item| &item.note)
}

#[test]
fn resources_are_found_in_each_layout() {
    for (root, named) in [
        ("kbs/repository", ""),
        ("repository", ""),
        ("", ""),
        ("repository", "repository"),
        ("a/b/repository", "a/b"),
    ] {
        let path = |name: &str| Path::new(root).join(name).to_str().unwrap().to_owned();
        let (one, two) = (path("default/key/tls"), path("my-repo/sealed_1/v1.0"));
        let directory = directory(&[(&one, b"text"), (&two, b"\xff\x00")]);
        let found = read(&directory.path().join(named), &[]);
        assert_eq!(names(&found), ["default/key/tls", "my-repo/sealed_1/v1.0"], "{root} {named}");
        assert_eq!(found.resources[1].1.as_slice(), b"\xff\x00");
    }
}

/// Trustee's key-value storage has all resources side by side, and a file for each reference value.
#[test]
fn the_key_value_storage_is_read() {
    let measurement = "4d".repeat(48);
    let value = |name: &str| {
        format!(
            r#"{{"version":"0.1.0","name":"{name}","expiration":"2999-01-01T00:00:00Z","value":["{measurement}"]}}"#
        )
    };
    let (known, unknown) = (value("snp_launch_measurement"), value("pcr4"));
    let below = [
        (r"repository/default\x2Fkey\x2Ftls", b"s".as_slice()),
        (r"repository/default\x2Fkey", b"s"),
        (r"repository/default\x2F..\x2Ftls", b"s"),
        ("repository/alone", b"s"),
        ("reference_value/snp_launch_measurement", known.as_bytes()),
        ("reference_value/pcr4", unknown.as_bytes()),
        ("reference_value/broken", b"{}"),
        ("kbs/resource-policy", b"s"),
    ];
    for (root, named) in
        [("storage/local_fs/", ""), ("storage/local_fs/", "storage/local_fs"), ("local_fs/", "")]
    {
        let files = below.map(|(path, contents)| (format!("{root}{path}"), contents));
        let directory = directory(&files.each_ref().map(|(path, contents)| (path.as_str(), *contents)));
        let found = read(&directory.path().join(named), &[]);
        assert_eq!(names(&found), ["default/key/tls"], "{root} {named}");
        assert_eq!(found.measurements.list().len(), 1);
        assert!(left(&found, "default/key").contains("outside the rule"));
        assert!(left(&found, "default/../tls").contains("outside the rule"));
        assert!(left(&found, "pcr4").contains("no requirement of a registration"));
        let broken = found.items.iter().find(|item| item.name.ends_with("reference_value/broken")).unwrap();
        assert!(broken.note.contains("not recognised"), "{broken:?}");
    }
}

/// A file of either layout can have the same name: one of them counts, and the other is told.
#[test]
fn no_name_is_taken_twice() {
    let directory = directory(&[
        ("repository/default/key/tls", b"first"),
        (r"repository/default\x2Fkey\x2Ftls", b"second"),
    ]);
    let found = read(directory.path(), &[]);
    assert_eq!(names(&found), ["default/key/tls"]);
    assert_eq!(found.resources[0].1.as_slice(), b"first");
    assert!(left(&found, "default/key/tls").contains("another file has the same name"));
}

#[test]
fn what_no_registration_can_have_is_left_with_the_reason() {
    let (longest, long) = (vec![b'x'; 4000], vec![b'x'; 4001]);
    let name = format!("repository/{}/key/tag", "n".repeat(65));
    let directory = directory(&[
        ("repository/default/key/longest", &longest),
        ("repository/default/key/long", &long),
        ("repository/default/key/empty", b""),
        ("repository/default/key/a b", b"s"),
        ("repository/default/.hidden/tag", b"s"),
        (&name, b"s"),
        ("repository/default/shallow", b"s"),
        ("repository/default/key/tag/deep", b"s"),
        ("repository/policy.rego", b"s"),
        ("policy.rego", b"package policy\nallow := true\n"),
        ("opa/default.rego", b"package policy\n"),
        ("config.toml", b"[x]\n"),
    ]);
    let found = read(directory.path(), &[]);
    assert_eq!(names(&found), ["default/key/longest"]);
    for (name, said) in [
        ("default/key/long", "longer than 4000 bytes"),
        ("default/key/empty", "it is empty"),
        ("default/key/a b", "outside the rule"),
        ("default/.hidden/tag", "outside the rule"),
        (&name["repository/".len()..], "outside the rule"),
        ("repository/default/shallow", "not recognised"),
        ("repository/default/key/tag/deep", "not recognised"),
        ("repository/policy.rego", "not recognised"),
        ("policy.rego", "no equivalent: it is one policy for all resources"),
        ("opa/default.rego", "no equivalent: it appraises evidence"),
        ("config.toml", "not recognised"),
    ] {
        assert!(left(&found, name).contains(said), "{name}: {}", left(&found, name));
    }
    assert_eq!(found.items.iter().filter(|item| item.kind == Kind::Policy).count(), 2);
}

/// Neither a name nor a directory leads anywhere else.
#[test]
fn no_symbolic_link_is_followed() {
    let outside = directory(&[("secret", b"not yours"), ("key/tag", b"not yours")]);
    let inside = directory(&[("repository/default/key/tls", b"s")]);
    let repository = inside.path().join("repository");
    symlink(outside.path().join("secret"), repository.join("default/key/file")).unwrap();
    symlink(outside.path(), repository.join("linked")).unwrap();
    symlink("tls", repository.join("default/key/beside")).unwrap();
    symlink(outside.path().join("secret"), inside.path().join("reference_values.json")).unwrap();
    let _socket = UnixListener::bind(repository.join("default/key/socket")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        repository.join("default/key/pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    let found = read(inside.path(), &[]);
    assert_eq!(names(&found), ["default/key/tls"]);
    for name in [
        "repository/default/key/file",
        "repository/linked",
        "repository/default/key/beside",
        "reference_values.json",
    ] {
        assert!(left(&found, name).contains("a symbolic link"), "{name}");
    }
    for name in ["repository/default/key/socket", "repository/default/key/pipe"] {
        assert!(left(&found, name).contains("neither a file nor a directory"), "{name}");
    }
    // A repository that is a link is none. The directory that a person names may be one.
    let linked = directory(&[]);
    symlink(&repository, linked.path().join("repository")).unwrap();
    assert!(left(&read(linked.path(), &[]), "repository").contains("a symbolic link"));
    assert_eq!(names(&read(&linked.path().join("repository"), &[])), ["default/key/tls"]);
}

#[test]
fn only_what_is_chosen_is_taken() {
    let directory = directory(&[
        ("repository/default/key/one", b"s"),
        ("repository/default/key/two", b"s"),
        ("repository/default/keys/one", b"s"),
        ("repository/other/key/one", b"s"),
    ]);
    for (only, expected) in [
        (&["default"][..], &["default/key/one", "default/key/two", "default/keys/one"][..]),
        (&["default/key"], &["default/key/one", "default/key/two"]),
        (&["default/key/one", "other"], &["default/key/one", "other/key/one"]),
        (&["nothing", "default/ke"], &[]),
    ] {
        let found = read(directory.path(), only);
        assert_eq!(names(&found), expected, "{only:?}");
        assert_eq!(found.items.len(), 4);
    }
}

#[test]
fn a_directory_of_any_number_of_names_is_bounded() {
    let directory = directory(&[("repository/default/key/one", b"s")]);
    for number in 0..10_001 {
        fs::create_dir(directory.path().join(format!("d{number}"))).unwrap();
    }
    let refused = directory::read(directory.path(), &[], Timestamp::now());
    assert!(refused.is_err_and(|failure| failure.told().0.contains("more files than a KBS has resources")));
    let deep = super::tests::directory(&[("a/b/c/d/e/f/g/h/i/j", b"s")]);
    assert!(left(&read(deep.path(), &[]), "a/b/c/d/e/f/g/h").contains("too deep"));
}

#[test]
fn reference_values_lie_beside_the_resources() {
    let json = format!(r#"{{"snp_launch_measurement":["{}"],"snp_bootloader":[3]}}"#, "4d".repeat(48));
    let directory = directory(&[
        ("kbs/repository/default/key/one", b"s"),
        ("attestation-service/reference_values.json", json.as_bytes()),
    ]);
    let found = read(directory.path(), &[]);
    assert_eq!((found.measurements.list().len(), names(&found)), (1, vec!["default/key/one"]));
    assert!(left(&found, "snp_bootloader").contains("--minimum-tcb"));
}

/// A stranger's directory can have very many: looked at in pairs they would take hours.
#[test]
fn more_measurements_than_a_registration_can_have_are_left_out() {
    let of = |numbers: std::ops::Range<usize>| {
        let values: Vec<_> = numbers.map(|number| format!(r#""{:096x}""#, number + 1)).collect();
        format!(r#"{{"measurement":[{}]}}"#, values.join(","))
    };
    let most = Distinct::MOST;
    let [half, rest, all] = [0..most / 2, most / 2..most, 0..most].map(of);
    let (one_more, too_many) = (of(most..most + 1), of(0..most + 1));
    let files = [("a", &half), ("b", &rest), ("c", &all), ("d", &one_more), ("e", &too_many)];
    let files = files.map(|(name, json)| (format!("{name}/reference_values.json"), json));
    let directory = directory(&files.each_ref().map(|(path, json)| (path.as_str(), json.as_bytes())));
    let found = read(directory.path(), &[]);
    assert_eq!(found.measurements.list().len(), most);
    let left = found.items.iter().filter(|item| item.note.contains("the most that a registration can have"));
    assert_eq!((left.count(), found.items.len()), (2, files.len()), "{:?}", found.items);
}
