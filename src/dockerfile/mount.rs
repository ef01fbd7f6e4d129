//! The value of `RUN --mount=`: comma-separated `key=value`, quoted as in CSV.
//!
//! Only the value of `from` is known without variables, so that stages can be told apart before any ARG is evaluated;
//! the rest is read by [`Mount::parse`] with an expander. What a key means nothing for is ignored where BuildKit
//! ignores it, and refused where BuildKit refuses it.

use super::suggest;

/// What is mounted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MountType {
    /// Files of the context, a stage or an image.
    #[default]
    Bind,
    /// A directory that outlives the build.
    Cache,
    /// Memory.
    Tmpfs,
    /// A secret of the command line.
    Secret,
    /// The socket of an SSH agent.
    Ssh,
}

/// How a cache is shared by commands that run at the same time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sharing {
    /// All write to it.
    #[default]
    Shared,
    /// Each has one of its own.
    Private,
    /// One waits for the other.
    Locked,
}

/// One mount as it was written, expanded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mount {
    /// `type`.
    pub kind: MountType,
    /// `from`; none if it is empty.
    pub from: Option<String>,
    /// `source`; may be empty.
    pub source: String,
    /// `target`; may be empty.
    pub target: String,
    /// `ro` and `rw`, or what the type has without them.
    pub read_only: bool,
    /// `size` in bytes.
    pub size: Option<u64>,
    /// `id`; may be empty.
    pub id: String,
    /// `sharing`.
    pub sharing: Sharing,
    /// `required`.
    pub required: bool,
    /// `env`.
    pub env: Option<String>,
    /// `mode`.
    pub mode: Option<u32>,
    /// `uid`.
    pub uid: Option<u32>,
    /// `gid`.
    pub gid: Option<u32>,
}

/// Why the value of a `--mount` cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MountError {
    /// The quotes do not fit.
    #[error("the quotes of the mount are not those of CSV: {reason}")]
    Quotes {
        /// What is wrong.
        reason: &'static str,
    },
    /// A word that needs a value.
    #[error("\"{}\" in the mount needs a value: it must be key=value", field.escape_debug())]
    NeedsValue {
        /// The word.
        field: String,
    },
    /// A key that is none.
    #[error("a mount has no key \"{}\"", key.escape_debug())]
    UnknownKey {
        /// The key.
        key: String,
        /// One that looks like it.
        nearest: Option<String>,
    },
    /// A key that this type does not have.
    #[error("a mount of type {kind} has no {key}")]
    KeyOfOtherType {
        /// The key.
        key: &'static str,
        /// The type.
        kind: &'static str,
    },
    /// A value that is none.
    #[error("\"{}\" is not {expected} for {key} of the mount", value.escape_debug())]
    Value {
        /// The key.
        key: String,
        /// The value, expanded.
        value: String,
        /// What it should be.
        expected: &'static str,
        /// A value that looks like it.
        nearest: Option<String>,
    },
    /// A variable where none is expanded.
    #[error("variables are not expanded in from of a mount: \"{}\"", value.escape_debug())]
    VariableInFrom {
        /// As written.
        value: String,
    },
    /// A secret without a name.
    #[error("a mount of type secret needs an id or a target")]
    NamelessSecret,
    /// Two names for one secret.
    #[error("a mount of type secret takes id or source, not both")]
    TwoNames,
    /// The root cannot be mounted over.
    #[error("a mount cannot have the target /")]
    TargetRoot,
}

impl MountError {
    /// What to do next, where that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownKey {
                nearest: Some(nearest),
                ..
            }
            | Self::Value {
                nearest: Some(nearest),
                ..
            } => Some(format!("did you mean {nearest}?")),
            Self::VariableInFrom { .. } => Some(
                "give the image a stage of its own (FROM ... AS name) and name that".to_owned(),
            ),
            _ => None,
        }
    }
}

const TYPES: [(&str, MountType); 5] = [
    ("bind", MountType::Bind),
    ("cache", MountType::Cache),
    ("tmpfs", MountType::Tmpfs),
    ("secret", MountType::Secret),
    ("ssh", MountType::Ssh),
];
const SHARINGS: [(&str, Sharing); 3] = [
    ("shared", Sharing::Shared),
    ("private", Sharing::Private),
    ("locked", Sharing::Locked),
];
const KEYS: [&str; 19] = [
    "type",
    "from",
    "source",
    "src",
    "target",
    "dst",
    "destination",
    "readonly",
    "ro",
    "readwrite",
    "rw",
    "id",
    "sharing",
    "required",
    "size",
    "mode",
    "uid",
    "gid",
    "env",
];

