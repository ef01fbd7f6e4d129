//! What is packed is what is applied, and always in the same bytes.

use std::fs;
use std::io::{self, Read, Write};
use std::num::NonZeroUsize;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

use crate::layer::*;
use crate::oci::{Compression, Digest};
use crate::rootfs::{Device, Node, Owner, Protected, RelPath, Rootfs, Timestamp};
use crate::snapshot::{Change, ChangeKind, Changes, Contents, Index, ScanOptions};

use super::builder::is_root;

/// A tar that holds `f` with an `x` in it, as xz packs it: the decoder that we use comes without an encoder.
const XZ: &str = "\
fd377a585a0000016922de36020021010c0000008f98419ce007ff00395d003300335018688982eda78069fada6df2b6\
a6df1c9f1c82a5eed610093f8422dc865d198f6480e25dff52155851f4162b9b8335417d9668d50000000000584fa482\
000151801000000082e878e53e300d8b020000000001595a";

fn path(raw: impl AsRef<[u8]>) -> RelPath {
    RelPath::parse(raw).unwrap()
}

fn scan(rootfs: &Rootfs) -> Index {
    let options = ScanOptions {
        threads: NonZeroUsize::MIN,
        contents: Contents::All,
        previous: None,
    };
    Index::scan(rootfs, &Protected::none(), options).unwrap()
}

/// A tree of everything that a layer can hold.
fn fill(rootfs: &Rootfs) {
    let write = |p: &RelPath, bytes: &[u8]| {
        rootfs
            .create_file(p, 0o644)
            .unwrap()
            .write_all(bytes)
            .unwrap();
    };
    rootfs
        .create_dir_all(&path("usr/share/empty"), 0o755, None)
        .unwrap();
    let mut state = 88_172_645_463_325_252u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    })
    .take(5_000_000)
    .collect();
    write(&path("usr/noise"), &noise);
    write(&path("usr/zeros"), &vec![0; 3_000_000]);
    write(&path(b"usr/\xff\xfe name"), b"not utf-8");
    write(&path("usr/setuid"), b"#!");
    rootfs.set_mode(&path("usr/setuid"), 0o4755).unwrap();
    rootfs
        .hard_link(&path("usr/zzz"), &path("usr/setuid"))
        .unwrap();
    rootfs.symlink(&path("bin"), b"usr/../usr").unwrap();
    rootfs
        .symlink(&path("long-link"), "t/".repeat(500).as_bytes())
        .unwrap();
    let long = path(vec!["n".repeat(200); 5].join("/"));
    rootfs.create_dir_all(&long, 0o700, None).unwrap();
    write(&long.child(b"leaf"), b"leaf");
    rootfs
        .create_node(&path("fifo"), Node::Fifo, 0o600)
        .unwrap();
    rootfs
        .set_mtime(
            &path("usr/noise"),
            Timestamp {
                secs: 1_700_000_000,
                nanos: 123_456_789,
            },
        )
        .unwrap();
    rootfs
        .set_mtime(
            &path("usr/zeros"),
            Timestamp {
                secs: -5,
                nanos: 500_000_000,
            },
        )
        .unwrap();
    rootfs
        .set_mtime(&path("usr/setuid"), Timestamp { secs: 77, nanos: 0 })
        .unwrap();
    if let Err(error) = rootfs.set_xattr(&path("usr/noise"), b"user.k", b"v=\0\n") {
        eprintln!("skipped attributes: {error}");
    }
    if is_root() {
        rootfs
            .set_owner(
                &path("usr/noise"),
                Owner {
                    uid: 3_000_000,
                    gid: 4,
                },
            )
            .unwrap();
        let capability = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
        rootfs
            .set_xattr(&path("usr/zeros"), b"security.capability", capability)
            .unwrap();
        match rootfs.create_node(
            &path("null"),
            Node::Char(Device { major: 1, minor: 3 }),
            0o666,
        ) {
            Ok(()) => {}
            Err(error) => eprintln!("skipped devices: {error}"),
        }
    } else {
        eprintln!("skipped owners, capabilities and devices: not root");
    }
    rootfs
        .set_mtime(&path("usr"), Timestamp { secs: 99, nanos: 9 })
        .unwrap();
}

