//! `keybroker relay` as its operator sees it: options, files, exit codes, and its messages to systemd.

use std::{
    fs::{self, Permissions},
    net::TcpListener,
    os::unix::{fs::PermissionsExt, net::UnixDatagram},
    process::Command,
};

use keybroker_tests::{
    DEADLINE,
    program::{self, Ended},
    relay::{self, TOKEN, private_file},
    server::{Home, Server},
    world::anchors,
};
use tempfile::TempDir;

const BROKER: &str = "https://k.example.org";

/// Runs a command that ends before it listens.
fn refused(mut command: Command, code: i32, texts: &[&str]) {
    let ended = Ended::from(command.output().unwrap());
    assert_eq!((ended.code, ended.out.as_str()), (Some(code), ""), "{}", ended.log);
    for text in texts {
        assert!(ended.log.contains(text), "{text}: {}", ended.log);
    }
}

#[test]
fn the_relays_target_must_be_tls_or_the_loopback() {
    for (url, why) in [
        ("http://k.example.org", "must be https"),
        ("https://user:password@k.example.org", "no user and no password"),
        ("https://k.example.org/?a=b", "neither ? nor #"),
        ("k.example.org", "is no URL"),
    ] {
        refused(relay::command(url, &[]), 2, &[why]);
    }
    let mut command = program::keybroker();
    command.arg("relay");
    refused(command, 2, &["--to <URL>"]);
}

#[test]
fn options_that_contradict_each_other_end_with_2() {
    for options in [
        &["--sign", "--token-file", "x"][..],
        &["--region", "eu-central-1"],
        &["--timeout", "0"],
        &["--anyone-may-register"],
    ] {
        refused(relay::command(BROKER, options), 2, &[]);
    }
}

#[test]
fn an_unusable_token_ends_the_relay_with_5() {
    let (directory, file) = private_file(TOKEN);
    let refuse = |file: &std::path::Path, why| {
        let file = file.to_str().unwrap();
        refused(relay::command(BROKER, &["--token-file", file]), 5, &[why, file]);
    };
    refuse(&directory.path().join("none"), "No such file");
    refuse(directory.path(), "chmod 600");
    for mode in [0o644, 0o640, 0o620] {
        fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
        refuse(&file, "other users than its owner");
    }
    let (_directory, file) = private_file("a-secret-that-is-no-token");
    let command = || relay::command(BROKER, &["--token-file", file.to_str().unwrap()]);
    refused(command(), 5, &["does not hold one line of 14 characters"]);
    let log = Ended::from(command().output().unwrap()).log;
    assert!(!log.contains("a-secret"), "{log}");
}

#[test]
fn signing_without_credentials_or_region_ends_with_5() {
    let nowhere = TempDir::new().unwrap();
    let signing = |variables: &[(&str, &str)]| {
        let mut command = relay::command(BROKER, &["--sign"]);
        // The SDK would ask the metadata service of the machine that runs this test.
        command.env("AWS_EC2_METADATA_DISABLED", "true").env("HOME", nowhere.path());
        command.envs(variables.iter().copied());
        command
    };
    refused(signing(&[("AWS_REGION", "eu-central-1")]), 5, &["no AWS credentials", "hint: give --profile"]);
    let credentials = [("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"), ("AWS_SECRET_ACCESS_KEY", "s3cret")];
    refused(signing(&credentials), 5, &["no AWS region", "hint: give --region"]);
}

#[test]
fn a_file_that_is_no_authority_ends_the_relay_with_5() {
    let (_directory, file) = private_file("nonsense");
    let broken = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
    let (_other, broken) = private_file(broken);
    for file in [&file, &broken, &file.with_file_name("none")] {
        refused(relay::command(BROKER, &["--ca", file.to_str().unwrap()]), 5, &[]);
    }
}

#[test]
fn a_busy_port_ends_the_relay_with_1_and_a_hint() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut command = program::keybroker();
    command.args(["relay", "--to", BROKER, "--listen", &holder.local_addr().unwrap().to_string()]);
    refused(command, 1, &["hint: another process has this port"]);
}

#[test]
fn an_address_that_others_reach_needs_a_flag_or_warns() {
    let (_directory, token) = private_file(TOKEN);
    let everywhere = |options: &[&str]| {
        let mut command = program::keybroker();
        command.args(["relay", "--to", BROKER, "--listen", "0.0.0.0:0"]).args(options);
        command
    };
    let build = ["--token-file", token.to_str().unwrap()];
    refused(everywhere(&build), 2, &["could register in this relay's name", "hint: listen on the loopback"]);
    let anyone = [build[0], build[1], "--anyone-may-register"];
    for (options, warning) in [(&[][..], "NOT ON THE LOOPBACK"), (&anyone, "ANYONE MAY REGISTER")] {
        let log = Server::start(everywhere(options)).terminate().log;
        assert!(log.lines().any(|line| line.contains("WARN") && line.contains(warning)), "{log}");
    }
    let log = Server::start(relay::command(BROKER, &build)).terminate().log;
    assert!(!log.contains("WARN"), "{log}");
}

#[test]
fn the_relay_ends_with_0_on_sigterm_and_sigint() {
    for signal in ["TERM", "INT"] {
        let server = Server::start(relay::command(BROKER, &[]));
        server.signal(signal);
        let ended = server.wait();
        assert_eq!((ended.code, ended.out.as_str()), (Some(0), ""), "{}", ended.log);
        assert!(ended.log.contains("guest relay to https://k.example.org"), "{}", ended.log);
    }
}

/// `serve` tells systemd the same, by the same code.
#[test]
fn systemd_is_told_when_the_relay_listens_and_stops() {
    let home = Home::new(&anchors());
    for mut command in [relay::command(BROKER, &[]), home.command("http://127.0.0.1:1", &[])] {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        let told = || {
            let mut buffer = [0; 64];
            let length = socket.recv(&mut buffer).unwrap();
            String::from_utf8_lossy(&buffer[..length]).into_owned()
        };
        command.env("NOTIFY_SOCKET", &path);
        let server = Server::start(command);
        assert_eq!(told(), "READY=1\n");
        server.signal("TERM");
        assert_eq!(told(), "STOPPING=1\n");
        assert_eq!(server.wait().code, Some(0));
    }
}