impl MountType {
    /// The type as it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bind => "bind",
            Self::Cache => "cache",
            Self::Tmpfs => "tmpfs",
            Self::Secret => "secret",
            Self::Ssh => "ssh",
        }
    }

    fn has_owner(self) -> bool {
        matches!(self, Self::Cache | Self::Secret | Self::Ssh)
    }

    fn may_be_required(self) -> bool {
        matches!(self, Self::Secret | Self::Ssh)
    }
}

/// What `from` of a mount names, as written; `None` where it names nothing.
///
/// # Errors
/// The quotes do not fit, or a variable stands in it.
pub fn mount_from(text: &str) -> Result<Option<String>, MountError> {
    let mut found = None;
    for field in fields(text)? {
        let Some((key, value)) = field.split_once('=') else {
            continue;
        };
        if !key.eq_ignore_ascii_case("from") {
            continue;
        }
        // A dollar at the end is one.
        if value.find('$').is_some_and(|at| at + 1 < value.len()) {
            return Err(MountError::VariableInFrom {
                value: value.to_owned(),
            });
        }
        found = Some(value.to_owned()).filter(|value| !value.is_empty());
    }
    Ok(found)
}

impl Mount {
    /// Reads the value of a `--mount`; `expand` is given each value once, in order.
    ///
    /// # Errors
    /// What is wrong with it, or what `expand` found.
    pub fn parse<E: From<MountError>>(
        text: &str,
        mut expand: impl FnMut(&str) -> Result<String, E>,
    ) -> Result<Self, E> {
        let mut mount = Self::default();
        let mut read_only = None;
        let mut sharing = None;
        for field in fields(text)? {
            let (key, value) = match field.split_once('=') {
                Some((key, value)) => (key.to_ascii_lowercase(), Some(value)),
                None => (field.to_ascii_lowercase(), None),
            };
            let Some(value) = value else {
                match key.as_str() {
                    "readonly" | "ro" => read_only = Some(true),
                    "readwrite" | "rw" => read_only = Some(false),
                    "required" => mount.set_required(true)?,
                    _ => return Err(MountError::NeedsValue { field }.into()),
                }
                continue;
            };
            let value = expand(value)?;
            match key.as_str() {
                "type" => mount.kind = one_of("type", &value, "a type", &TYPES)?,
                "from" => mount.from = Some(value).filter(|value| !value.is_empty()),
                "source" | "src" => mount.source = value,
                "target" | "dst" | "destination" => mount.target = value,
                "readonly" | "ro" => read_only = Some(switch(&key, &value)?),
                "readwrite" | "rw" => read_only = Some(!switch(&key, &value)?),
                "required" => {
                    let value = switch(&key, &value)?;
                    mount.set_required(value)?;
                }
                "size" if mount.kind == MountType::Tmpfs => mount.size = size(&value)?,
                "size" => return Err(mount.foreign("size").into()),
                "id" => mount.id = value,
                "sharing" => {
                    sharing = Some(one_of("sharing", &value, "a way of sharing", &SHARINGS)?);
                }
                "mode" => mount.mode = Some(number(&key, &value, 8, "an octal mode")?),
                "uid" | "gid" => {
                    let id = Some(number(&key, &value, 10, "a number")?);
                    if key == "uid" {
                        mount.uid = id;
                    } else {
                        mount.gid = id;
                    }
                }
                "env" => mount.env = Some(value),
                _ => {
                    let nearest = suggest::nearest(&key, KEYS);
                    return Err(MountError::UnknownKey { key, nearest }.into());
                }
            }
        }
        mount.read_only =
            read_only.unwrap_or(!matches!(mount.kind, MountType::Cache | MountType::Tmpfs));
        mount.check(sharing)?;
        mount.sharing = sharing.unwrap_or_default();
        Ok(mount)
    }

    /// `required` has to come after `type`, as in BuildKit.
    fn set_required(&mut self, value: bool) -> Result<(), MountError> {
        if !self.kind.may_be_required() {
            return Err(self.foreign("required"));
        }
        self.required = value;
        Ok(())
    }

    fn foreign(&self, key: &'static str) -> MountError {
        MountError::KeyOfOtherType {
            key,
            kind: self.kind.name(),
        }
    }