fn everything(rootfs: &Rootfs) -> Changes {
    let empty = tempfile::tempdir().unwrap();
    scan(rootfs).changes_since(&scan(&Rootfs::open(empty.path()).unwrap()))
}

fn packed(
    rootfs: &Rootfs,
    changes: &Changes,
    compression: Compression,
    threads: usize,
) -> (Packed, Vec<u8>) {
    let options = PackOptions {
        compression,
        threads: NonZeroUsize::new(threads).unwrap(),
        ..PackOptions::default()
    };
    let mut bytes = Vec::new();
    let packed = pack(changes, rootfs, &options, &mut bytes).unwrap();
    assert_eq!(packed.size, bytes.len() as u64);
    assert_eq!(packed.digest, Digest::of(&bytes));
    assert!(packed.warnings.is_empty(), "{:?}", packed.warnings);
    (packed, bytes)
}

fn options(protected: &Protected) -> ApplyOptions<'_> {
    ApplyOptions {
        protected,
        limits: Limits::default(),
        owners: if is_root() {
            Owners::Set
        } else {
            Owners::Record
        },
        has_root_attributes: false,
    }
}

#[test]
fn what_is_applied_packs_to_the_same_bytes() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (from, to) = (
        Rootfs::open(from.path()).unwrap(),
        Rootfs::open(to.path()).unwrap(),
    );
    fill(&from);
    let none = Protected::none();
    let (first, bytes) = packed(&from, &everything(&from), Compression::Gzip, 2);
    let applied = apply(bytes.as_slice(), &to, &options(&none), Some(&first.diff_id)).unwrap();
    assert_eq!(
        (applied.entries, applied.uncompressed),
        (first.entries, first.uncompressed)
    );
    assert!(applied.warnings.is_empty(), "{:?}", applied.warnings);
    let (second, again) = packed(&to, &everything(&to), Compression::Gzip, 1);
    assert_eq!(first.diff_id, second.diff_id);
    assert!(bytes == again);
    // A second application changes nothing.
    apply(bytes.as_slice(), &to, &options(&none), Some(&first.diff_id)).unwrap();
    assert_eq!(
        packed(&to, &everything(&to), Compression::Gzip, 1).0.digest,
        first.digest
    );
}

#[test]
fn what_is_inflated_first_is_applied_the_same() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let from = Rootfs::open(from.path()).unwrap();
    fill(&from);
    let none = Protected::none();
    for (number, compression) in [Compression::Gzip, Compression::Zstd, Compression::None]
        .into_iter()
        .enumerate()
    {
        let (first, bytes) = packed(&from, &everything(&from), compression, 1);
        let inflated = |bytes: &[u8], bytes_max| {
            inflate(bytes, tempfile::tempfile().unwrap(), bytes_max, || true)
        };
        let target = to.path().join(number.to_string());
        fs::create_dir(&target).unwrap();
        let to = Rootfs::open(&target).unwrap();
        let tar = inflated(&bytes, first.uncompressed).unwrap().unwrap();
        let other = Digest::of(b"other");
        let refused = apply_inflated(tar, &to, &options(&none), Some(&other));
        assert!(matches!(refused, Err(Error::DiffId { .. })), "{refused:?}");
        assert_eq!(to.read_dir(&RelPath::root()).unwrap().len(), 0);
        let tar = inflated(&bytes, first.uncompressed).unwrap().unwrap();
        let applied = apply_inflated(tar, &to, &options(&none), Some(&first.diff_id)).unwrap();
        assert_eq!(
            (applied.entries, applied.uncompressed),
            (first.entries, first.uncompressed)
        );
        assert_eq!(packed(&to, &everything(&to), compression, 1).0, first);
        let failed = inflated(&bytes, first.uncompressed - 1);
        assert!(matches!(failed, Err(Error::Limit { .. })), "{failed:?}");
        let failed = inflated(&bytes[..bytes.len() / 2], u64::MAX);
        let is_tar = compression == Compression::None;
        assert_eq!(failed.is_ok(), is_tar, "half of a plain tar is a plain tar");
        let over = inflate(
            bytes.as_slice(),
            tempfile::tempfile().unwrap(),
            u64::MAX,
            || false,
        );
        assert!(over.unwrap().is_none());
    }
}

