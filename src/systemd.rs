//! Notifies systemd that the service is ready or stopping (`Type=notify`). Without systemd nothing happens.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The variable with the address of systemd's socket.
pub(crate) const NOTIFY_SOCKET: &str = "NOTIFY_SOCKET";

/// A state of the service; `systemctl status` shows the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Notification<'a> {
    /// The service answers requests.
    Ready(&'a str),
    /// The service accepts no new requests and ends soon.
    Stopping(&'a str),
}

/// Sends one datagram to the socket that [`NOTIFY_SOCKET`] names (`sd_notify(3)`); an empty value counts as not set.
///
/// Errors: the address is invalid, or systemd does not listen on it.
pub(crate) fn notify(socket: Option<&OsStr>, notification: Notification<'_>) -> io::Result<()> {
    let Some(socket) = socket.filter(|socket| !socket.is_empty()) else {
        return Ok(());
    };
    // Never waits: a systemd that does not read must not keep the service from serving.
    let from = UnixDatagram::unbound()?;
    from.set_nonblocking(true)?;
    from.send_to_addr(notification.message().as_bytes(), &address(socket)?)?;
    Ok(())
}

impl fmt::Display for Notification<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Notification::Ready(_) => "ready",
            Notification::Stopping(_) => "stopping",
        })
    }
}

impl Notification<'_> {
    /// Lines of `NAME=value`; line breaks in the text become spaces.
    fn message(self) -> String {
        let (state, text) = match self {
            Notification::Ready(text) => ("READY=1", text),
            Notification::Stopping(text) => ("STOPPING=1", text),
        };
        format!("{state}\nSTATUS={}", text.replace('\n', " "))
    }
}

/// Parses a path or, after `@`, a name in Linux' abstract namespace.
fn address(socket: &OsStr) -> io::Result<SocketAddr> {
    match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        [b'/', ..] => SocketAddr::from_pathname(socket),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "neither a path nor an abstract name",
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::time::Duration;

    use super::*;

    fn received(by: &UnixDatagram) -> String {
        by.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut message = [0; 200];
        let size = by.recv(&mut message).unwrap();
        String::from_utf8(message[..size].to_vec()).unwrap()
    }

    #[test]
    fn notifies_a_socket_with_a_path() {
        let path = std::env::temp_dir().join(format!("stackhook-notify-{}", std::process::id()));
        let systemd = UnixDatagram::bind(&path).unwrap();
        notify(
            Some(path.as_os_str()),
            Notification::Ready("listening\non both"),
        )
        .unwrap();
        notify(Some(path.as_os_str()), Notification::Stopping("stopping")).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(received(&systemd), "READY=1\nSTATUS=listening on both");
        assert_eq!(received(&systemd), "STOPPING=1\nSTATUS=stopping");
    }

    #[test]
    fn notifies_a_socket_in_the_abstract_namespace() {
        let name = format!("stackhook-notify-{}", std::process::id());
        let at = SocketAddr::from_abstract_name(&name).unwrap();
        let systemd = UnixDatagram::bind_addr(&at).unwrap();
        let socket = OsString::from(format!("@{name}"));
        notify(Some(&socket), Notification::Ready("here")).unwrap();
        assert_eq!(received(&systemd), "READY=1\nSTATUS=here");
    }

    #[test]
    fn an_unreachable_socket_is_an_error_and_a_missing_variable_is_not() {
        #[track_caller]
        fn check(socket: Option<&str>, fine: bool) {
            let sent = notify(socket.map(OsStr::new), Notification::Ready("here"));
            assert_eq!(sent.is_ok(), fine, "{sent:?}");
        }
        check(None, true);
        check(Some(""), true);
        check(Some("/no/socket"), false);
        check(Some("@stackhook-no-socket"), false);
        check(Some("vsock:2:1"), false);
    }
}
