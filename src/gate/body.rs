//! The body of a request: read to the end that its framing states, within `max_body`, and with room reserved for what is large.
//! Where bytes come from, and by when, belongs to whoever gives the source.

use std::io::{self, ErrorKind, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::allowed::Memory;
use super::head::Framing;
use crate::limits;
use crate::request::Refusal;

/// Why there is no whole request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Broken {
    /// The client is told.
    Refused(Refusal),
    /// There is nobody to tell.
    Gone,
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Broken {
        match error.kind() {
            ErrorKind::TimedOut | ErrorKind::WouldBlock => Broken::Refused(Refusal::TooSlow),
            _ => Broken::Gone,
        }
    }
}

impl From<Refusal> for Broken {
    fn from(why: Refusal) -> Broken {
        Broken::Refused(why)
    }
}

/// Room for large bodies, all of them together.
#[derive(Debug)]
pub(super) struct Room {
    size: usize,
    taken: AtomicUsize,
    memory: Memory,
}

/// What a body holds of the room; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Share {
    room: Arc<Room>,
    held: usize,
}

impl Room {
    /// `size` in bytes, as long as there is memory.
    pub(super) fn new(size: usize, memory: Memory) -> Room {
        Room {
            size,
            taken: AtomicUsize::new(0),
            memory,
        }
    }
}

impl Share {
    fn none(room: &Arc<Room>) -> Share {
        Share {
            room: Arc::clone(room),
            held: 0,
        }
    }

    /// Holds as much as a body of this size needs.
    fn hold(&mut self, size: usize) -> Result<(), Refusal> {
        let needed = if size > limits::SMALL_BODY { size } else { 0 };
        let more = needed.saturating_sub(self.held);
        let fits = |taken: usize| taken.checked_add(more).filter(|sum| *sum <= self.room.size);
        let order = Ordering::SeqCst;
        match self.room.taken.fetch_update(order, order, fits) {
            Ok(_) => {
                self.held += more;
                Ok(())
            }
            Err(_) => Err(Refusal::Busy),
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.room.taken.fetch_sub(self.held, Ordering::SeqCst);
    }
}

/// A body that may come.
#[derive(Debug)]
pub(super) struct Coming {
    framing: Framing,
    max: usize,
    share: Share,
}

/// A body that is complete.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) bytes: Vec<u8>,
    /// To be kept as long as the bytes are.
    pub(super) share: Share,
    /// The client sent more than its request.
    pub(super) more: bool,
}

impl Coming {
    /// What the head says of the body is checked, and room is reserved, before anything of it is read.
    ///
    /// # Errors
    /// It is too large, or there is no room.
    pub(super) fn new(framing: Framing, max: usize, room: &Arc<Room>) -> Result<Coming, Refusal> {
        let mut share = Share::none(room);
        match framing {
            Framing::Length(length) if length > max => return Err(Refusal::TooLarge),
            Framing::Length(length) => share.hold(length)?,
            Framing::Chunked => {}
        }
        Ok(Coming {
            framing,
            max,
            share,
        })
    }

    /// Reads all of it: `start` came together with the head, the rest from `source`.
    ///
    /// # Errors
    /// See [`Broken`].
    pub(super) fn read(self, start: &[u8], source: &mut impl Read) -> Result<Whole, Broken> {
        match self.framing {
            Framing::Length(length) => self.counted(length, start, source),
            Framing::Chunked => self.chunked(start, source),
        }
    }

    fn counted(self, length: usize, start: &[u8], source: &mut impl Read) -> Result<Whole, Broken> {
        let mut bytes = Vec::new();
        self.share.room.memory.reserve(&mut bytes, length)?;
        bytes.extend_from_slice(start.get(..length).unwrap_or(start));
        let mut part = vec![0; (length - bytes.len()).min(PART)];
        while bytes.len() < length {
            let wanted = (length - bytes.len()).min(PART);
            let read = some(source, part.get_mut(..wanted).unwrap_or_default())?;
            bytes.extend_from_slice(part.get(..read).unwrap_or_default());
        }
        Ok(Whole {
            bytes,
            share: self.share,
            more: start.len() > length,
        })
    }

    fn chunked(mut self, start: &[u8], source: &mut impl Read) -> Result<Whole, Broken> {
        let mut bytes = Vec::new();
        let mut chunks = Chunks::new(self.max);
        let mut part = Vec::new();
        let mut now = start;
        loop {
            self.share.room.memory.reserve(&mut bytes, now.len())?;
            let used = chunks.decode(now, &mut bytes)?;
            self.share.hold(bytes.len())?;
            if let Some(used) = used {
                return Ok(Whole {
                    bytes,
                    share: self.share,
                    more: used < now.len(),
                });
            }
            part.resize(PART, 0);
            let read = some(source, &mut part)?;
            now = part.get(..read).unwrap_or_default();
        }
    }
}

/// Read at once (bytes). Not on the stack: what one thread's has ever held stays with the process.
const PART: usize = 16 * 1024;