    fn check(&self, sharing: Option<Sharing>) -> Result<(), MountError> {
        if !self.kind.has_owner() {
            for (key, is_given) in [
                ("mode", self.mode.is_some()),
                ("uid", self.uid.is_some()),
                ("gid", self.gid.is_some()),
            ] {
                if is_given {
                    return Err(self.foreign(key));
                }
            }
        }
        if sharing.is_some() && self.kind != MountType::Cache {
            return Err(self.foreign("sharing"));
        }
        match self.kind {
            MountType::Secret if self.from.is_some() => Err(self.foreign("from")),
            MountType::Secret
                if self.id.is_empty() && self.source.is_empty() && self.target.is_empty() =>
            {
                Err(MountError::NamelessSecret)
            }
            MountType::Secret if !self.id.is_empty() && !self.source.is_empty() => {
                Err(MountError::TwoNames)
            }
            MountType::Ssh if !self.source.is_empty() => Err(self.foreign("source")),
            _ => Ok(()),
        }
    }
}

fn one_of<T: Copy>(
    key: &str,
    value: &str,
    expected: &'static str,
    known: &[(&'static str, T)],
) -> Result<T, MountError> {
    let found = known
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(value));
    found
        .map(|(_, found)| *found)
        .ok_or_else(|| MountError::Value {
            key: key.to_owned(),
            value: value.to_owned(),
            expected,
            nearest: suggest::nearest(value, known.iter().map(|(name, _)| *name)),
        })
}

fn wrong(key: &str, value: &str, expected: &'static str) -> MountError {
    MountError::Value {
        key: key.to_owned(),
        value: value.to_owned(),
        expected,
        nearest: None,
    }
}

/// What Go's `ParseBool` takes.
fn switch(key: &str, value: &str) -> Result<bool, MountError> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(wrong(key, value, "true or false")),
    }
}

fn number(key: &str, value: &str, radix: u32, expected: &'static str) -> Result<u32, MountError> {
    // `from_str_radix` takes a sign.
    let is_number = value.bytes().all(|byte| byte.is_ascii_digit());
    let number = u32::from_str_radix(value, radix).ok();
    number
        .filter(|_| is_number)
        .ok_or_else(|| wrong(key, value, expected))
}

/// A number of bytes: `100`, `64k`, `1.5g`, `512MiB`; all units are powers of 1024. Zero is no limit.
fn size(value: &str) -> Result<Option<u64>, MountError> {
    let refused = || wrong("size", value, "a number of bytes like 512m");
    let digits = value
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(value.len());
    let (number, unit) = value.split_at(digits);
    let unit = unit.trim_start().to_ascii_lowercase();
    let scale = match unit.as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 1,
        "m" | "mb" | "mib" => 2,
        "g" | "gb" | "gib" => 3,
        "t" | "tb" | "tib" => 4,
        "p" | "pb" | "pib" => 5,
        _ => return Err(refused()),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !is_number(whole) || !is_number(fraction) {
        return Err(refused());
    }
    let unit = 1_u64 << (10 * scale);
    let whole: u64 = whole.parse().map_err(|_| refused())?;
    // Digits below a billionth of the unit make no difference to memory.
    let fraction = &fraction[..fraction.len().min(9)];
    let parts: u64 = fraction.parse().map_err(|_| refused())?;
    let of = 10_u64.pow(u32::try_from(fraction.len()).unwrap_or(9));
    let bytes = u128::from(whole) * u128::from(unit)
        + u128::from(parts) * u128::from(unit) / u128::from(of);
    let bytes = u64::try_from(bytes).map_err(|_| refused())?;
    Ok((bytes > 0).then_some(bytes))
}

