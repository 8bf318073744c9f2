//! Decodes the body of a request as it arrives, up to the end that its framing states and within `max_body`. Memory is taken for
//! bytes that have arrived, never for announced ones.

use super::Refusal;
use super::parse::Framing;

/// The line that states the size of a chunk (bytes).
const CHUNK_LINE_MAX: usize = 64;
/// Trailers after the last chunk, which are dropped (bytes).
const TRAILERS_MAX: usize = 4 * 1024;

/// A body that is being received.
#[derive(Debug)]
pub(super) struct Body {
    bytes: Vec<u8>,
    max: usize,
    state: State,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// `Content-Length`: bytes still missing.
    Counted(usize),
    /// In the line that states a chunk's size (RFC 9112 section 7.1).
    Size {
        size: Option<usize>,
        /// Bytes of the line.
        length: usize,
        part: SizeLine,
    },
    /// Bytes of the chunk still missing.
    Data(usize),
    /// After a chunk's data: this byte must follow.
    DataEnd(u8),
    /// In the trailers.
    Trailer {
        /// Bytes of all trailer lines.
        length: usize,
        /// Bytes of the current line.
        line: usize,
        after_cr: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SizeLine {
    Digits,
    /// After a semicolon, or the blanks before it.
    Extension,
    AfterCr,
}

const SIZE: State = State::Size {
    size: None,
    length: 0,
    part: SizeLine::Digits,
};

impl Body {
    /// # Errors
    /// The announced length is larger than `max`.
    pub(super) fn new(framing: Framing, max: usize) -> Result<Body, Refusal> {
        let state = match framing {
            Framing::Length(length) if length > max => return Err(Refusal::TooLarge),
            Framing::Length(length) => State::Counted(length),
            Framing::Chunked => SIZE,
        };
        Ok(Body {
            bytes: Vec::new(),
            max,
            state,
        })
    }

    /// Decodes more input. Returns the number of bytes that belonged to the body once it is complete.
    ///
    /// # Errors
    /// The framing is malformed, the body too large, or there is no memory.
    pub(super) fn feed(&mut self, input: &[u8]) -> Result<Option<usize>, Refusal> {
        let mut at = 0;
        loop {
            if let State::Counted(0) = self.state {
                return Ok(Some(at));
            }
            let rest = input.get(at..).unwrap_or_default();
            let Some(byte) = rest.first() else {
                return Ok(None);
            };
            if let State::Counted(missing) | State::Data(missing) = self.state {
                let data = rest.get(..missing).unwrap_or(rest);
                self.append(data)?;
                at += data.len();
                let missing = missing - data.len();
                self.state = match self.state {
                    State::Counted(_) => State::Counted(missing),
                    _ if missing == 0 => State::DataEnd(b'\r'),
                    _ => State::Data(missing),
                };
                continue;
            }
            at += 1;
            match self.next_state(*byte)? {
                Some(state) => self.state = state,
                None => return Ok(Some(at)),
            }
        }
    }

    /// Memory taken (bytes).
    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Grows by half instead of doubling, and never beyond the largest possible body. An allocation that fails refuses the request
    /// instead of aborting the process.
    fn append(&mut self, data: &[u8]) -> Result<(), Refusal> {
        let length = self.bytes.len() + data.len();
        if length > self.bytes.capacity() {
            let expected = match self.state {
                State::Counted(missing) => self.bytes.len() + missing,
                _ => self.max,
            };
            let capacity = (self.bytes.capacity() * 3 / 2).clamp(length, expected.max(length));
            self.bytes
                .try_reserve_exact(capacity - self.bytes.len())
                .map_err(|_| Refusal::Busy)?;
        }
        self.bytes.extend_from_slice(data);
        Ok(())
    }

    /// The state after a byte that is not data; `None` if the body is complete.
    fn next_state(&self, byte: u8) -> Result<Option<State>, Refusal> {
        let state = match self.state {
            State::Size { size, length, part } => self.size_line(size, length, part, byte)?,
            State::DataEnd(expected) if byte == expected => match byte {
                b'\r' => State::DataEnd(b'\n'),
                _ => SIZE,
            },
            State::Trailer {
                line: 0,
                after_cr: true,
                ..
            } if byte == b'\n' => return Ok(None),
            State::Trailer {
                length,
                line,
                after_cr,
            } => trailer(length, line, after_cr, byte)?,
            State::Counted(_) | State::Data(_) | State::DataEnd(_) => {
                return Err(Refusal::BadHead);
            }
        };
        Ok(Some(state))
    }

    fn size_line(
        &self,
        size: Option<usize>,
        length: usize,
        part: SizeLine,
        byte: u8,
    ) -> Result<State, Refusal> {
        let length = length + 1;
        if length > CHUNK_LINE_MAX {
            return Err(Refusal::BadHead);
        }
        let digit = char::from(byte).to_digit(16);
        let digit = digit.and_then(|digit| usize::try_from(digit).ok());
        let state = |size, part| Ok(State::Size { size, length, part });
        match (part, byte, size, digit) {
            (SizeLine::Digits, _, _, Some(digit)) => {
                let size = size.unwrap_or(0).checked_mul(16);
                let size = size.and_then(|size| size.checked_add(digit));
                let sum = size.and_then(|size| size.checked_add(self.bytes.len()));
                match (size, sum) {
                    (Some(size), Some(sum)) if sum <= self.max => {
                        state(Some(size), SizeLine::Digits)
                    }
                    _ => Err(Refusal::TooLarge),
                }
            }
            (SizeLine::Digits, b';' | b' ' | b'\t', Some(_), _) => state(size, SizeLine::Extension),
            (SizeLine::Digits | SizeLine::Extension, b'\r', Some(_), _) => {
                state(size, SizeLine::AfterCr)
            }
            (SizeLine::Extension, b'\t' | b' '..=b'~' | 0x80.., ..) => {
                state(size, SizeLine::Extension)
            }
            (SizeLine::AfterCr, b'\n', Some(0), _) => Ok(State::Trailer {
                length: 0,
                line: 0,
                after_cr: false,
            }),
            (SizeLine::AfterCr, b'\n', Some(size), _) => Ok(State::Data(size)),
            _ => Err(Refusal::BadHead),
        }
    }
}

fn trailer(length: usize, line: usize, after_cr: bool, byte: u8) -> Result<State, Refusal> {
    let length = length + 1;
    if length > TRAILERS_MAX {
        return Err(Refusal::HeadTooLarge);
    }
    let (line, after_cr) = match (byte, after_cr) {
        (b'\n', true) => (0, false),
        (b'\r', false) => (line, true),
        (b'\t' | b' '..=b'~' | 0x80.., false) => (line + 1, false),
        _ => return Err(Refusal::BadHead),
    };
    Ok(State::Trailer {
        length,
        line,
        after_cr,
    })
}

#[cfg(test)]
mod tests;
