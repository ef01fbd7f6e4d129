//! What a pack claims, checked before libgit2 sees it (gitformat-pack): how many objects there are and how large each
//! becomes. A delta of some bytes can stand for a gigabyte, and a server can say anything; so memory is bounded here.

use flate2::{Decompress, FlushDecompress, Status};

/// Bytes that are unpacked at once, to be counted and forgotten.
const SCRATCH: usize = 32 * 1024;
/// Two numbers of up to ten bytes stand in front of a delta.
const DELTA_HEAD: usize = 20;
/// The head of a pack: magic, version, count.
const HEAD: usize = 12;
/// The checksum at its end.
const TRAILER: usize = 20;
/// The name of a delta's base.
const BASE_NAME: usize = 20;

/// What is accepted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// The most objects.
    pub(super) objects: u32,
    /// The most bytes of one object, unpacked.
    pub(super) object: u64,
    /// The most bytes of all objects, unpacked.
    pub(super) unpacked: u64,
}

/// Why a pack is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It is no pack.
    Malformed(&'static str),
    /// It is more than is accepted.
    TooLarge {
        /// The limit.
        limit: u64,
        /// Of what.
        what: &'static str,
    },
}

/// Follows a pack while it comes in.
pub(super) struct Guard {
    limits: Limits,
    place: Place,
    /// Bytes of a head that is not whole yet.
    held: Vec<u8>,
    left: u32,
    unpacked: u64,
    inflate: Decompress,
    scratch: Box<[u8]>,
}

/// Where in the pack the next byte belongs.
enum Place {
    Head,
    /// Type and size of an object.
    Object,
    /// How far back the base of a delta is.
    Offset(u64),
    /// The name of a delta's base.
    Base(u64),
    /// Compressed bytes.
    Data {
        size: u64,
        /// What a delta begins with, until both of its sizes are known.
        delta: Option<Vec<u8>>,
    },
    Trailer,
}