#[test]
fn bytes_do_not_depend_on_threads() {
    let root = tempfile::tempdir().unwrap();
    let rootfs = Rootfs::open(root.path()).unwrap();
    fill(&rootfs);
    let changes = everything(&rootfs);
    for compression in [Compression::Gzip, Compression::Zstd, Compression::None] {
        let (first, bytes) = packed(&rootfs, &changes, compression, 1);
        for threads in 2..=8 {
            let (other, others) = packed(&rootfs, &changes, compression, threads);
            assert_eq!(first, other, "{compression:?} with {threads} threads");
            assert!(bytes == others);
        }
        let mut tar = Vec::new();
        match compression {
            Compression::Gzip => {
                flate2::read::GzDecoder::new(bytes.as_slice()).read_to_end(&mut tar)
            }
            Compression::Zstd => zstd::stream::read::Decoder::new(bytes.as_slice())
                .unwrap()
                .read_to_end(&mut tar),
            Compression::None => bytes.as_slice().read_to_end(&mut tar),
        }
        .unwrap();
        assert_eq!(Digest::of(&tar), first.diff_id, "{compression:?}");
        assert_eq!(tar.len() as u64, first.uncompressed);
    }
}

#[test]
fn the_tar_crate_reads_the_same_entries() {
    let root = tempfile::tempdir().unwrap();
    let rootfs = Rootfs::open(root.path()).unwrap();
    fill(&rootfs);
    let changes = everything(&rootfs);
    let (_, bytes) = packed(&rootfs, &changes, Compression::None, 1);
    let mut archive = tar::Archive::new(bytes.as_slice());
    let names: Vec<_> = archive
        .entries()
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            assert!(entry.header().username_bytes().is_none_or(<[u8]>::is_empty));
            RelPath::parse(entry.path_bytes()).unwrap()
        })
        .collect();
    assert_eq!(
        names,
        changes
            .iter()
            .map(|change| change.path.clone())
            .collect::<Vec<_>>()
    );
}

#[test]
fn whiteouts_and_recorded_owners_are_written() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("a/b")).unwrap();
    fs::write(root.path().join("a/f"), "x").unwrap();
    let rootfs = Rootfs::open(root.path()).unwrap();
    let change = |p: &str, kind| Change {
        path: path(p),
        kind,
    };
    let changes = Changes::new(vec![
        change("a/gone", ChangeKind::Deleted),
        change("a/f", ChangeKind::Modified),
        change("a/vanished", ChangeKind::Added),
        change("no/such", ChangeKind::Added),
    ]);
    let mut ownership = Ownership::default();
    ownership.set_owner(path("a/f"), Owner { uid: 7, gid: 8 });
    ownership.set_mode(path("a/f"), 0o4711);
    let newest = Timestamp { secs: 5, nanos: 0 };
    let options = PackOptions {
        compression: Compression::None,
        ownership: Some(&ownership),
        newest_mtime: Some(newest),
        ..PackOptions::default()
    };
    let mut bytes = Vec::new();
    pack(&changes, &rootfs, &options, &mut bytes).unwrap();
    let mut archive = tar::Archive::new(bytes.as_slice());
    let seen: Vec<_> = archive
        .entries()
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let header = entry.header();
            let name = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
            (
                name,
                header.mode().unwrap(),
                header.uid().unwrap(),
                header.mtime().unwrap(),
            )
        })
        .collect();
    let uid = u64::from(rustix::process::geteuid().as_raw());
    assert_eq!(seen.len(), 3, "{seen:?}");
    assert_eq!((seen[0].0.as_str(), seen[0].2, seen[0].3), ("a/", uid, 5));
    assert_eq!(seen[1], ("a/f".to_owned(), 0o4711, 7, 5));
    assert_eq!(seen[2], ("a/.wh.gone".to_owned(), 0, 0, 0));
}

