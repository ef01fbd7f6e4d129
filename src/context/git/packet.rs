//! pkt-lines (gitprotocol-common "pkt-line Format"), and the pack in their side band.

use bytes::{Buf, Bytes, BytesMut};

use crate::http::printable;

use super::error::GitError;

/// The longest packet, its own length included.
const PACKET_MAX: usize = 65520;
/// Bytes of references and other talk that are read from one answer at most; the pack has a limit of its own.
const TALK_MAX: u64 = 256 << 20;
/// Characters of a server's message that are shown.
const MESSAGE_MAX: usize = 1000;

/// Where bytes of an answer come from.
pub(super) trait Chunks {
    /// Waits for the next bytes; `None` at the end.
    fn next(&mut self) -> Result<Option<Bytes>, GitError>;
}

/// One packet.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Packet {
    /// A line or other data.
    Data(Bytes),
    /// `0000`
    Flush,
    /// `0001`
    Delimiter,
    /// `0002`
    ResponseEnd,
}

/// The packets of an answer.
pub(super) struct Packets<'a> {
    chunks: &'a mut dyn Chunks,
    buffer: BytesMut,
    talk: u64,
    url: String,
}

impl<'a> Packets<'a> {
    pub(super) fn new(chunks: &'a mut dyn Chunks, url: &str) -> Self {
        Self {
            chunks,
            buffer: BytesMut::new(),
            talk: 0,
            url: url.to_owned(),
        }
    }

    /// Reads the next packet; the answer must not end here.
    pub(super) fn next(&mut self) -> Result<Packet, GitError> {
        self.fill(4)?;
        let length = std::str::from_utf8(&self.buffer[..4])
            .ok()
            .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
            .and_then(|digits| usize::from_str_radix(digits, 16).ok())
            .filter(|length| *length <= PACKET_MAX && *length != 3);
        let Some(length) = length else {
            return Err(self.not_git("a packet has no proper length"));
        };
        self.buffer.advance(4);
        Ok(match length {
            0 => Packet::Flush,
            1 => Packet::Delimiter,
            2 => Packet::ResponseEnd,
            length => {
                self.fill(length - 4)?;
                Packet::Data(self.buffer.split_to(length - 4).freeze())
            }
        })
    }

    /// Reads a line without its end; `None` at a flush, a delimiter or the end of the response.
    pub(super) fn line(&mut self) -> Result<Option<String>, GitError> {
        let Packet::Data(bytes) = self.next()? else {
            return Ok(None);
        };
        self.talk += bytes.len() as u64;
        if self.talk > TALK_MAX {
            return Err(GitError::TooLarge {
                url: self.url.clone(),
                limit: TALK_MAX,
                what: "bytes of references",
            });
        }
        let text = String::from_utf8_lossy(&bytes);
        let text = text.strip_suffix('\n').unwrap_or(&text);
        match text.strip_prefix("ERR ") {
            Some(message) => Err(self.server(message.as_bytes())),
            None => Ok(Some(text.to_owned())),
        }
    }

    /// Reads the pack out of the side band to its end.
    pub(super) fn side_band(
        &mut self,
        mut on_pack: impl FnMut(&[u8]) -> Result<(), GitError>,
    ) -> Result<(), GitError> {
        let mut progress = Vec::new();
        loop {
            let Packet::Data(mut bytes) = self.next()? else {
                return Ok(());
            };
            if bytes.is_empty() {
                return Err(self.not_git("a packet of the side band is empty"));
            }
            match bytes.get_u8() {
                1 => on_pack(&bytes)?,
                2 => {
                    let room = MESSAGE_MAX.saturating_sub(progress.len());
                    progress.extend_from_slice(&bytes[..bytes.len().min(room)]);
                }
                3 => return Err(self.server(&bytes)),
                _ if bytes.starts_with(b"RR ") => return Err(self.server(&bytes[3..])),
                _ => return Err(self.not_git("the side band has no such channel")),
            }
        }
    }

    /// Reads what follows until the other side ends.
    pub(super) fn drain(&mut self) -> Result<(), GitError> {
        while self.chunks.next()?.is_some() {}
        Ok(())
    }

    fn server(&self, message: &[u8]) -> GitError {
        GitError::Server {
            url: self.url.clone(),
            message: printable(&String::from_utf8_lossy(message), MESSAGE_MAX),
        }
    }

    fn not_git(&self, reason: &str) -> GitError {
        GitError::NotGit {
            url: self.url.clone(),
            reason: reason.to_owned(),
        }
    }

    fn fill(&mut self, wanted: usize) -> Result<(), GitError> {
        while self.buffer.len() < wanted {
            match self.chunks.next()? {
                Some(bytes) => self.buffer.extend_from_slice(&bytes),
                None => return Err(self.not_git("the answer ends early")),
            }
        }
        Ok(())
    }
}

/// Appends a line to a request.
pub(super) fn push_line(request: &mut Vec<u8>, line: &str) {
    request.extend_from_slice(format!("{:04x}{line}\n", line.len() + 5).as_bytes());
}

/// The packet that ends a request or a part of it.
pub(super) const FLUSH: &[u8] = b"0000";
/// The packet between the command and its arguments.
pub(super) const DELIMITER: &[u8] = b"0001";

#[cfg(test)]
mod tests {
    use super::*;

    struct Parts(Vec<&'static [u8]>);

    impl Chunks for Parts {
        fn next(&mut self) -> Result<Option<Bytes>, GitError> {
            let is_empty = self.0.is_empty();
            Ok((!is_empty).then(|| Bytes::from_static(self.0.remove(0))))
        }
    }

    #[test]
    fn packets_are_read_across_chunks() {
        let mut parts = Parts(vec![b"00", b"09he", b"llo000100", b"000002"]);
        let mut packets = Packets::new(&mut parts, "x");
        let mut next = || packets.next().expect("a packet");
        assert_eq!(next(), Packet::Data(Bytes::from_static(b"hello")));
        assert_eq!(next(), Packet::Delimiter);
        assert_eq!(next(), Packet::Flush);
        assert_eq!(next(), Packet::ResponseEnd);
        assert!(matches!(packets.next(), Err(GitError::NotGit { .. })));
    }

    #[test]
    fn what_is_no_packet_is_refused() {
        for bytes in [&b"0003"[..], b"fff1", b"+001", b"zzzz", b"0009he", b"<htm"] {
            let mut parts = Parts(vec![bytes]);
            let mut packets = Packets::new(&mut parts, "x");
            assert!(matches!(packets.next(), Err(GitError::NotGit { .. })));
        }
    }

    #[test]
    fn a_servers_words_are_an_error_and_printable() {
        let mut parts = Parts(vec![b"000fERR no\x1b[2J\n"]);
        let error = Packets::new(&mut parts, "x").line().expect_err("an error");
        assert_eq!(error.to_string(), r"x says: no\u{1b}[2J");
        let mut parts = Parts(vec![b"0008\x01abc0009\x03fatal"]);
        let mut pack = Vec::new();
        let result = Packets::new(&mut parts, "x").side_band(|bytes| {
            pack.extend_from_slice(bytes);
            Ok(())
        });
        assert!(matches!(result, Err(GitError::Server { .. })));
        assert_eq!(pack, b"abc");
    }

    #[test]
    fn lines_get_their_length() {
        let mut request = Vec::new();
        push_line(&mut request, "done");
        assert_eq!(request, b"0009done\n");
    }
}
