//! `stackhook healthcheck`: for Docker and others who start a program to learn whether a server is well.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use super::{Exit, Stop, Voice, load};
use crate::config::ConfigScope;
use crate::limits;
use crate::text::io_error_message;

/// Asks the server that listens where the configuration says.
pub(super) fn run(file: Option<&Path>) -> Result<Exit, Stop> {
    let loaded = load(ConfigScope::Listen, file, Voice::Quiet)?;
    let server = reachable(loaded.config.listen);
    let failed = |why: &dyn std::fmt::Display| {
        Stop::Failed(format!("the server at {server} is not well: {why}"))
    };
    let status = ask(server).map_err(|error| match error.kind() {
        ErrorKind::ConnectionRefused => failed(&"nothing listens there"),
        // What std calls it depends on the system.
        ErrorKind::TimedOut | ErrorKind::WouldBlock => failed(&"it does not answer in time"),
        _ => failed(&io_error_message(&error)),
    })?;
    match status.as_str() {
        "200" => Ok(Exit::Fine),
        "" => Err(failed(&"what it answers is not HTTP")),
        status => Err(failed(&format!("it answers with status {status}"))),
    }
}

/// An address to connect to, for one to listen on: all addresses of a host include the loopback one.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

/// The status code of the answer; empty if that is no HTTP.
fn ask(server: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&server, limits::HEALTHCHECK)?;
    let until = Instant::now() + limits::HEALTHCHECK;
    stream.set_write_timeout(Some(limits::HEALTHCHECK))?;
    let request = format!("GET /healthz HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    // The status is certain only once the whole answer is there: "200" in the first line does not say that the rest comes.
    let mut answer = Vec::new();
    let mut part = [0; 512];
    while answer.len() < limits::HEALTH_ANSWER {
        let left = until.saturating_duration_since(Instant::now());
        stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        match stream.read(&mut part) {
            Ok(0) => return Ok(status(&answer)),
            Ok(read) => answer.extend(part.iter().take(read)),
            Err(error) => return Err(error),
        }
    }
    Ok(String::new())
}

fn status(answer: &[u8]) -> String {
    let text = String::from_utf8_lossy(answer);
    let mut words = text.lines().next().unwrap_or_default().split(' ');
    match words.next() {
        Some("HTTP/1.1" | "HTTP/1.0") => words.next().unwrap_or_default().to_owned(),
        Some(_) | None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_on_all_addresses_is_asked_on_the_loopback_one() {
        #[track_caller]
        fn check(listen: &str, asked: &str) {
            assert_eq!(reachable(listen.parse().unwrap()).to_string(), asked);
        }
        check("0.0.0.0:8484", "127.0.0.1:8484");
        check("[::]:8484", "[::1]:8484");
        check("127.0.0.1:80", "127.0.0.1:80");
        check("192.0.2.7:80", "192.0.2.7:80");
    }

    #[test]
    fn the_status_is_read_from_http_only() {
        #[track_caller]
        fn check(answer: &str, expected: &str) {
            assert_eq!(status(answer.as_bytes()), expected);
        }
        check("HTTP/1.1 200 OK\r\n\r\nok", "200");
        check("HTTP/1.0 503 Busy\r\n\r\n", "503");
        check("SSH-2.0-OpenSSH_9.2 200\r\n", "");
        check("", "");
    }
}
