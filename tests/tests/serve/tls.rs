//! `keybroker serve` with a certificate, and the clients that people have.

use std::{
    process::{Command, Output},
    sync::Arc,
};

use keybroker_guest::{
    console::Kept,
    root::Root,
    transport::{Http, Transport as _, TransportError},
};
use keybroker_simulator::tls::{Authority, Identity};
use keybroker_tests::{
    DEADLINE,
    connection::Connection,
    program,
    server::{Home, Server},
    skip,
    tls::{NAME, connector, greet},
    unique,
    world::{World, anchors},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;

const NOWHERE: &str = "http://127.0.0.1:9";

/// A broker with a certificate by an authority, whose PEM is in a file.
struct Secure {
    ca: Authority,
    pem: String,
    home: Home,
    server: Server,
}

impl Secure {
    fn start() -> Self {
        let (ca, home) = (Authority::new(), Home::new(&anchors()));
        let server = home.serve(NOWHERE, &home.identity(&ca.issue(NAME)).each_ref().map(String::as_str));
        let pem = home.anchors().with_file_name("ca.pem");
        std::fs::write(&pem, ca.pem()).unwrap();
        Self { ca, pem: pem.to_str().unwrap().to_owned(), home, server }
    }

    fn authority(&self) -> &str {
        self.server.url.strip_prefix("https://").unwrap()
    }

    async fn connect(&self) -> std::io::Result<TlsStream<TcpStream>> {
        greet(&connector(&self.ca), TcpStream::connect(self.authority()).await?).await
    }
}

/// The certificate that a connection was greeted with.
fn certificate(stream: &TlsStream<TcpStream>) -> Vec<u8> {
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

async fn healthy(stream: &mut TlsStream<TcpStream>) {
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    let mut rest = Vec::new();
    while !rest.ends_with(br#"{"status":"ok"}"#) {
        rest.push(stream.read_u8().await.unwrap());
    }
}

/// The guest's own client, and the relay.
#[tokio::test]
async fn guests_and_relays_reach_it_and_trust_nobody_else() {
    let secure = Secure::start();
    let (url, pem) = (secure.server.url.clone() + "/v1/challenge", secure.ca.pem());
    let asked = tokio::task::spawn_blocking(move || {
        let post = |pem: Option<&str>| {
            let http = Http::new(&Root::at("/nowhere"), pem, Arc::new(Kept::default())).unwrap();
            http.post(&url, b"{}", DEADLINE)
        };
        [post(Some(&pem)), post(None), post(Some(&Authority::new().pem()))]
    });
    let [known, unknown, other] = asked.await.unwrap();
    assert_eq!(known.unwrap().status, 200, "a challenge");
    for refused in [unknown, other] {
        assert!(matches!(refused, Err(TransportError::Tls(_))), "{refused:?}");
    }
    let told = secure.server.log(|line| line.contains("a TLS handshake failed").then(|| line.to_owned()));
    assert!(told.unwrap().contains("UnknownCA"));

    let mut relay = program::keybroker();
    relay.args(["relay", "--listen", "127.0.0.1:0", "--to", &secure.server.url, "--ca", &secure.pem]);
    let relay = Server::start(relay);
    let mut connection = Connection::open(relay.url.strip_prefix("http://").unwrap());
    connection.send(
        "POST /kbs/v0/auth HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n\
         Content-Length: 2\r\n\r\n{}",
    );
    assert_eq!(connection.response().unwrap().status, 400, "the broker's answer");
}

/// A row for each choice of OpenSSL's clients: the version, and the protocol inside.
const PYTHON: &str = r#"
import socket, ssl, sys
host, port, authority = sys.argv[1], int(sys.argv[2]), sys.argv[3]
def ask(change, context=None):
    context = context or ssl.create_default_context(cafile=authority)
    change(context)
    try:
        with socket.create_connection((host, port), 60) as tcp:
            with context.wrap_socket(tcp, server_hostname=host) as tls:
                tls.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                answer = b""
                while part := tls.recv(4096):
                    answer += part
                # A clean end: recv would have raised without a close_notify.
                return f"{tls.version()} {tls.selected_alpn_protocol()} {answer.split()[1].decode()} {tls.session_reused}"
    except ssl.SSLError as error:
        return "refused " + (error.reason or "")
def only(version):
    def change(context):
        context.minimum_version = context.maximum_version = version
    return change
def old(context):
    context.set_ciphers("ALL:@SECLEVEL=0")
    only(ssl.TLSVersion.TLSv1_1)(context)
print(ask(lambda context: None))
print(ask(only(ssl.TLSVersion.TLSv1_2)))
print(ask(old))
print(ask(lambda context: context.set_alpn_protocols(["h2", "http/1.1"])))
print(ask(lambda context: context.set_alpn_protocols(["h2"])))
print(ask(lambda context: None, ssl.create_default_context()))
"#;

#[test]
fn openssls_clients_get_tls_1_2_and_1_3_and_http_1_1() {
    let secure = Secure::start();
    let (host, port) = secure.authority().split_once(':').unwrap();
    let mut python = Command::new("python3");
    let Output { stdout, stderr, status } =
        python.args(["-W", "ignore", "-c", PYTHON, host, port, &secure.pem]).output().expect("python3");
    let said = String::from_utf8(stdout).unwrap();
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines[0], "TLSv1.3 None 200 False", "{said}");
    assert_eq!(lines[1], "TLSv1.2 None 200 False", "{said}");
    assert!(lines[2].starts_with("refused "), "TLS 1.1: {said}");
    assert_eq!(lines[3], "TLSv1.3 http/1.1 200 False", "{said}");
    assert!(lines[4].starts_with("refused "), "h2 alone: {said}");
    assert_eq!(lines[5], "refused CERTIFICATE_VERIFY_FAILED", "{said}");
}

#[test]
fn curl_reaches_it() {
    let secure = Secure::start();
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--cacert", &secure.pem])
        .arg(secure.server.url.clone() + "/healthz");
    match curl.output() {
        Err(_) => skip("curl is not installed"),
        Ok(output) => assert_eq!(output.stdout, br#"{"status":"ok"}"#, "{output:?}"),
    }
}

/// Whatever is read again, connections go on, and a pair that cannot be used changes nothing.
#[tokio::test]
async fn sighup_presents_the_new_certificate_and_interrupts_nobody() {
    let secure = Secure::start();
    let logged = |words: &'static str, count: usize| {
        let mut seen = 0;
        let found = secure.server.log(|line| {
            seen += usize::from(line.contains(words));
            (seen == count).then_some(())
        });
        found.expect(words);
    };
    let doctor = || secure.doctor();
    let mut early = secure.connect().await.unwrap();
    let first = certificate(&early);
    healthy(&mut early).await;
    assert!(doctor().contains("ok    tls"), "{}", doctor());
    // It asks now and then: the broker closes a connection that is idle for ten seconds.
    healthy(&mut early).await;

    // The files change, and nobody tells the broker.
    let second = secure.ca.issue(NAME);
    secure.home.identity(&second);
    assert_eq!(certificate(&secure.connect().await.unwrap()), first);
    healthy(&mut early).await;
    assert!(doctor().contains("presents another certificate than its file holds"), "{}", doctor());
    healthy(&mut early).await;

    secure.server.signal("HUP");
    logged("presenting a TLS certificate", 2);
    let mut late = secure.connect().await.unwrap();
    assert_eq!(certificate(&late), second.certificate);
    healthy(&mut early).await;

    // A certificate with the key of another.
    let third = secure.ca.issue(NAME);
    secure.home.identity(&Identity { key: first.clone(), ..third.clone() });
    secure.server.signal("HUP");
    logged("THE NEW TLS PAIR CANNOT BE USED", 1);
    assert_eq!(certificate(&secure.connect().await.unwrap()), second.certificate);
    healthy(&mut late).await;
    healthy(&mut early).await;
    let said = doctor();
    healthy(&mut early).await;
    assert!(said.contains("fail  tls") && said.contains("presents its earlier certificate"), "{said}");

    secure.home.identity(&third);
    secure.server.signal("HUP");
    logged("presenting a TLS certificate", 3);
    assert_eq!(certificate(&secure.connect().await.unwrap()), third.certificate);
    healthy(&mut early).await;
    assert!(!doctor().contains("fail  tls"), "{}", doctor());
    assert_eq!(secure.server.terminate().code, Some(0));
}

impl Secure {
    /// The lines of `keybroker doctor` about TLS.
    fn doctor(&self) -> String {
        let [cert, cert_path, key, key_path] =
            ["--tls-cert", "cert.pem", "--tls-key", "cert-key.pem"].map(str::to_owned);
        let beside = |name: String| self.home.anchors().with_file_name(name);
        let mut doctor = program::keybroker();
        doctor.args(["doctor", "--kds-url", NOWHERE, "--data-dir"]).arg(self.home.data_dir());
        doctor.arg("--key-file").arg(self.home.key_file());
        doctor.arg(cert).arg(beside(cert_path)).arg(key).arg(beside(key_path));
        let said = String::from_utf8(doctor.output().unwrap().stdout).unwrap();
        said.lines().filter(|line| line.contains(" tls ")).map(|line| line.to_owned() + "\n").collect()
    }
}

/// systemd's reload must not end a broker that has nothing to read again.
#[tokio::test]
async fn sighup_without_tls_ends_nothing() {
    let world = World::serve(&[]);
    world.server().signal("HUP");
    world.server().log(|line| line.contains("this broker has none").then_some(())).expect("a line");
    world.boots_a_guest(&unique("w")).await;
}

#[test]
fn a_pair_that_cannot_be_used_is_5_before_anything_is_made() {
    let (ca, home) = (Authority::new(), Home::new(&anchors()));
    let mut identity = ca.issue(NAME);
    identity.key = ca.issue(NAME).key;
    let files = home.identity(&identity);
    let refused = |arguments: &[&str]| {
        let output = home.command(NOWHERE, arguments).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, text) = refused(&files.each_ref().map(String::as_str));
    assert_eq!(code, Some(5), "{text}");
    assert!(
        text.contains("the private key is not that of the certificate") && text.contains("hint: "),
        "{text}"
    );
    assert!(!home.data_dir().exists());
    // One without the other.
    for half in [[files[0].as_str(), &files[1]], [&files[2], &files[3]]] {
        assert_eq!(refused(&half).0, Some(2), "{half:?}");
    }
}

/// With TLS, an address beyond the loopback is not warned of for what is on the wire.
#[test]
fn an_address_beyond_the_loopback_is_warned_of_without_tls_alone() {
    let ca = Authority::new();
    for secure in [false, true] {
        let home = Home::new(&anchors());
        let mut command = home.untrusting(NOWHERE);
        command.args(["--listen", "0.0.0.0:0", "--registration", "token", "--accept-any-tcb"]);
        if secure {
            command.args(home.identity(&ca.issue(NAME)));
        }
        let server = Server::start(command);
        assert_eq!(server.url.starts_with("https://0.0.0.0:"), secure, "{}", server.url);
        let log = server.terminate().log;
        assert_eq!(log.contains("nothing on the wire is encrypted"), !secure, "{log}");
    }
}
