//! Every way in which KDS is known to misbehave.

use std::{
    pin::pin,
    time::{Duration, Instant},
};

use keybroker_common::config::KdsSettings;
use keybroker_kds::EndorsementError;
use keybroker_simulator::{
    kds::{
        Behaviour::{self, Empty, Hang, Html200, Reset, Serve, Slow, Status, Truncated, WrongChip},
        Kind,
    },
    pki::Ca,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    time::sleep,
};

use crate::harness::{
    clock::seconds,
    hardware::{Hardware, endorse, retry_after},
};

async fn passes(script: impl IntoIterator<Item = Behaviour>, requests: usize) -> Duration {
    let hardware = Hardware::new().await;
    hardware.kds.script(Kind::Vcek, script);
    let begun = Instant::now();
    let endorsements = endorse(&hardware.source(), &hardware.report()).await.unwrap();
    assert_eq!(endorsements.chain.vek().der(), hardware.vcek());
    assert_eq!(hardware.kds.count(Kind::Vcek), requests);
    begun.elapsed()
}

#[tokio::test]
async fn a_refusal_that_passes_is_waited_for() {
    passes([Status(429, None), Status(429, None)], 3).await;
    passes([Status(500, None), Status(502, None)], 3).await;
}

#[tokio::test]
async fn a_broken_connection_is_tried_again() {
    passes([Reset, Reset], 3).await;
    passes([Truncated], 2).await;
}

#[tokio::test]
async fn a_slow_answer_is_waited_for() {
    passes([Slow(Duration::from_secs(2))], 1).await;
}

#[tokio::test]
async fn an_answer_that_hangs_leaves_time_for_another() {
    passes([Hang], 2).await;
}

#[tokio::test]
async fn a_retry_after_that_fits_is_honoured() {
    assert!(passes([Status(429, Some(2))], 2).await >= Duration::from_secs(2));
}

#[tokio::test]
async fn a_retry_after_that_does_not_fit_is_passed_on() {
    for (asked, told) in [(30, 30), (1_000_000, 300), (u32::MAX, 300)] {
        let hardware = Hardware::new().await;
        hardware.kds.otherwise(Status(429, Some(asked)));
        assert_eq!(retry_after(endorse(&hardware.source(), &hardware.report()).await), told);
        assert_eq!(hardware.kds.count(Kind::Vcek), 1);
    }
}

/// The outcome of `work`, and for how many seconds this thread waited for it: on a busy machine both the
/// work's own clock and this one are late.
pub(crate) async fn waited<T>(work: impl Future<Output = T>) -> (T, f64) {
    let mut work = pin!(work);
    let mut tenths = 0;
    loop {
        tokio::select! {
            biased;
            done = &mut work => return (done, f64::from(tenths) / 10.0),
            () = sleep(Duration::from_millis(100)) => tenths += 1,
        }
    }
}

/// Ends three attempts at the latest, and after ten seconds.
#[tokio::test]
async fn silence_has_its_limit() {
    let hardware = Hardware::new().await;
    hardware.kds.otherwise(Hang);
    let (source, report) = (hardware.source(), hardware.report());
    let (outcome, seconds) = waited(endorse(&source, &report)).await;
    assert_eq!(retry_after(outcome), 5);
    assert!(seconds < 11.0, "{seconds}");
    assert_eq!(hardware.kds.count(Kind::Vcek), 3);
}

/// An answer that is no certificate, or another's, is no answer: the guest is not refused, and nothing is
/// kept.
#[tokio::test]
async fn an_answer_that_is_not_the_certificate_is_none() {
    for behaviour in [Html200, Empty, WrongChip] {
        let hardware = Hardware::new().await;
        let (source, report) = (hardware.source(), hardware.report());
        hardware.kds.script(Kind::Vcek, [behaviour.clone()]);
        assert_eq!(retry_after(endorse(&source, &report).await), 5, "{behaviour:?}");
        assert_eq!(hardware.kds.count(Kind::Vcek), 1, "{behaviour:?}");
        assert_eq!(hardware.cache.row(&hardware.vcek_key()), None, "{behaviour:?}");

        hardware.clock.advance(seconds(5));
        endorse(&source, &report).await.unwrap();
        assert_eq!(hardware.cache.row(&hardware.vcek_key()).unwrap().bytes, hardware.vcek());
    }
}

