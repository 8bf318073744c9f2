//! A server for tests that gives prepared answers, one per connection, and records the requests.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// The answer on one connection after the request has been read.
pub(crate) enum ScriptStep {
    /// Sends these bytes and closes the connection.
    Send(Vec<u8>),
    /// Sends these bytes, and nothing more until the client closes the connection.
    SendAndStay(Vec<u8>),
    /// Sends nothing until the client closes the connection.
    Silent,
}

pub(crate) struct Script {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
}

/// An answer with a JSON body.
pub(crate) fn json(status: u16, body: &str) -> ScriptStep {
    answer(status, &[("Content-Type", "application/json")], body)
}

/// An answer with these headers.
pub(crate) fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> ScriptStep {
    let mut text = format!(
        "HTTP/1.1 {status} Answer\r\nContent-Length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    ScriptStep::Send(format!("{text}\r\n{body}").into_bytes())
}

impl Script {
    /// One step per connection, in this order. After the last one, further connections are closed at once.
    pub(crate) fn start(steps: Vec<ScriptStep>) -> Script {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&requests);
        thread::spawn(move || {
            let mut steps = steps.into_iter();
            for stream in listener.incoming().take(100) {
                let mut stream = stream.unwrap();
                stream
                    .set_read_timeout(Some(Duration::from_secs(20)))
                    .unwrap();
                let request = read_request(&mut stream);
                kept.lock().unwrap().push(request);
                match steps.next() {
                    Some(ScriptStep::Send(bytes)) => {
                        let _ = stream.write_all(&bytes);
                        let _ = stream.shutdown(Shutdown::Write);
                    }
                    Some(ScriptStep::SendAndStay(bytes)) => {
                        let _ = stream.write_all(&bytes);
                        let _ = stream.read(&mut [0; 1]);
                    }
                    Some(ScriptStep::Silent) => {
                        let _ = stream.read(&mut [0; 1]);
                    }
                    None => {}
                }
            }
        });
        Script { address, requests }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The requests so far, each with head and body.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

/// Reads the head and, by its length, the body: the client sends them in two writes.
fn read_request(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .filter_map(|line| line.split_once(": "))
                .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
                .map_or(0, |(_, length)| length.parse().unwrap());
            if body.len() >= length {
                return text;
            }
        }
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => return text,
            Ok(count) => bytes.extend_from_slice(&piece[..count]),
        }
    }
}
