//! Flags of `keybroker register` that do not go together, and a passphrase that no guest can take.

use std::fs;

use keybroker_tests::operator::Operator;

/// An argument that is taken and means nothing would register a guest without its demand.
#[test]
fn a_flag_that_would_mean_nothing_is_refused() {
    let nowhere = tempfile::tempdir().unwrap();
    let operator = Operator::of_directory(nowhere.path(), "none");
    for (arguments, flag) in [
        (&["--from", "r.json", "--init-data", "d.toml"][..], "--init-data"),
        (&["--from", "r.json", "--dialect", "trustee"], "--dialect"),
        (&["--from", "r.json", "--disk", "disk.img"], "--disk"),
        (&["--workload-id", "w", "--init-data", "d.toml", "--bound-by", "measurement"], "--bound-by"),
        (&["--workload-id", "w", "--init-data", "d.toml", "--device", "/dev/vda"], "--device"),
        (&["--workload-id", "w", "--minimum-abi", "1.55", "--secret", "x"], "--secret"),
        (&["--from", "r.json", "--url", "https://k.example.org"], "--url"),
    ] {
        let ended = operator.run(&[&["register", "--yes"], arguments].concat());
        let refused = ended.code == Some(2) && ended.log.contains("cannot be used with");
        assert!(refused && ended.log.contains(flag), "{arguments:?}: {ended:?}");
    }
}

#[test]
fn a_passphrase_of_a_length_that_no_guest_takes_is_a_matter_of_its_file() {
    let directory = tempfile::tempdir().unwrap();
    let operator = Operator::of_directory(directory.path(), "none");
    let file = directory.path().join("passphrase");
    let name = file.to_str().unwrap();
    let measurement = "4d".repeat(48);
    for (length, code) in [(0, 5), (245, 0), (246, 5)] {
        fs::write(&file, "x".repeat(length) + "\n").unwrap();
        let ended = operator.run(&[
            "register",
            "--dry-run",
            "--workload-id",
            "w",
            "--measurement",
            &measurement,
            "--passphrase-file",
            name,
        ]);
        assert_eq!(ended.code, Some(code), "{length}: {ended:?}");
        let said = format!("reading {name}: passphrase must have 1 to 245 bytes");
        assert_eq!(ended.log.contains(&said), code == 5, "{length}: {ended:?}");
    }
}