/// A read that brings something.
pub(super) fn some(source: &mut impl Read, into: &mut [u8]) -> Result<usize, Broken> {
    loop {
        match source.read(into) {
            Ok(0) => return Err(Refusal::BadHead.into()),
            Ok(read) => return Ok(read),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Decodes chunks (RFC 9112 section 7.1) as they come.
#[derive(Debug)]
struct Chunks {
    max: usize,
    state: State,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// In the line that states a size.
    Size {
        size: Option<usize>,
        /// Bytes of the line.
        length: usize,
        part: SizeLine,
    },
    /// So much is to come.
    Data(usize),
    /// After the data: this byte.
    DataEnd(u8),
    /// In what follows the last chunk.
    Trailer {
        /// Bytes of all lines.
        length: usize,
        /// Bytes of this line.
        line: usize,
        returned: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SizeLine {
    Digits,
    /// After a semicolon, or the blanks before one.
    Extension,
    Returned,
}

const SIZE: State = State::Size {
    size: None,
    length: 0,
    part: SizeLine::Digits,
};

impl Chunks {
    /// `max`: the largest body.
    fn new(max: usize) -> Chunks {
        Chunks { max, state: SIZE }
    }

    /// Appends the data in `input`; at the end of the body, how much of the input belonged to it.
    fn decode(&mut self, input: &[u8], to: &mut Vec<u8>) -> Result<Option<usize>, Refusal> {
        let mut at = 0;
        while let Some(byte) = input.get(at) {
            if let State::Data(left) = self.state {
                let rest = input.get(at..).unwrap_or_default();
                let now = rest.get(..left).unwrap_or(rest);
                to.extend_from_slice(now);
                at += now.len();
                self.state = match left - now.len() {
                    0 => State::DataEnd(b'\r'),
                    left => State::Data(left),
                };
                continue;
            }
            at += 1;
            match self.next(*byte, to.len())? {
                Some(state) => self.state = state,
                None => return Ok(Some(at)),
            }
        }
        Ok(None)
    }

    /// The state after a byte that is no data; `None`: the body is complete.
    fn next(&self, byte: u8, so_far: usize) -> Result<Option<State>, Refusal> {
        let state = match self.state {
            State::Size { size, length, part } => {
                self.size_line(size, length, part, byte, so_far)?
            }
            State::DataEnd(expected) if byte == expected => match byte {
                b'\r' => State::DataEnd(b'\n'),
                _ => SIZE,
            },
            State::Trailer {
                line: 0,
                returned: true,
                ..
            } if byte == b'\n' => return Ok(None),
            State::Trailer {
                length,
                line,
                returned,
            } => trailer(length, line, returned, byte)?,
            State::Data(_) | State::DataEnd(_) => return Err(Refusal::BadHead),
        };
        Ok(Some(state))
    }

    fn size_line(
        &self,
        size: Option<usize>,
        length: usize,
        part: SizeLine,
        byte: u8,
        so_far: usize,
    ) -> Result<State, Refusal> {
        let length = length + 1;
        if length > limits::CHUNK_LINE {
            return Err(Refusal::BadHead);
        }
        let digit = char::from(byte).to_digit(16);
        let digit = digit.and_then(|digit| usize::try_from(digit).ok());
        let state = |size, part| Ok(State::Size { size, length, part });
        match (part, byte, size, digit) {
            (SizeLine::Digits, _, _, Some(digit)) => {
                let size = size.unwrap_or(0).checked_mul(16);
                let size = size.and_then(|size| size.checked_add(digit));
                let sum = size.and_then(|size| size.checked_add(so_far));
                match (size, sum) {
                    (Some(size), Some(sum)) if sum <= self.max => {
                        state(Some(size), SizeLine::Digits)
                    }
                    _ => Err(Refusal::TooLarge),
                }
            }
            (SizeLine::Digits, b';' | b' ' | b'\t', Some(_), _) => state(size, SizeLine::Extension),
            (SizeLine::Digits | SizeLine::Extension, b'\r', Some(_), _) => {
                state(size, SizeLine::Returned)
            }
            (SizeLine::Extension, b'\t' | b' '..=b'~' | 0x80.., ..) => {
                state(size, SizeLine::Extension)
            }
            (SizeLine::Returned, b'\n', Some(0), _) => Ok(State::Trailer {
                length: 0,
                line: 0,
                returned: false,
            }),
            (SizeLine::Returned, b'\n', Some(size), _) => Ok(State::Data(size)),
            _ => Err(Refusal::BadHead),
        }
    }
}

fn trailer(length: usize, line: usize, returned: bool, byte: u8) -> Result<State, Refusal> {
    let length = length + 1;
    if length > limits::TRAILERS {
        return Err(Refusal::HeadTooLarge);
    }
    let (line, returned) = match (byte, returned) {
        (b'\n', true) => (0, false),
        (b'\r', false) => (line, true),
        (b'\t' | b' '..=b'~' | 0x80.., false) => (line + 1, false),
        _ => return Err(Refusal::BadHead),
    };
    Ok(State::Trailer {
        length,
        line,
        returned,
    })
}

#[cfg(test)]
mod tests;
