//! The shared files `~/.aws/config` and `~/.aws/credentials`, read once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::auth::Variables;

/// The settings of all profiles. Values may be secret.
#[derive(Clone, Default)]
pub(super) struct Profiles(BTreeMap<String, BTreeMap<String, String>>);

impl std::fmt::Debug for Profiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Profiles {
    /// Reads both files; what is not there holds nothing.
    pub(super) fn read(variables: &Variables) -> Self {
        let home = variables.get("HOME").map(Path::new);
        let file = |variable: &str, name: &str| {
            let path = variables
                .get(variable)
                .map(PathBuf::from)
                .or_else(|| Some(home?.join(".aws").join(name)))?;
            std::fs::read_to_string(path).ok()
        };
        let mut profiles = Self::default();
        if let Some(text) = file("AWS_CONFIG_FILE", "config") {
            profiles.add(&text, true);
        }
        if let Some(text) = file("AWS_SHARED_CREDENTIALS_FILE", "credentials") {
            profiles.add(&text, false);
        }
        profiles
    }

    /// A setting of a profile.
    pub(super) fn get(&self, profile: &str, key: &str) -> Option<&str> {
        self.0.get(profile)?.get(key).map(String::as_str)
    }

    /// Whether there is such a profile.
    pub(super) fn has(&self, profile: &str) -> bool {
        self.0.contains_key(profile)
    }

    /// Adds the sections of a file; in the config file they are called `[profile NAME]`, but for the default.
    fn add(&mut self, text: &str, is_config: bool) {
        let mut section: Option<String> = None;
        for line in text.lines() {
            let is_nested = line.starts_with([' ', '\t']);
            let line = line.trim();
            if line.is_empty() || line.starts_with(['#', ';']) {
                continue;
            }
            if let Some(name) = line
                .strip_prefix('[')
                .and_then(|rest| rest.split(']').next())
            {
                let name = name.trim();
                section = if is_config && name != "default" {
                    name.strip_prefix("profile ")
                        .map(|name| name.trim().to_owned())
                } else {
                    Some(name.to_owned())
                };
                if let Some(section) = &section {
                    self.0.entry(section.clone()).or_default();
                }
            } else if let (Some(section), Some((key, value)), false) =
                (&section, line.split_once('='), is_nested)
            {
                let value = value.split(" #").next().unwrap_or_default().trim();
                self.0
                    .entry(section.clone())
                    .or_default()
                    .insert(key.trim().to_ascii_lowercase(), value.to_owned());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_files_are_read() {
        let mut profiles = Profiles::default();
        profiles.add(
            "[default]\nregion = eu-west-1\ns3 =\n  addressing_style = path\n[profile ci]\nrole_arn=arn:x # why\n[other]\nregion=no\n",
            true,
        );
        profiles.add(
            "; c\n[ci]\naws_access_key_id = AKID\naws_secret_access_key = a=b\n",
            false,
        );
        assert_eq!(profiles.get("default", "region"), Some("eu-west-1"));
        assert_eq!(profiles.get("default", "addressing_style"), None);
        assert_eq!(profiles.get("ci", "role_arn"), Some("arn:x"));
        assert_eq!(profiles.get("ci", "aws_secret_access_key"), Some("a=b"));
        assert!(!profiles.has("other"));
    }
}
