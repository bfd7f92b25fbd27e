//! Flags of `keybroker register` that do not go together.

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


