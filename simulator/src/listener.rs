//! A server for the crate's own tests: it answers each connection with what a closure makes of the request.

use std::sync::{Arc, Mutex};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

/// Serves until the runtime ends. Gives the URL and the requests so far.
pub(crate) async fn serve(
    mut answer: impl FnMut(&str) -> Vec<u8> + Send + 'static,
) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let requests = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&requests);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut raw = Vec::new();
            while !complete(&raw) {
                assert_ne!(stream.read_buf(&mut raw).await.expect("bytes"), 0, "the request ended too soon");
            }
            let request = String::from_utf8(raw).expect("text");
            let response = answer(&request);
            log.lock().expect("whole").push(request);
            stream.write_all(&response).await.expect("the client listens");
        }
    });
    (url, requests)
}

fn complete(raw: &[u8]) -> bool {
    let text = String::from_utf8_lossy(raw);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let mut fields = head.lines().filter_map(|line| line.split_once(": "));
    let length = fields.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    body.len() >= length.map_or(0, |(_, length)| length.parse().expect("a number"))
}

/// A response with these extra header lines and this body.
pub(crate) fn response(status: u16, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status} X\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}