impl Guard {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            place: Place::Head,
            held: Vec::new(),
            left: 0,
            unpacked: 0,
            inflate: Decompress::new(true),
            scratch: vec![0; SCRATCH].into_boxed_slice(),
        }
    }

    /// Follows the next bytes.
    pub(super) fn check(&mut self, mut bytes: &[u8]) -> Result<(), Fault> {
        while !bytes.is_empty() {
            if let Place::Data { .. } = self.place {
                let taken = self.data(bytes)?;
                bytes = &bytes[taken..];
            } else {
                self.held.push(bytes[0]);
                bytes = &bytes[1..];
                self.head()?;
            }
        }
        Ok(())
    }

    /// Says whether all of it was there.
    pub(super) fn finish(&self) -> Result<(), Fault> {
        match self.place {
            Place::Trailer if self.held.len() == TRAILER => Ok(()),
            _ => Err(Fault::Malformed("the pack ends early")),
        }
    }

    /// Looks at what is held of a head, after one more byte.
    fn head(&mut self) -> Result<(), Fault> {
        let held = &self.held;
        let last = held.last().copied().unwrap_or_default();
        let is_whole = match &self.place {
            Place::Head => held.len() == HEAD,
            Place::Object | Place::Offset(_) => last & 0x80 == 0,
            Place::Base(_) => held.len() == BASE_NAME,
            Place::Trailer if held.len() > TRAILER => {
                return Err(Fault::Malformed("bytes follow the pack"));
            }
            Place::Data { .. } | Place::Trailer => false,
        };
        if !is_whole {
            return match self.place {
                Place::Object | Place::Offset(_) if held.len() >= 10 => {
                    Err(Fault::Malformed("a number in the pack has no end"))
                }
                _ => Ok(()),
            };
        }
        self.place = match self.place {
            Place::Head => self.opened()?,
            Place::Object => self.object()?,
            Place::Offset(size) | Place::Base(size) => Place::Data {
                size,
                delta: Some(Vec::new()),
            },
            Place::Data { .. } | Place::Trailer => return Ok(()),
        };
        self.held.clear();
        Ok(())
    }

    fn opened(&mut self) -> Result<Place, Fault> {
        let version = number(&self.held[4..8]);
        if &self.held[..4] != b"PACK" || !(2..=3).contains(&version) {
            return Err(Fault::Malformed("what the server sent is no pack"));
        }
        self.left = number(&self.held[8..12]);
        if self.left > self.limits.objects {
            return Err(Fault::TooLarge {
                limit: self.limits.objects.into(),
                what: "objects",
            });
        }
        Ok(self.next())
    }

    fn next(&self) -> Place {
        if self.left == 0 {
            Place::Trailer
        } else {
            Place::Object
        }
    }

    fn object(&mut self) -> Result<Place, Fault> {
        let first = self.held[0];
        let mut size = u64::from(first & 0x0f);
        for (index, byte) in self.held[1..].iter().enumerate() {
            size |= u64::from(byte & 0x7f) << (4 + 7 * index);
        }
        self.left -= 1;
        self.claimed(size)?;
        self.inflate.reset(true);
        Ok(match first >> 4 & 7 {
            1..=4 => Place::Data { size, delta: None },
            6 => Place::Offset(size),
            7 => Place::Base(size),
            _ => return Err(Fault::Malformed("an object of the pack is of no kind")),
        })
    }

    fn claimed(&mut self, size: u64) -> Result<(), Fault> {
        if size > self.limits.object {
            return Err(Fault::TooLarge {
                limit: self.limits.object,
                what: "bytes in one object",
            });
        }
        self.unpacked += size;
        if self.unpacked > self.limits.unpacked {
            return Err(Fault::TooLarge {
                limit: self.limits.unpacked,
                what: "bytes of objects",
            });
        }
        Ok(())
    }

    /// Unpacks as much as there is and says how many bytes that took.
    fn data(&mut self, bytes: &[u8]) -> Result<usize, Fault> {
        let Place::Data { size, delta } = &mut self.place else {
            return Ok(0);
        };
        let size = *size;
        let (before_in, before_out) = (self.inflate.total_in(), self.inflate.total_out());
        let status = self
            .inflate
            .decompress(bytes, &mut self.scratch, FlushDecompress::None)
            .map_err(|_| Fault::Malformed("an object of the pack cannot be unpacked"))?;
        let taken = usize::try_from(self.inflate.total_in() - before_in).unwrap_or(bytes.len());
        let made = usize::try_from(self.inflate.total_out() - before_out).unwrap_or(SCRATCH);
        if self.inflate.total_out() > size {
            return Err(Fault::Malformed("an object is larger than the pack says"));
        }
        let mut result = None;
        if let Some(start) = delta
            && start.len() < DELTA_HEAD
        {
            let room = DELTA_HEAD - start.len();
            start.extend_from_slice(&self.scratch[..made.min(room)]);
            if start.len() == DELTA_HEAD || status == Status::StreamEnd {
                let sizes = delta_sizes(start).ok_or(Fault::Malformed("a delta has no sizes"))?;
                result = Some(sizes);
                start.resize(DELTA_HEAD, 0);
            }
        }
        if status == Status::StreamEnd {
            if self.inflate.total_out() != size {
                return Err(Fault::Malformed("an object is smaller than the pack says"));
            }
            self.place = self.next();
        } else if taken == 0 && made == 0 {
            return Err(Fault::Malformed("an object of the pack cannot be unpacked"));
        }
        if let Some((base, result)) = result {
            self.claimed(base)?;
            self.claimed(result)?;
        }
        Ok(taken)
    }
}

fn number(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .fold(0, |number, byte| number << 8 | u32::from(*byte))
}

