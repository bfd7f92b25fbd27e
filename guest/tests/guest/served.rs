//! The socket for systemd-cryptsetup, with real peers.

use std::{
    fs::{self, Permissions},
    os::unix::{fs::PermissionsExt as _, net::UnixListener},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
};

use keybroker_guest::{
    disk::DiskError,
    document::Place,
    exit::Exit,
    failure::Failure,
    look::LookError,
    serve_keys::{listener, serve_keys},
};

use crate::{
    doubles::{Answer, DECISION, refusal},
    world::World,
};

/// A process that asks as systemd-cryptsetup does, and prints in hex what it is given.
fn peer(socket: &Path, address: &str, options: &str) -> Child {
    peer_of(rustix::process::geteuid().as_raw(), socket, address, options)
}

/// The same as a process of `user`.
fn peer_of(user: u32, socket: &Path, address: &str, options: &str) -> Child {
    const PEER: &str = "
import os, socket, sys
if os.geteuid() != int(sys.argv[4]):
    try:
        os.setgroups([])
        os.setuid(int(sys.argv[4]))
    except PermissionError:
        sys.exit(77)
peer = socket.socket(socket.AF_UNIX)
peer.bind('\\0' + sys.argv[2])
peer.connect(sys.argv[1])
key = b''
while part := peer.recv(4096):
    key += part
print(key.hex())
";
    Command::new("python3")
        .args(["-c", PEER, socket.to_str().unwrap(), address, options, &user.to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn given(peer: Child) -> String {
    let output = peer.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Peers that come before it is served wait.
fn listen(world: &World) -> UnixListener {
    listener(Some(&world.path("/run/keys"))).unwrap()
}

/// Whether this is root, the only user that is given a key. Otherwise says that `part` is not tested.
fn is_root(part: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        crate::skip(&format!("{part}, for want of root"));
    }
    root
}

fn serve(world: &World, socket: &UnixListener) -> Result<(), Failure> {
    let found = world.found(Place::FwCfg);
    let processor = world.processor();
    serve_keys(&world.root, &world.asker(&found, &processor), socket.try_clone().unwrap())
}

fn header(world: &World, name: &str) -> String {
    format!("luks,header={},x-initrd.attach", world.path(&format!("/run/keybroker/{name}.header")).display())
}

#[test]
fn each_volume_is_served_once_with_the_judged_header() {
    if !is_root("a volume's key for systemd-cryptsetup") {
        return;
    }
    let world = Arc::new(World::new());
    let (server, socket) = (Arc::clone(&world), listen(&world));
    let server = thread::spawn(move || serve(&server, &socket));
    let socket = world.path("/run/keys");
    let unique = std::process::id();
    // Not told to take the copy; without the name of a volume; of a volume that is not the document's.
    assert_eq!(given(peer(&socket, &format!("{unique}a/cryptsetup/root"), "luks")), "");
    assert_eq!(given(peer(&socket, &format!("{unique}b"), &header(&world, "root"))), "");
    assert_eq!(given(peer(&socket, &format!("{unique}c/cryptsetup/swap"), &header(&world, "swap"))), "");
    assert_eq!(world.network.urls().len(), 0, "a broker was asked for a peer that gets nothing");
    let key = given(peer(&socket, &format!("{unique}d/cryptsetup/root"), &header(&world, "root")));
    assert_eq!(key, data_encoding::HEXLOWER.encode(b"correct horse\n\0battery"));
    assert!(world.path("/run/keybroker/root.header").exists());
    assert_eq!(given(peer(&socket, &format!("{unique}e/cryptsetup/root"), &header(&world, "root"))), "");
    let key = given(peer(&socket, &format!("{unique}f/cryptsetup/data"), &header(&world, "data")));
    assert_eq!(key, data_encoding::HEXLOWER.encode(b"another"));
    assert_eq!(world.network.releases().len(), 1);
    for name in ["root", "data"] {
        world.map(name, "CRYPT-LUKS1-0123");
    }
    server.join().unwrap().unwrap();
    assert_eq!(world.last_line(), format!("keybroker-guest: opened root, data (decision {DECISION})"));
    assert_eq!(world.copies(), 0);
    let warnings: Vec<String> =
        world.console.lines().into_iter().filter(|line| line.contains("warning")).collect();
    assert_eq!(warnings.len(), 4, "{warnings:?}");
    assert!(warnings[0].contains("the process that asks for the key of root was not told header="));
}

/// systemd takes a mapping that is there for an open disk, and asks for no key.
#[test]
fn a_name_that_is_taken_while_the_keys_are_served_ends_the_boot() {
    let world = Arc::new(World::new());
    let (server, socket) = (Arc::clone(&world), listen(&world));
    let server = thread::spawn(move || serve(&server, &socket));
    while world.console.lines().is_empty() {
        thread::yield_now();
    }
    world.map("data", "LVM-0123");
    match server.join().unwrap() {
        Err(Failure::Disk { name, error: DiskError::Taken(_) }) => assert_eq!(name, "data"),
        other => panic!("{other:?}"),
    }
    assert_eq!(world.network.urls(), [""; 0]);
}

/// The modes of the socket and of its directory let everybody in here: the kernel says who asks.
#[test]
fn others_than_root_get_nothing() {
    let world = Arc::new(World::new());
    let (server, socket) = (Arc::clone(&world), listen(&world));
    thread::spawn(move || serve(&server, &socket));
    let socket = world.path("/run/keys");
    fs::set_permissions(world.directory.path(), Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&socket, Permissions::from_mode(0o666)).unwrap();
    let own = rustix::process::geteuid();
    let user = if own.is_root() { crate::NOBODY } else { own.as_raw() };
    let address = format!("{}u/cryptsetup/root", std::process::id());
    let mut peer = peer_of(user, &socket, &address, &header(&world, "root"));
    if peer.wait().unwrap().code() == Some(77) {
        return crate::skip("another user than root asks for a key, for want of the right to become one");
    }
    assert_eq!(given(peer), "");
    let warning = format!("keybroker-guest: warning: user {user} asks for a key, which only root gets");
    assert_eq!(world.last_line(), warning);
    assert_eq!(world.network.urls(), [""; 0]);
}

#[test]
fn the_socket_is_its_owners_alone() {
    let world = World::new();
    let _listener = listen(&world);
    let mode = fs::metadata(world.path("/run/keys")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
}

#[test]
fn a_refusal_gives_the_peer_nothing() {
    if !is_root("a broker's refusal for systemd-cryptsetup") {
        return;
    }
    let mut world = World::new();
    world.network = world.network.then([Answer::Sound, refusal(403, Some(DECISION))]);
    let world = Arc::new(world);
    let (server, socket) = (Arc::clone(&world), listen(&world));
    let server = thread::spawn(move || serve(&server, &socket));
    let address = format!("{}r/cryptsetup/root", std::process::id());
    assert_eq!(given(peer(&world.path("/run/keys"), &address, &header(&world, "root"))), "");
    assert_eq!(server.join().unwrap().unwrap_err().exit(), Exit::Refused);
    assert_eq!(world.copies(), 0);
}

#[test]
fn nothing_is_served_where_the_guest_or_a_disk_is_not_the_documents() {
    let world = World::new();
    world.write_device("root", &[0; 8192]);
    assert!(matches!(
        serve(&world, &listen(&world)),
        Err(Failure::Disk { error: DiskError::Refused(_), .. })
    ));
    let world = World::new();
    let found = world.found(Place::FwCfg);
    let processor = crate::doubles::Processor::new([0; 32]);
    let outcome = serve_keys(&world.root, &world.asker(&found, &processor), listen(&world));
    assert!(matches!(outcome, Err(Failure::Look(LookError::HostData))));
    assert_eq!(world.network.urls(), [""; 0]);
}
