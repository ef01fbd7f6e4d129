//! What is said on the wire: which references there are, and the pack of one object (gitprotocol-v2, and
//! gitprotocol-pack for servers that know version 0 only).

use super::error::GitError;
use super::packet::{DELIMITER, FLUSH, Packets, push_line};
use super::wire::Wire;

/// How we call ourselves.
const AGENT: &str = concat!("agent=longshore/", env!("CARGO_PKG_VERSION"));

/// The most parts that an answer may have before its pack.
const PARTS_MAX: u32 = 16;

/// A reference of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Advertised {
    /// Its full name.
    pub(super) name: String,
    /// The object that it names.
    pub(super) id: String,
    /// The commit behind a tag.
    pub(super) peeled: Option<String>,
    /// What `HEAD` stands for.
    pub(super) symbolic: Option<String>,
}

/// What a server can do.
#[derive(Debug)]
pub(super) struct Server {
    is_v2: bool,
    capabilities: Vec<String>,
    /// All references, for version 0.
    references: Vec<Advertised>,
}

impl Server {
    /// Reads the server's first words.
    pub(super) fn greet(wire: &mut Wire<'_>, url: &str) -> Result<Self, GitError> {
        let mut chunks = wire.advertisement()?;
        let mut packets = Packets::new(&mut *chunks, url);
        let mut first = packets.line()?;
        if first
            .as_deref()
            .is_some_and(|line| line.starts_with("# service="))
        {
            packets.next()?;
            first = packets.line()?;
        }
        let server = match first.as_deref() {
            Some("version 2") => {
                let mut capabilities = Vec::new();
                while let Some(line) = packets.line()? {
                    capabilities.push(line);
                }
                Self {
                    is_v2: true,
                    capabilities,
                    references: Vec::new(),
                }
            }
            Some("version 1") => {
                let first = packets.line()?;
                Self::greet_v0(first, &mut packets, url)?
            }
            _ => Self::greet_v0(first, &mut packets, url)?,
        };
        if let Some(format) = server.value("object-format")
            && format != "sha1"
        {
            return Err(GitError::NotGit {
                url: url.to_owned(),
                reason: format!(
                    "its objects are named by {}, which is not supported",
                    crate::http::printable(format, 20)
                ),
            });
        }
        Ok(server)
    }

    fn greet_v0(
        first: Option<String>,
        packets: &mut Packets<'_>,
        url: &str,
    ) -> Result<Self, GitError> {
        let mut server = Self {
            is_v2: false,
            capabilities: Vec::new(),
            references: Vec::new(),
        };
        let mut next = first;
        let mut is_first = true;
        while let Some(line) = next {
            let mut reference = line.as_str();
            if is_first {
                let (front, capabilities) = line.split_once('\0').unwrap_or((&line, ""));
                reference = front;
                server.capabilities = capabilities.split(' ').map(str::to_owned).collect();
                is_first = false;
            }
            let (id, name) = id_and_rest(reference).ok_or_else(|| GitError::NotGit {
                url: url.to_owned(),
                reason: "a line of its references is none".to_owned(),
            })?;
            if let Some(tag) = name.strip_suffix("^{}") {
                if let Some(last) = server.references.last_mut().filter(|last| last.name == tag) {
                    last.peeled = Some(id.to_owned());
                }
            } else if !name.starts_with("shallow ") {
                server.references.push(Advertised {
                    name: name.to_owned(),
                    id: id.to_owned(),
                    peeled: None,
                    symbolic: None,
                });
            }
            next = packets.line()?;
        }
        let head = server
            .capabilities
            .iter()
            .find_map(|capability| capability.strip_prefix("symref=HEAD:"))
            .map(str::to_owned);
        if let Some(reference) = server.references.iter_mut().find(|it| it.name == "HEAD") {
            reference.symbolic = head;
        }
        Ok(server)
    }

    /// Whether the server says that any commit may be asked for by its id. Servers of version 2 do not say; they do.
    pub(super) fn allows_any_commit(&self) -> bool {
        self.is_v2 || self.has("allow-reachable-sha1-in-want") || self.has("allow-any-sha1-in-want")
    }

    fn has(&self, capability: &str) -> bool {
        self.capabilities.iter().any(|known| known == capability)
    }

    fn value(&self, capability: &str) -> Option<&str> {
        self.capabilities
            .iter()
            .find_map(|known| known.strip_prefix(capability)?.strip_prefix('='))
    }