#[test]
fn a_wrong_diff_id_is_told() {
    let root = tempfile::tempdir().unwrap();
    let rootfs = Rootfs::open(root.path()).unwrap();
    let tar = super::builder::Archive::new().f("f", "x").end();
    let wrong = Digest::of(b"other");
    let none = Protected::none();
    let error = apply(tar.as_slice(), &rootfs, &options(&none), Some(&wrong)).unwrap_err();
    assert!(matches!(error, Error::DiffId { expected, .. } if expected == wrong));
}

#[test]
fn a_full_sink_is_told_and_does_not_hang() {
    struct Full(usize);
    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self
                .0
                .checked_sub(bytes.len())
                .ok_or_else(|| io::Error::from(io::ErrorKind::StorageFull))?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let root = tempfile::tempdir().unwrap();
    let rootfs = Rootfs::open(root.path()).unwrap();
    fill(&rootfs);
    let changes = everything(&rootfs);
    for room in [0, 10, 1 << 20, 2 << 20] {
        let error = pack(&changes, &rootfs, &PackOptions::default(), Full(room)).unwrap_err();
        assert!(
            matches!(&error, Error::Sink(e) if e.kind() == io::ErrorKind::StorageFull),
            "{error:?}"
        );
    }
}

#[test]
fn tells_archives_from_other_files() {
    let tar = super::builder::Archive::new().f("f", "x").end();
    let gzip = |bytes: &[u8]| {
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        out.write_all(bytes).unwrap();
        out.finish().unwrap()
    };
    let bzip2 = |bytes: &[u8]| {
        let mut out = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        out.write_all(bytes).unwrap();
        out.finish().unwrap()
    };
    let zstd = |bytes: &[u8]| zstd::bulk::compress(bytes, 1).unwrap();
    for (bytes, expect) in [
        (tar.clone(), Some(Format::Tar)),
        (gzip(&tar), Some(Format::Gzip)),
        (bzip2(&tar), Some(Format::Bzip2)),
        (hex::decode(XZ).unwrap(), Some(Format::Xz)),
        (zstd(&tar), Some(Format::Zstd)),
        (gzip(b"text"), None),
        (zstd(b"text"), None),
        (b"BZh but not".to_vec(), None),
        (b"text".to_vec(), None),
        (Vec::new(), None),
        (vec![0; 4096], None),
    ] {
        assert_eq!(sniff(bytes.as_slice()).unwrap(), expect);
        if let Some(format) = expect {
            let root = tempfile::tempdir().unwrap();
            let rootfs = Rootfs::open(root.path()).unwrap();
            let options = ArchiveOptions {
                protected: &Protected::none(),
                limits: Limits::default(),
                owners: Owners::Record,
                owner: Some(Owner { uid: 5, gid: 6 }),
            };
            let extracted =
                extract_archive(bytes.as_slice(), &rootfs, &RelPath::root(), &options, None)
                    .unwrap();
            assert_eq!(extracted.format, format);
            assert_eq!(extracted.recorded, [(path("f"), Owner { uid: 5, gid: 6 })]);
            assert_eq!(fs::read(root.path().join("f")).unwrap(), b"x");
        }
    }
}

#[test]
fn sockets_are_left_out() {
    let root = tempfile::tempdir().unwrap();
    let _listener = std::os::unix::net::UnixListener::bind(root.path().join("s")).unwrap();
    symlink("s", root.path().join("l")).unwrap();
    let rootfs = Rootfs::open(root.path()).unwrap();
    let changes = everything(&rootfs);
    assert_eq!(
        changes.iter().map(|c| c.path.clone()).collect::<Vec<_>>(),
        [path("l")]
    );
    let touched = Changes::from_paths(&rootfs, &Protected::none(), [path("s"), path("l")]).unwrap();
    assert_eq!(touched, changes);
    let name = std::ffi::OsStr::from_bytes(b"l");
    assert!(root.path().join(name).is_symlink());
}
