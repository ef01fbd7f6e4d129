//! What names a step's result.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The form of the keys. A change of what goes into a key, or of how, takes another number, so that entries of older
/// versions are never found.
const FORM: &str = "longshore cache key 1";

/// The name of what a step makes: 64 hexadecimal digits, which are a valid tag and a valid file name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CacheKey([u8; 32]);

/// Hashes what a step depends on.
///
/// Every field goes in with its name and the lengths of both, and every list with the number of its elements: no two
/// different sequences of fields have the same bytes.
#[derive(Clone, Debug)]
pub struct KeyHasher(Sha256);

impl KeyHasher {
    /// Begins a key for one kind of thing.
    pub fn new(kind: &str) -> Self {
        let mut hasher = Self(Sha256::new());
        hasher.bytes(FORM.as_bytes());
        hasher.bytes(kind.as_bytes());
        hasher
    }

    /// Adds a field.
    pub fn field(&mut self, name: &str, value: impl AsRef<[u8]>) -> &mut Self {
        self.bytes(name.as_bytes());
        self.bytes(value.as_ref());
        self
    }

    /// Adds a field that may be absent; an absent one differs from an empty one.
    pub fn optional(&mut self, name: &str, value: Option<impl AsRef<[u8]>>) -> &mut Self {
        match value {
            Some(value) => self.list(name, [value]),
            None => self.list(name, std::iter::empty::<&[u8]>()),
        }
    }

    /// Adds a list.
    pub fn list<T: AsRef<[u8]>>(
        &mut self,
        name: &str,
        values: impl IntoIterator<Item = T, IntoIter: ExactSizeIterator>,
    ) -> &mut Self {
        let values = values.into_iter();
        self.bytes(name.as_bytes());
        self.0.update((values.len() as u64).to_le_bytes());
        for value in values {
            self.bytes(value.as_ref());
        }
        self
    }

    /// Adds a number.
    pub fn number(&mut self, name: &str, value: u64) -> &mut Self {
        self.field(name, value.to_le_bytes())
    }

    /// The key of all that was added.
    pub fn finish(self) -> CacheKey {
        CacheKey(self.0.finalize().into())
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }
}

impl AsRef<[u8]> for CacheKey {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a cache key has 64 lower-case hexadecimal digits")]
pub struct KeyError;

impl FromStr for CacheKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let mut bytes = [0; 32];
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(KeyError);
        }
        hex::decode_to_slice(text, &mut bytes).map_err(|_| KeyError)?;
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for CacheKey {
    type Error = KeyError;

    fn try_from(text: String) -> Result<Self, KeyError> {
        text.parse()
    }
}

impl From<CacheKey> for String {
    fn from(key: CacheKey) -> Self {
        key.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn key(make: impl FnOnce(&mut KeyHasher)) -> CacheKey {
        let mut hasher = KeyHasher::new("test");
        make(&mut hasher);
        hasher.finish()
    }

    #[test]
    fn where_a_field_ends_is_a_part_of_the_key() {
        let keys = [
            key(|h| {
                h.field("a", "bc");
            }),
            key(|h| {
                h.field("ab", "c");
            }),
            key(|h| {
                h.field("a", "b").field("c", "");
            }),
            key(|h| {
                h.list("a", ["b", "c"]);
            }),
            key(|h| {
                h.list("a", ["bc"]);
            }),
            key(|h| {
                h.list("a", ["bc", ""]);
            }),
            key(|h| {
                h.list("a", ["b"]).list("c", [""; 0]);
            }),
            key(|h| {
                h.optional("a", Some(""));
            }),
            key(|h| {
                h.optional("a", None::<&str>);
            }),
            key(|_| {}),
            KeyHasher::new("other").finish(),
        ];
        assert_eq!(keys.iter().collect::<HashSet<_>>().len(), keys.len());
    }

    #[test]
    fn only_keys_parse() {
        let one = key(|_| {});
        assert_eq!(one.to_string().parse(), Ok(one));
        for bad in ["", "aa", &one.to_string().to_uppercase(), &"g".repeat(64)] {
            assert_eq!(bad.parse::<CacheKey>(), Err(KeyError), "{bad}");
        }
    }

    /// A small generator of pseudo-random numbers (xorshift64), so that the test is the same every time.
    struct Numbers(u64);

    impl Numbers {
        fn next(&mut self, below: u64) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0 % below
        }
    }

    /// A million inputs out of a small alphabet, where mistakes of framing would meet: as many keys as inputs.
    #[test]
    fn a_million_inputs_have_as_many_keys() {
        let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
        let mut text = |most: u64| -> String {
            let length = numbers.next(most);
            (0..length)
                .map(|_| char::from(b"ab=/-"[usize::try_from(numbers.next(5)).unwrap()]))
                .collect()
        };
        let (mut inputs, mut keys) = (HashSet::new(), HashSet::new());
        for _ in 0..1_000_000 {
            let input = (text(4), vec![text(4), text(4), text(4)], text(3));
            let made = key(|hasher| {
                let shown = input.1.iter().take(input.0.len());
                hasher.field("x", &input.0);
                hasher.list("y", shown.collect::<Vec<_>>());
                hasher.field("z", &input.2);
            });
            let seen = (
                input.0.clone(),
                input.1[..input.0.len().min(3)].to_vec(),
                input.2.clone(),
            );
            inputs.insert(seen);
            keys.insert(made);
        }
        assert!(inputs.len() > 100_000, "{}", inputs.len());
        assert_eq!(keys.len(), inputs.len());
    }
}