/// The sizes of a delta's base and of its result.
fn delta_sizes(start: &[u8]) -> Option<(u64, u64)> {
    let mut bytes = start.iter();
    let mut next = || {
        let mut size = 0_u64;
        for shift in (0..63).step_by(7) {
            let byte = bytes.next()?;
            size |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(size);
            }
        }
        None
    };
    Some((next()?, next()?))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    const LIMITS: Limits = Limits {
        objects: 10,
        object: 1000,
        unpacked: 2000,
    };

    fn zlib(bytes: &[u8]) -> Vec<u8> {
        let mut encoder =
            flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).expect("memory");
        encoder.finish().expect("memory")
    }

    fn object(kind: u8, mut size: u64) -> Vec<u8> {
        let mut head = vec![kind << 4 | u8::try_from(size & 0x0f).expect("four bits")];
        size >>= 4;
        while size > 0 {
            *head.last_mut().expect("a byte") |= 0x80;
            head.push(u8::try_from(size & 0x7f).expect("seven bits"));
            size >>= 7;
        }
        head
    }

    fn pack(count: u32, objects: &[Vec<u8>]) -> Vec<u8> {
        let mut pack = b"PACK\0\0\0\x02".to_vec();
        pack.extend(count.to_be_bytes());
        pack.extend(objects.concat());
        pack.extend([0; TRAILER]);
        pack
    }

    /// Feeds it whole, and byte by byte: both must say the same.
    fn verdict(pack: &[u8]) -> Result<(), Fault> {
        let mut whole = Guard::new(LIMITS);
        let whole = whole.check(pack).and_then(|()| whole.finish());
        let mut parts = Guard::new(LIMITS);
        let parts = pack
            .iter()
            .try_for_each(|byte| parts.check(&[*byte]))
            .and_then(|()| parts.finish());
        assert_eq!(whole, parts);
        whole
    }

    fn whole(kind: u8, bytes: &[u8]) -> Vec<u8> {
        [object(kind, bytes.len() as u64), zlib(bytes)].concat()
    }

    fn delta(kind: u8, base: &[u8], bytes: &[u8]) -> Vec<u8> {
        [object(kind, bytes.len() as u64), base.to_vec(), zlib(bytes)].concat()
    }

    #[test]
    fn honest_packs_pass() {
        let blob = whole(3, &[b'x'; 700]);
        // From 700 bytes to 300: both sizes take two bytes, then a copy.
        let bytes = [0xbc, 0x05, 0xac, 0x02, 0xb0, 0x2c, 0x01];
        let offset = delta(6, &[0x81, 0x00], &bytes);
        let named = delta(7, &[7; BASE_NAME], &bytes);
        assert_eq!(verdict(&pack(0, &[])), Ok(()));
        assert_eq!(verdict(&pack(2, &[blob.clone(), offset])), Ok(()));
        assert_eq!(verdict(&pack(2, &[named, blob])), Ok(()));
    }

    #[test]
    fn what_is_no_pack_is_refused() {
        let blob = whole(3, b"hello");
        let good = pack(1, std::slice::from_ref(&blob));
        for cut in 0..good.len() {
            assert!(verdict(&good[..cut]).is_err(), "{cut}");
        }
        let malformed: &[Vec<u8>] = &[
            [&good[..], b"x"].concat(),
            pack(2, std::slice::from_ref(&blob)),
            pack(0, &[blob]),
            pack(1, &[whole(0, b"hello")]),
            pack(1, &[whole(5, b"hello")]),
            pack(1, &[[object(3, 4), zlib(b"hello")].concat()]),
            pack(1, &[[object(3, 6), zlib(b"hello")].concat()]),
            pack(1, &[[object(3, 5), b"garbage".to_vec()].concat()]),
            pack(1, &[vec![0xff; 40]]),
            pack(1, &[delta(6, &[0xff; 12], b"\x01\x01")]),
            pack(1, &[delta(7, &[7; BASE_NAME], &[0xff; 30])]),
            pack(1, &[delta(7, &[7; BASE_NAME], b"\x01")]),
            b"HTTP/1.1 200 OK".to_vec(),
        ];
        for bytes in malformed {
            assert!(matches!(verdict(bytes), Err(Fault::Malformed(_))));
        }
    }

    #[test]
    fn what_is_too_large_is_refused_by_its_claim() {
        let far = &[0x80, 0x80, 0x80, 0x80, 0x40];
        let result = [b"\x01".as_slice(), far, b"\x90"].concat();
        let base = [far.as_slice(), b"\x01\x90"].concat();
        for (bytes, expect) in [
            (pack(11, &[]), "objects"),
            (pack(1, &[whole(3, &[0; 1001])]), "bytes in one object"),
            (
                pack(1, &[delta(6, b"\x05", &result)]),
                "bytes in one object",
            ),
            (pack(1, &[delta(6, b"\x05", &base)]), "bytes in one object"),
            (
                pack(3, &std::array::from_fn::<_, 3, _>(|_| whole(3, &[0; 900]))),
                "bytes of objects",
            ),
        ] {
            match verdict(&bytes) {
                Err(Fault::TooLarge { what, .. }) => assert_eq!(what, expect),
                other => panic!("{expect}: {other:?}"),
            }
        }
    }
}