/// The fields of one record of CSV.
fn fields(text: &str) -> Result<Vec<String>, MountError> {
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        let Some(quoted) = rest.strip_prefix('"') else {
            let (field, after) = match rest.split_once(',') {
                Some((field, after)) => (field, Some(after)),
                None => (rest, None),
            };
            if field.contains('"') {
                return Err(MountError::Quotes {
                    reason: "a quote stands inside of a field that does not begin with one",
                });
            }
            fields.push(field.to_owned());
            match after {
                Some(after) => rest = after,
                None => return Ok(fields),
            }
            continue;
        };
        let mut field = String::new();
        let mut characters = quoted.char_indices().peekable();
        let end = loop {
            match characters.next() {
                None => {
                    return Err(MountError::Quotes {
                        reason: "a quoted field has no end",
                    });
                }
                Some((_, '"')) if characters.next_if(|(_, next)| *next == '"').is_some() => {
                    field.push('"');
                }
                Some((at, '"')) => break at + 1,
                Some((_, character)) => field.push(character),
            }
        };
        fields.push(field);
        match quoted[end..].strip_prefix(',') {
            Some(after) => rest = after,
            None if quoted[end..].is_empty() => return Ok(fields),
            None => {
                return Err(MountError::Quotes {
                    reason: "something follows the end of a quoted field",
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Mount, MountError> {
        Mount::parse(text, |value| Ok::<_, MountError>(value.to_owned()))
    }

    #[test]
    fn every_type_is_read() {
        let mount = parse("target=/x").unwrap();
        assert_eq!((mount.kind, mount.read_only), (MountType::Bind, true));
        let mount = parse("TYPE=Cache,dst=/x,Sharing=LOCKED,uid=7,gid=8,mode=0700,id=a").unwrap();
        assert_eq!(
            (mount.kind, mount.sharing, mount.read_only),
            (MountType::Cache, Sharing::Locked, false)
        );
        assert_eq!(
            (mount.uid, mount.gid, mount.mode),
            (Some(7), Some(8), Some(0o700))
        );
        let mount = parse("type=secret,id=x,required,env=").unwrap();
        assert!(mount.required && mount.env.as_deref() == Some(""));
        assert!(parse("type=bind,rw,target=/x").is_ok_and(|mount| !mount.read_only));
        assert!(parse("type=cache,ro,target=/x").is_ok_and(|mount| mount.read_only));
        assert!(parse("rw=false,target=/x").is_ok_and(|mount| mount.read_only));
        let mount = parse("type=bind,\"source=a,b\",\"target=/q\"\"q\"").unwrap();
        assert_eq!((&*mount.source, &*mount.target), ("a,b", "/q\"q"));
    }

    #[test]
    fn what_is_refused() {
        for (text, expect) in [
            ("type=nfs", "a type"),
            ("type=binds,target=/x", "a type"),
            ("targt=/x", "no key \"targt\""),
            ("target", "needs a value"),
            ("required,type=secret,id=x", "no required"),
            ("type=secret", "needs an id"),
            ("type=secret,id=a,source=b", "not both"),
            ("type=secret,id=a,from=b", "no from"),
            ("type=secret,id=a,sharing=shared", "no sharing"),
            ("type=ssh,source=b", "no source"),
            ("type=bind,target=/x,mode=0700", "no mode"),
            ("type=tmpfs,target=/x,uid=1", "no uid"),
            ("type=bind,target=/x,size=1", "no size"),
            ("type=tmpfs,target=/x,size=many", "a number of bytes"),
            ("type=cache,target=/x,mode=9", "an octal mode"),
            ("type=cache,target=/x,uid=-1", "a number"),
            ("type=cache,target=/x,sharing=some", "a way of sharing"),
            ("ro=maybe,target=/x", "true or false"),
            ("type=bi\"nd", "quotes"),
            ("\"type=bind", "no end"),
            ("\"type=bind\"x", "follows"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(expect), "{text}: {error}");
        }
        let hint = |text| parse(text).unwrap_err().hint();
        assert_eq!(hint("targt=/x"), Some("did you mean target?".into()));
        assert_eq!(hint("type=cashe"), Some("did you mean cache?".into()));
    }

    #[test]
    fn from_is_known_before_variables() {
        let from = |text| mount_from(text);
        assert_eq!(
            from("type=$T,from=build,target=$X"),
            Ok(Some("build".into()))
        );
        assert_eq!(from("target=/x"), Ok(None));
        assert_eq!(from("from=,target=/x"), Ok(None));
        assert_eq!(from("from=a$"), Ok(Some("a$".into())));
        assert!(from("from=$IMAGE").is_err());
    }

    #[test]
    fn sizes() {
        for (text, expect) in [
            ("0", None),
            ("100", Some(100)),
            ("1k", Some(1024)),
            ("1.5k", Some(1536)),
            ("2MiB", Some(2 << 20)),
            ("1 gb", Some(1 << 30)),
        ] {
            assert_eq!(size(text), Ok(expect), "{text}");
        }
        for text in ["", "k", "1x", "-1", "1..2k", "99999999p"] {
            assert!(size(text).is_err(), "{text}");
        }
    }
}