#[tokio::test]
async fn a_broken_chain_is_no_refusal_either() {
    for behaviour in [Html200, Empty, Status(404, None), Status(503, Some(60))] {
        let hardware = Hardware::new().await;
        hardware.kds.script(Kind::Chain, [behaviour.clone()]);
        let seconds = retry_after(endorse(&hardware.source(), &hardware.report()).await);
        assert_eq!(seconds, if behaviour == Status(503, Some(60)) { 60 } else { 5 });
        assert_eq!(hardware.cache.keys(), Vec::<String>::new());
    }
}

/// An impostor in AMD's place has certificates of his own make, and no ARK that anybody pinned.
#[tokio::test]
async fn an_impostor_gains_nothing() {
    let hardware = Hardware::new().await;
    let (source, report) = (hardware.source(), hardware.report());
    hardware.kds.serve_vcek(&hardware.chip, hardware.self_made_vcek());
    hardware.kds.serve_chain(hardware.chip.product(), Ca::Ask, hardware.self_made_chain(Ca::Ask));
    assert_eq!(retry_after(endorse(&source, &report).await), 5);
    assert_eq!(hardware.cache.keys(), Vec::<String>::new());

    // The genuine chain does not vouch for his certificate, nor his chain for the genuine certificate.
    hardware.clock.advance(seconds(5));
    hardware.kds.serve_chain(hardware.chip.product(), Ca::Ask, hardware.amd.chain_pem(Ca::Ask));
    assert_eq!(retry_after(endorse(&source, &report).await), 5);
    assert_eq!(hardware.cache.row(&hardware.vcek_key()), None);
    hardware.clock.advance(seconds(5));
    hardware.kds.serve_vcek(&hardware.chip, hardware.vcek());
    endorse(&source, &report).await.unwrap();
}

/// The outcome of exactly one answer, byte for byte. A caller that asks again waits in vain.
async fn answered(hardware: &Hardware, answer: String) -> Result<(), EndorsementError> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let kds_url = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 4096]).await.unwrap();
        // A client that has read enough goes away.
        let _ = stream.write_all(answer.as_bytes()).await;
        (stream, listener)
    });
    let settings = KdsSettings { kds_url, ..KdsSettings::default() };
    let source = hardware.source_with(hardware.cache.clone(), &settings);
    let outcome = endorse(&source, &hardware.report()).await.map(|_| ());
    drop(server.await.unwrap());
    outcome
}

fn assert_unavailable(outcome: Result<(), EndorsementError>, expected: &str) {
    match outcome {
        Err(EndorsementError::Unavailable { cause, .. }) => assert_eq!(cause, expected),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_answer_without_end_is_not_read_to_its_end() {
    let hardware = Hardware::new().await;
    let endless = format!("HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n{}", "x".repeat(70_000));
    assert_unavailable(answered(&hardware, endless).await, "AMD's KDS sent more than a certificate's worth");
}

/// Not even to where the right answer is.
#[tokio::test]
async fn a_redirect_is_not_followed() {
    let hardware = Hardware::new().await;
    endorse(&hardware.source(), &hardware.report()).await.unwrap();
    hardware.cache.plant(&hardware.vcek_key(), crate::harness::hardware::row(vec![]));
    let location = format!("{}{}", hardware.kds.url(), hardware.kds.requests()[0].target);
    let found = format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n");
    assert_unavailable(answered(&hardware, found).await, "AMD's KDS answered 302");
}

#[tokio::test]
async fn a_status_that_promises_nothing_is_not_tried_again() {
    let hardware = Hardware::new().await;
    let status = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
    assert_unavailable(answered(&hardware, status.to_owned()).await, "AMD's KDS answered 400");
}

/// More seconds than the clock has.
#[tokio::test]
async fn an_absurd_retry_after_is_survived() {
    let hardware = Hardware::new().await;
    let absurd =
        "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 18446744073709551615\r\nContent-Length: 0\r\n\r\n";
    assert_unavailable(answered(&hardware, absurd.to_owned()).await, "AMD's KDS answered 429");
}

#[tokio::test]
async fn a_trailing_slash_in_the_url_is_harmless() {
    let hardware = Hardware::new().await;
    hardware.kds.script_any([Serve]);
    let settings = KdsSettings { kds_url: format!("{}/", hardware.kds.url()), ..KdsSettings::default() };
    let source = hardware.source_with(hardware.cache.clone(), &settings);
    endorse(&source, &hardware.report()).await.unwrap();
}
