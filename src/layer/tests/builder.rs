//! Archives byte by byte, as no decent program would write them.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::layer::{Applied, ApplyOptions, Error, Limits, Owners, apply};
use crate::rootfs::{Protected, Rootfs};

/// An archive under construction.
#[derive(Default, Clone)]
pub(super) struct Archive(pub(super) Vec<u8>);

/// One header; the checksum is set when it is added.
#[derive(Clone)]
pub(super) struct Raw(pub(super) [u8; 512]);

impl Raw {
    pub(super) fn new(flag: u8, name: &[u8]) -> Self {
        let mut raw = Self([0; 512]);
        let length = name.len().min(100);
        raw.0[..length].copy_from_slice(&name[..length]);
        raw.0[156] = flag;
        raw.0[257..265].copy_from_slice(b"ustar\x0000");
        let is_dir = flag == b'5';
        raw.octal(100, 8, if is_dir { 0o755 } else { 0o644 })
            .octal(108, 8, owner().0)
            .octal(116, 8, owner().1)
            .octal(124, 12, 0)
            .octal(136, 12, 1_000_000_000)
    }

    pub(super) fn octal(self, at: usize, width: usize, value: u64) -> Self {
        let text = format!("{value:0fill$o}\0", fill = width - 1);
        self.bytes(at, text.as_bytes())
    }

    pub(super) fn bytes(mut self, at: usize, bytes: &[u8]) -> Self {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    pub(super) fn mode(self, mode: u64) -> Self {
        self.octal(100, 8, mode)
    }

    pub(super) fn size(self, size: u64) -> Self {
        self.octal(124, 12, size)
    }

    pub(super) fn link(self, target: &[u8]) -> Self {
        self.bytes(157, &target[..target.len().min(100)])
    }

    pub(super) fn summed(self) -> [u8; 512] {
        let blank = self.bytes(148, b"        ");
        let sum: u64 = blank.0.iter().map(|&b| u64::from(b)).sum();
        blank.bytes(148, format!("{sum:06o}\0 ").as_bytes()).0
    }
}

/// Ids that this process may give: its own.
pub(super) fn owner() -> (u64, u64) {
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    (uid.as_raw().into(), gid.as_raw().into())
}

pub(super) fn is_root() -> bool {
    owner().0 == 0
}

impl Archive {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn raw(mut self, raw: Raw, body: &[u8]) -> Self {
        self.0.extend_from_slice(&raw.summed());
        self.body(body)
    }

    pub(super) fn body(mut self, body: &[u8]) -> Self {
        self.0.extend_from_slice(body);
        let length = self.0.len().next_multiple_of(512);
        self.0.resize(length, 0);
        self
    }

    pub(super) fn f(self, name: impl AsRef<[u8]>, body: &str) -> Self {
        let raw = Raw::new(b'0', name.as_ref()).size(body.len() as u64);
        self.raw(raw, body.as_bytes())
    }

    pub(super) fn d(self, name: impl AsRef<[u8]>) -> Self {
        self.raw(Raw::new(b'5', name.as_ref()), b"")
    }

    pub(super) fn s(self, name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        self.raw(Raw::new(b'2', name.as_ref()).link(target.as_ref()), b"")
    }

    pub(super) fn h(self, name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        self.raw(Raw::new(b'1', name.as_ref()).link(target.as_ref()), b"")
    }

    /// An extension: `x`, `g`, `L` or `K`.
    pub(super) fn ext(self, flag: u8, body: impl AsRef<[u8]>) -> Self {
        let body = body.as_ref();
        self.raw(Raw::new(flag, b"ext").size(body.len() as u64), body)
    }

    pub(super) fn x(self, records: &[(&str, &str)]) -> Self {
        let mut body = Vec::new();
        for (key, value) in records {
            crate::layer::pax::push_record(&mut body, key.as_bytes(), value.as_bytes());
        }
        self.ext(b'x', body)
    }

    pub(super) fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1024]);
        self.0
    }
}

/// A root with a canary beside it, whose every attribute is watched.
pub(super) struct Scene {
    outer: tempfile::TempDir,
    before: Vec<String>,
}

impl Scene {
    pub(super) fn new() -> Self {
        let outer = tempfile::tempdir().unwrap();
        fs::create_dir(outer.path().join("root")).unwrap();
        fs::create_dir_all(outer.path().join("OUT/dir")).unwrap();
        fs::write(outer.path().join("OUT/secret"), "secret").unwrap();
        fs::write(outer.path().join("OUT/dir/inner"), "inner").unwrap();
        let before = canary(&outer.path().join("OUT"));
        Self { outer, before }
    }

    pub(super) fn root(&self) -> PathBuf {
        self.outer.path().join("root")
    }

    pub(super) fn out(&self) -> String {
        self.outer.path().join("OUT").to_str().unwrap().to_owned()
    }

    pub(super) fn rootfs(&self) -> Rootfs {
        Rootfs::open(&self.root()).unwrap()
    }

    pub(super) fn apply(&self, layer: &[u8], protected: &Protected) -> Result<Applied, Error> {
        let options = ApplyOptions {
            protected,
            limits: Limits {
                bytes: 64 << 20,
                entries: 100_000,
                depth: 1024,
            },
            owners: if is_root() {
                Owners::Set
            } else {
                Owners::Record
            },
            has_root_attributes: true,
        };
        apply(layer, &self.rootfs(), &options, None)
    }

    /// Fails if anything outside the root is not as it was.
    pub(super) fn assert_contained(&self, case: &str) {
        assert_eq!(
            self.before,
            canary(&self.outer.path().join("OUT")),
            "{case}: escaped"
        );
        let names = fs::read_dir(self.outer.path()).unwrap().count();
        assert_eq!(names, 2, "{case}: something new beside the root");
    }
}

/// Everything the kernel tells about a tree: ctime moves with any change.
fn canary(at: &Path) -> Vec<String> {
    let stat = fs::symlink_metadata(at).unwrap();
    let mut lines = vec![format!(
        "{at:?} {} {:o} {} {} {} {}.{} {:?}",
        stat.ino(),
        stat.mode(),
        stat.uid(),
        stat.nlink(),
        stat.mtime(),
        stat.ctime(),
        stat.ctime_nsec(),
        stat.is_file().then(|| fs::read(at).unwrap()),
    )];
    if stat.is_dir() {
        let mut names: Vec<_> = fs::read_dir(at)
            .unwrap()
            .map(|e| e.unwrap().path())
            .collect();
        names.sort();
        lines.extend(names.iter().flat_map(|name| canary(name)));
    }
    lines
}
