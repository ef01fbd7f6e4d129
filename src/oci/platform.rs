//! Platforms: operating system, architecture and variant (image-spec image-index.md).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An operating system, an architecture and, for some, a variant.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// The CPU architecture, in Go's words: `amd64`, `arm64`.
    pub architecture: String,
    /// The operating system, in Go's words: `linux`.
    pub os: String,
    /// The version of the operating system (Windows).
    #[serde(
        rename = "os.version",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub os_version: Option<String>,
    /// The variant of the architecture: `v7` of `arm`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

/// A text is not `os/arch` or `os/arch/variant`.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("\"{}\" is not a platform: expected os/architecture or os/architecture/variant, such as linux/arm64", .0.escape_debug())]
pub struct PlatformError(String);

impl Platform {
    /// The platform that this program was compiled for.
    pub fn host() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "x86" => "386",
            "powerpc64" => "ppc64le",
            other => other,
        };
        Self {
            architecture: architecture.to_owned(),
            os: "linux".to_owned(),
            os_version: None,
            variant: None,
        }
    }

    /// The same platform with aliases resolved and default variants dropped or filled in as containerd does:
    /// `x86_64` is `amd64`, `aarch64` and `arm64/v8` are `arm64`, `arm` is `arm/v7`.
    #[must_use]
    pub fn normalized(&self) -> Self {
        let os = match self.os.to_ascii_lowercase().as_str() {
            "macos" => "darwin".to_owned(),
            os => os.to_owned(),
        };
        let variant = self.variant.as_deref().unwrap_or("").to_ascii_lowercase();
        let (architecture, variant) = match (
            self.architecture.to_ascii_lowercase().as_str(),
            variant.as_str(),
        ) {
            ("x86_64" | "x86-64" | "amd64", "v1") => ("amd64".to_owned(), String::new()),
            ("x86_64" | "x86-64" | "amd64", _) => ("amd64".to_owned(), variant),
            ("aarch64" | "arm64", "8" | "v8" | "v8.0") => ("arm64".to_owned(), String::new()),
            ("aarch64" | "arm64", _) => ("arm64".to_owned(), variant),
            ("i386", _) => ("386".to_owned(), String::new()),
            ("armhf", _) | ("arm", "" | "7") => ("arm".to_owned(), "v7".to_owned()),
            ("armel", _) | ("arm", "6") => ("arm".to_owned(), "v6".to_owned()),
            ("arm", "5") => ("arm".to_owned(), "v5".to_owned()),
            ("arm", "8") => ("arm".to_owned(), "v8".to_owned()),
            (other, _) => (other.to_owned(), variant),
        };
        Self {
            architecture,
            os,
            os_version: self.os_version.clone(),
            variant: if variant.is_empty() {
                None
            } else {
                Some(variant)
            },
        }
    }

    /// How well an image for `offered` serves a machine of this platform: `None` if not at all, else the smaller the
    /// better. A 32-bit arm machine runs images of lower variants.
    pub fn distance(&self, offered: &Self) -> Option<u8> {
        let (wanted, offered) = (self.normalized(), offered.normalized());
        if wanted.os != offered.os || wanted.architecture != offered.architecture {
            return None;
        }
        if wanted.variant == offered.variant {
            return Some(0);
        }
        let level = |variant: &Option<String>| -> Option<u8> {
            variant.as_deref().map_or(Some(1), |text| {
                text.strip_prefix('v').and_then(|n| n.parse().ok())
            })
        };
        match (
            wanted.architecture.as_str(),
            level(&wanted.variant),
            level(&offered.variant),
        ) {
            ("arm" | "amd64", Some(most), Some(has)) if has < most => Some(most - has),
            ("arm64", _, _) if offered.variant.is_none() => Some(1),
            _ => None,
        }
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let error = || PlatformError(text.chars().take(100).collect());
        let is_part = |part: &str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
        };
        let parts: Vec<&str> = text.split('/').collect();
        if !parts.iter().all(|part| is_part(part)) {
            return Err(error());
        }
        let new = |os: &str, architecture: &str, variant: Option<&str>| Self {
            architecture: architecture.to_owned(),
            os: os.to_owned(),
            os_version: None,
            variant: variant.map(str::to_owned),
        };
        match parts[..] {
            ["linux"] => Ok(Self {
                os: "linux".to_owned(),
                ..Self::host()
            }),
            [os, architecture] => Ok(new(os, architecture, None).normalized()),
            [os, architecture, variant] => Ok(new(os, architecture, Some(variant)).normalized()),
            _ => Err(error()),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if let Some(variant) = &self.variant {
            write!(f, "/{variant}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_parse_and_normalize() {
        for (text, expect) in [
            ("linux/amd64", "linux/amd64"),
            ("linux/x86_64", "linux/amd64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/arm/v6", "linux/arm/v6"),
        ] {
            assert_eq!(text.parse::<Platform>().unwrap().to_string(), expect);
        }
        for bad in ["", "/", "linux/", "a/b/c/d", "li nux/amd64"] {
            assert!(bad.parse::<Platform>().is_err(), "{bad} parsed");
        }
    }

    #[test]
    fn lower_arm_variants_serve_higher_ones() {
        let parse = |text: &str| text.parse::<Platform>().unwrap();
        assert_eq!(
            parse("linux/arm/v7").distance(&parse("linux/arm/v6")),
            Some(1)
        );
        assert_eq!(parse("linux/arm/v6").distance(&parse("linux/arm/v7")), None);
        assert_eq!(parse("linux/amd64").distance(&parse("linux/arm64")), None);
        assert_eq!(
            parse("linux/arm64").distance(&parse("linux/arm64/v8")),
            Some(0)
        );
    }
}
