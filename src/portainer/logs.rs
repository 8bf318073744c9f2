//! The log of a container: Docker's frames become text.

use crate::limits;

/// The end of the log, as text. Docker puts eight bytes before every piece (stream, three zeros, length) unless the container has a terminal.
pub(super) fn text(bytes: &[u8]) -> String {
    let mut plain = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((frame, after)) = frame(rest) {
        plain.extend_from_slice(frame);
        rest = after;
    }
    // Without a terminal nothing is left here; with one, everything is.
    plain.extend_from_slice(rest);
    let start = plain.len().saturating_sub(limits::LOG_KEPT);
    let end = plain.get(start..).unwrap_or_default();
    let text = String::from_utf8_lossy(end);
    // A character that was cut in two stands at the front as a mark that it could not be read.
    match start {
        0 => text.into_owned(),
        _ => text
            .trim_start_matches(char::REPLACEMENT_CHARACTER)
            .to_owned(),
    }
}

fn frame(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (header, rest) = bytes.split_first_chunk::<8>()?;
    let [0..=2, 0, 0, 0, length @ ..] = *header else {
        return None;
    };
    let length = usize::try_from(u32::from_be_bytes(length)).ok()?;
    // The last frame may have been cut off by the limit on what is read.
    Some(rest.split_at(length.min(rest.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(stream: u8, text: &str) -> Vec<u8> {
        let length = u32::try_from(text.len()).unwrap().to_be_bytes();
        [&[stream, 0, 0, 0][..], &length, text.as_bytes()].concat()
    }

    #[track_caller]
    fn check(bytes: &[u8], plain: &str) {
        assert_eq!(text(bytes), plain);
    }

    #[test]
    fn frames_become_lines() {
        check(b"", "");
        check(
            &[framed(1, "starting\n"), framed(2, "fatal\n")].concat(),
            "starting\nfatal\n",
        );
        check(&framed(1, ""), "");
        let cut_off = framed(2, "fatal\n");
        check(&cut_off[..11], "fat");
    }

    #[test]
    fn the_log_of_a_terminal_has_no_frames() {
        check(b"> hello\r\n> bye\r\n", "> hello\r\n> bye\r\n");
    }

    #[test]
    fn of_a_long_log_the_end_is_kept() {
        let long = "é".repeat(limits::LOG_KEPT);
        let kept = text(&framed(1, &format!("{long}!")));
        assert!(kept.len() <= limits::LOG_KEPT);
        assert!(kept.ends_with("éé!"));
        assert!(kept.starts_with('é'));
    }
}
