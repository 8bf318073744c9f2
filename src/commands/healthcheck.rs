//! `stackhook healthcheck`, for Docker and other supervisors that run a program to check a server.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use super::{CommandError, Exit};
use crate::config::{self, ProcessEnv};
use crate::limits;
use crate::text::io_error_message;

/// Requests `/healthz` from the server at the configured address.
pub(super) fn run(file: Option<&Path>) -> Result<Exit, CommandError> {
    let listen = config::load_listen(file, &ProcessEnv::of_process())?;
    let server = connectable(listen);
    let failed = |why: &dyn std::fmt::Display| {
        CommandError::Failed(format!("the server at {server} is not healthy: {why}"))
    };
    let status = request_status(server).map_err(|error| match error.kind() {
        ErrorKind::ConnectionRefused => failed(&"nothing listens there"),
        // The kind depends on the operating system.
        ErrorKind::TimedOut | ErrorKind::WouldBlock => failed(&"it does not respond in time"),
        _ => failed(&io_error_message(&error)),
    })?;
    match status.as_str() {
        "200" => Ok(Exit::Success),
        "" => Err(failed(&"its response is not HTTP")),
        status => Err(failed(&format!("it responds with status {status}"))),
    }
}

/// The address to connect to: a server on all addresses is reached through the loopback address.
fn connectable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

/// The status code of the response; empty if it is not HTTP.
fn request_status(server: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&server, limits::HEALTHCHECK)?;
    let until = Instant::now() + limits::HEALTHCHECK;
    stream.set_write_timeout(Some(limits::HEALTHCHECK))?;
    let request = format!("GET /healthz HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    // Only a complete response counts: a server that hangs after the status line is not healthy.
    let mut answer = Vec::new();
    let mut part = [0; 512];
    while answer.len() < limits::HEALTH_ANSWER {
        let left = until.saturating_duration_since(Instant::now());
        stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        match stream.read(&mut part) {
            Ok(0) => return Ok(parse_status(&answer)),
            Ok(read) => answer.extend(part.iter().take(read)),
            Err(error) => return Err(error),
        }
    }
    Ok(String::new())
}

fn parse_status(answer: &[u8]) -> String {
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
    fn a_server_on_all_addresses_is_reached_through_the_loopback_address() {
        #[track_caller]
        fn check(listen: &str, args: &str) {
            assert_eq!(connectable(listen.parse().unwrap()).to_string(), args);
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
            assert_eq!(parse_status(answer.as_bytes()), expected);
        }
        check("HTTP/1.1 200 OK\r\n\r\nok", "200");
        check("HTTP/1.0 503 Busy\r\n\r\n", "503");
        check("SSH-2.0-OpenSSH_9.2 200\r\n", "");
        check("", "");
    }
}
