//! Tells systemd when the service is ready and when it stops (`Type=notify`). When that is, the caller knows; without
//! systemd nothing happens.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The variable by which systemd says where it listens.
pub(crate) const NOTIFY_SOCKET: &str = "NOTIFY_SOCKET";

/// What systemd is told; `systemctl status` shows the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Say<'a> {
    /// Requests are answered from now on.
    Ready(&'a str),
    /// No new requests are taken, and the process ends soon.
    Stopping(&'a str),
}

/// Sends one datagram to where [`NOTIFY_SOCKET`] points (`sd_notify(3)`); empty counts as not set. Errors are those of the
/// socket: nobody listens, or the address is none.
pub(crate) fn say(socket: Option<&OsStr>, what: Say<'_>) -> io::Result<()> {
    let Some(socket) = socket.filter(|socket| !socket.is_empty()) else {
        return Ok(());
    };
    // Never waits: a systemd that does not read must not keep the service from serving.
    let from = UnixDatagram::unbound()?;
    from.set_nonblocking(true)?;
    from.send_to_addr(what.message().as_bytes(), &address(socket)?)?;
    Ok(())
}

impl fmt::Display for Say<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Say::Ready(_) => "ready",
            Say::Stopping(_) => "stopping",
        })
    }
}

impl Say<'_> {
    /// Lines of `NAME=value`; a text stays one line.
    fn message(self) -> String {
        let (state, text) = match self {
            Say::Ready(text) => ("READY=1", text),
            Say::Stopping(text) => ("STOPPING=1", text),
        };
        format!("{state}\nSTATUS={}", text.replace('\n', " "))
    }
}

/// A path, or with `@` in front a name in Linux' abstract namespace.
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
    fn a_socket_with_a_path_is_told() {
        let path = std::env::temp_dir().join(format!("stackhook-notify-{}", std::process::id()));
        let systemd = UnixDatagram::bind(&path).unwrap();
        say(Some(path.as_os_str()), Say::Ready("listening\non both")).unwrap();
        say(Some(path.as_os_str()), Say::Stopping("stopping")).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(received(&systemd), "READY=1\nSTATUS=listening on both");
        assert_eq!(received(&systemd), "STOPPING=1\nSTATUS=stopping");
    }

    #[test]
    fn a_socket_in_the_abstract_namespace_is_told() {
        let name = format!("stackhook-notify-{}", std::process::id());
        let at = SocketAddr::from_abstract_name(&name).unwrap();
        let systemd = UnixDatagram::bind_addr(&at).unwrap();
        let socket = OsString::from(format!("@{name}"));
        say(Some(&socket), Say::Ready("here")).unwrap();
        assert_eq!(received(&systemd), "READY=1\nSTATUS=here");
    }

    #[test]
    fn what_cannot_be_told_is_an_error_and_no_systemd_is_none() {
        #[track_caller]
        fn check(socket: Option<&str>, fine: bool) {
            let told = say(socket.map(OsStr::new), Say::Ready("here"));
            assert_eq!(told.is_ok(), fine, "{told:?}");
        }
        check(None, true);
        check(Some(""), true);
        check(Some("/nobody/listens"), false);
        check(Some("@stackhook-nobody-listens"), false);
        check(Some("vsock:2:1"), false);
    }
}
