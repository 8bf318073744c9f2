//! Decodes the body of a request as it arrives, up to the end that its framing states and within `max_body`. Memory is taken for
//! bytes that have arrived, never for announced ones.

use super::Refusal;
use super::parse::Framing;

/// The line that states the size of a chunk, with its end (bytes).
const CHUNK_LINE_MAX: usize = 64;
/// Trailers after the last chunk, which are dropped (bytes).
const TRAILERS_MAX: usize = 4 * 1024;

/// A body that is being received.
#[derive(Debug)]
pub(super) struct BodyDecoder {
    bytes: Vec<u8>,
    max: usize,
    next: Next,
    /// The line of the chunked framing that is being received.
    line: Vec<u8>,
    /// Bytes of all trailers.
    trailers: usize,
}

/// The part of a body that comes next (RFC 9112 section 7.1).
#[derive(Debug, Clone, Copy)]
enum Next {
    /// `Content-Length`: bytes still missing.
    Counted(usize),
    /// The line that states the size of a chunk.
    Size,
    /// Bytes of the chunk still missing.
    Data(usize),
    /// The empty line after a chunk.
    DataEnd,
    /// A trailer, or the empty line that ends the body.
    Trailer,
}

impl BodyDecoder {
    /// Errors: the announced length is larger than `max`.
    pub(super) fn new(framing: Framing, max: usize) -> Result<BodyDecoder, Refusal> {
        let next = match framing {
            Framing::Length(length) if length > max => return Err(Refusal::BodyTooLarge),
            Framing::Length(length) => Next::Counted(length),
            Framing::Chunked => Next::Size,
        };
        Ok(BodyDecoder {
            bytes: Vec::new(),
            max,
            next,
            line: Vec::new(),
            trailers: 0,
        })
    }

    /// Decodes more input. Returns the number of bytes that belonged to the body once it is complete.
    ///
    /// Errors: the framing is malformed, the body too large, or memory has run out.
    pub(super) fn feed(&mut self, input: &[u8]) -> Result<Option<usize>, Refusal> {
        let mut rest = input;
        loop {
            if let Next::Counted(0) = self.next {
                return Ok(Some(input.len() - rest.len()));
            }
            let Some((byte, after)) = rest.split_first() else {
                return Ok(None);
            };
            if let Next::Counted(missing) | Next::Data(missing) = self.next {
                let (data, after) = rest.split_at(missing.min(rest.len()));
                self.append(data)?;
                rest = after;
                let missing = missing - data.len();
                self.next = match self.next {
                    Next::Counted(_) => Next::Counted(missing),
                    _ if missing == 0 => Next::DataEnd,
                    _ => Next::Data(missing),
                };
                continue;
            }
            rest = after;
            if self.ends_line(*byte)? && self.end_line()? {
                return Ok(Some(input.len() - rest.len()));
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
            let expected = match self.next {
                Next::Counted(missing) => self.bytes.len() + missing,
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

    /// Adds a byte to the current line. Returns whether it ends the line.
    fn ends_line(&mut self, byte: u8) -> Result<bool, Refusal> {
        let after_cr = self.line.last() == Some(&b'\r');
        self.line.push(byte);
        match self.next {
            Next::Trailer => {
                self.trailers += 1;
                if self.trailers > TRAILERS_MAX {
                    return Err(Refusal::HeadTooLarge);
                }
            }
            Next::DataEnd if self.line.len() <= 2 && byte.is_ascii_control() => {}
            Next::Size if self.line.len() <= CHUNK_LINE_MAX => {
                self.chunk_size()?;
            }
            _ => return Err(Refusal::Malformed),
        }
        match (byte, after_cr) {
            (b'\n', true) => Ok(true),
            (b'\r' | b'\t' | b' '..=b'~' | 0x80.., false) => Ok(false),
            _ => Err(Refusal::Malformed),
        }
    }

    /// Acts on a complete line. Returns whether it was the last one.
    fn end_line(&mut self) -> Result<bool, Refusal> {
        self.next = match self.next {
            Next::Size => match self.chunk_size()? {
                0 => Next::Trailer,
                size => Next::Data(size),
            },
            Next::Trailer if self.line.len() > 2 => Next::Trailer,
            Next::Trailer => return Ok(true),
            _ => Next::Size,
        };
        self.line.clear();
        Ok(false)
    }

    /// The size in the current line, as far as it has arrived. Blanks and extensions may follow it.
    fn chunk_size(&self) -> Result<usize, Refusal> {
        let digits = self.line.iter().take_while(|byte| byte.is_ascii_hexdigit());
        let (digits, rest) = self.line.split_at(digits.count());
        let digits = std::str::from_utf8(digits).unwrap_or_default();
        if digits.is_empty() || !matches!(rest.first(), None | Some(b';' | b' ' | b'\t' | b'\r')) {
            return Err(Refusal::Malformed);
        }
        let size = usize::from_str_radix(digits, 16).map_err(|_| Refusal::BodyTooLarge)?;
        match self.bytes.len().checked_add(size) {
            Some(sum) if sum <= self.max => Ok(size),
            _ => Err(Refusal::BodyTooLarge),
        }
    }
}

#[cfg(test)]
mod tests;