    /// Lists the references whose names begin with one of these prefixes, and possibly others.
    pub(super) fn references(
        &self,
        wire: &mut Wire<'_>,
        prefixes: &[String],
        url: &str,
    ) -> Result<Vec<Advertised>, GitError> {
        if !self.is_v2 {
            return Ok(self.references.clone());
        }
        let mut request = Vec::new();
        push_line(&mut request, "command=ls-refs");
        push_line(&mut request, AGENT);
        request.extend_from_slice(DELIMITER);
        push_line(&mut request, "peel");
        push_line(&mut request, "symrefs");
        for prefix in prefixes {
            push_line(&mut request, &format!("ref-prefix {prefix}"));
        }
        request.extend_from_slice(FLUSH);
        let mut chunks = wire.ask(request)?;
        let mut packets = Packets::new(&mut *chunks, url);
        let mut references = Vec::new();
        while let Some(line) = packets.line()? {
            let Some((id, rest)) = id_and_rest(&line) else {
                // An unborn HEAD.
                continue;
            };
            let mut words = rest.split(' ');
            let mut reference = Advertised {
                name: words.next().unwrap_or_default().to_owned(),
                id: id.to_owned(),
                peeled: None,
                symbolic: None,
            };
            for word in words {
                if let Some(target) = word.strip_prefix("symref-target:") {
                    reference.symbolic = Some(target.to_owned());
                } else if let Some(id) = word.strip_prefix("peeled:") {
                    reference.peeled = Some(id.to_owned());
                }
            }
            references.push(reference);
        }
        Ok(references)
    }

    /// Fetches objects with so much of their history (0 for all) and returns the commits at which it was cut.
    pub(super) fn fetch(
        &self,
        wire: &mut Wire<'_>,
        wants: &[String],
        depth: u32,
        url: &str,
        on_pack: impl FnMut(&[u8]) -> Result<(), GitError>,
    ) -> Result<Vec<String>, GitError> {
        let request = if self.is_v2 {
            request_v2(wants, depth)
        } else {
            self.request_v0(wants, depth, url)?
        };
        let is_stateless = wire.is_stateless();
        let mut chunks = wire.ask(request)?;
        let mut packets = Packets::new(&mut *chunks, url);
        let mut shallow = Vec::new();
        let unexpected = |line: &str| GitError::NotGit {
            url: url.to_owned(),
            reason: format!("\"{}\" instead of a pack", crate::http::printable(line, 80)),
        };
        // A flush or a delimiter ends one part of the answer, of which there are a few.
        let mut parts = 0;
        loop {
            let Some(line) = packets.line()? else {
                parts += 1;
                if parts > PARTS_MAX {
                    return Err(unexpected(""));
                }
                continue;
            };
            if let Some(commit) = line.strip_prefix("shallow ") {
                shallow.push(commit.to_owned());
            } else if line == "packfile" || (line == "NAK" && !self.is_v2) {
                break;
            } else if line != "shallow-info" && !line.starts_with("unshallow ") {
                return Err(unexpected(&line));
            }
        }
        packets.side_band(on_pack)?;
        if is_stateless {
            packets.drain()?;
        }
        Ok(shallow)
    }

    fn request_v0(&self, wants: &[String], depth: u32, url: &str) -> Result<Vec<u8>, GitError> {
        if !self.has("side-band-64k") {
            return Err(GitError::NotGit {
                url: url.to_owned(),
                reason: "it is older than side bands (git 1.5)".to_owned(),
            });
        }
        let mut capabilities = "side-band-64k ofs-delta no-progress".to_owned();
        if depth > 0 && self.has("shallow") {
            capabilities.push_str(" shallow");
        }
        if self.value("agent").is_some() {
            capabilities.push(' ');
            capabilities.push_str(AGENT);
        }
        let mut request = Vec::new();
        for (index, want) in wants.iter().enumerate() {
            let end = if index == 0 {
                format!(" {capabilities}")
            } else {
                String::new()
            };
            push_line(&mut request, &format!("want {want}{end}"));
        }
        if depth > 0 && self.has("shallow") {
            push_line(&mut request, &format!("deepen {depth}"));
        }
        request.extend_from_slice(FLUSH);
        push_line(&mut request, "done");
        Ok(request)
    }
}

fn request_v2(wants: &[String], depth: u32) -> Vec<u8> {
    let mut request = Vec::new();
    push_line(&mut request, "command=fetch");
    push_line(&mut request, AGENT);
    request.extend_from_slice(DELIMITER);
    push_line(&mut request, "ofs-delta");
    push_line(&mut request, "no-progress");
    if depth > 0 {
        push_line(&mut request, &format!("deepen {depth}"));
    }
    for want in wants {
        push_line(&mut request, &format!("want {want}"));
    }
    push_line(&mut request, "done");
    request.extend_from_slice(FLUSH);
    request
}

fn id_and_rest(line: &str) -> Option<(&str, &str)> {
    let (id, rest) = line.split_once(' ')?;
    super::source::is_full_commit(id).then_some((id, rest))
}
