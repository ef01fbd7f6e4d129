//! Memory does not grow with what is packed and applied. The peak of a whole process is looked at, so this is a program of
//! its own with one test in it; `benches/measure.py --assert` judges the same of whole builds.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::num::NonZeroUsize;

use longshore::layer::{ApplyOptions, Limits, Owners, PackOptions, apply, pack};
use longshore::oci::Compression;
use longshore::rootfs::{Protected, RelPath, Rootfs};
use longshore::snapshot::Changes;

/// A layer's content, in bytes.
const CONTENT: u64 = 256 << 20;
/// What all of it may take, in KiB, on a machine of any size.
const GROWTH_KIB_MAX: u64 = 96 << 10;

/// The process's largest resident set so far, in KiB.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("a mounted /proc");
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|rest| rest.split_ascii_whitespace().next()?.parse().ok())
        .expect("a line VmHWM")
}

#[test]
fn a_layer_is_packed_and_applied_in_little_memory() {
    let directory = tempfile::tempdir().unwrap();
    let (from, to) = (directory.path().join("from"), directory.path().join("to"));
    fs::create_dir(&from).unwrap();
    // Mostly holes, which no one notices but the disk; a little that cannot be guessed at the end.
    let mut big = File::create(from.join("big")).unwrap();
    big.set_len(CONTENT).unwrap();
    big.seek(SeekFrom::Start(CONTENT - 5)).unwrap();
    big.write_all(b"close").unwrap();
    for number in 0..1000 {
        fs::write(from.join(format!("small-{number}")), number.to_string()).unwrap();
    }
    let rootfs = Rootfs::open(&from).unwrap();
    let names = rootfs.read_dir(&RelPath::root()).unwrap();
    let touched = names.iter().map(|name| RelPath::root().child(name));
    let none = Protected::none();
    let changes = Changes::from_paths(&rootfs, &none, touched).unwrap();

    let before = peak();
    for compression in [Compression::Gzip, Compression::Zstd, Compression::None] {
        let blob = directory.path().join("blob");
        let options = PackOptions {
            compression,
            threads: NonZeroUsize::new(64).unwrap(),
            ..PackOptions::default()
        };
        let packed = pack(&changes, &rootfs, &options, File::create(&blob).unwrap()).unwrap();
        assert!(packed.uncompressed > CONTENT);
        let packing = peak() - before;
        assert!(
            packing < GROWTH_KIB_MAX,
            "{packing} KiB after packing with {compression:?}"
        );

        fs::create_dir(&to).unwrap();
        let options = ApplyOptions {
            protected: &none,
            limits: Limits::default(),
            owners: Owners::Record,
            has_root_attributes: true,
        };
        let target = Rootfs::open(&to).unwrap();
        let blob = File::open(&blob).unwrap();
        let applied = apply(blob, &target, &options, Some(&packed.diff_id)).unwrap();
        assert_eq!(applied.entries, 1001);
        let applying = peak() - before;
        assert!(
            applying < GROWTH_KIB_MAX,
            "{applying} KiB after applying {compression:?}"
        );
        assert_eq!(fs::metadata(to.join("big")).unwrap().len(), CONTENT);
        fs::remove_dir_all(&to).unwrap();
    }
}
