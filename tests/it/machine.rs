//! What this machine allows. What it does not allow is skipped aloud, and is a failure with `LONGSHORE_TEST_STRICT=1`.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::OnceLock;

use crate::program::Scene;

/// Says that the running test cannot be run here, and why.
pub(crate) fn skip(reason: &str) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    assert!(
        std::env::var_os("LONGSHORE_TEST_STRICT").is_none_or(|value| value != "1"),
        "{test} is skipped: {reason}"
    );
    // Past the harness, which keeps what a passing test prints.
    writeln!(std::io::stderr(), "\nSKIPPED {test}: {reason}").expect("standard error");
}

#[derive(Debug)]
struct Findings {
    /// What `longshore doctor` printed where no isolation works.
    refused: Option<String>,
    /// Why commands cannot be run, where stages of COPY can be built.
    runs_nothing: Option<String>,
}

fn findings() -> &'static Findings {
    static FINDINGS: OnceLock<Findings> = OnceLock::new();
    FINDINGS.get_or_init(|| {
        let scene = Scene::bare();
        let doctor = scene.longshore(&["doctor"]).run();
        let chosen = doctor
            .stdout
            .lines()
            .find_map(|line| line.strip_prefix("a build here uses: "));
        let detail = chosen.and_then(|chosen| {
            let mut lines = doctor.stdout.lines();
            lines.find(|line| *line == format!("{chosen}: works"))?;
            lines.next()
        });
        Findings {
            refused: chosen.is_none().then(|| {
                let lines: Vec<&str> = doctor.stdout.lines().map(str::trim).collect();
                format!("{}{}", lines.join("; "), doctor.stderr.trim_end())
            }),
            runs_nothing: detail
                .filter(|detail| detail.contains("COPY only"))
                .map(str::to_owned),
        }
    })
}

/// Whether stages can be built; skips aloud if not.
pub(crate) fn can_build() -> bool {
    if let Some(reason) = &findings().refused {
        skip(&format!("no isolation works here: {reason}"));
        return false;
    }
    true
}

/// Whether commands can be run; skips aloud if not.
pub(crate) fn can_run() -> bool {
    if !can_build() {
        return false;
    }
    if let Some(reason) = &findings().runs_nothing {
        skip(&format!("commands cannot be run here: {reason}"));
        return false;
    }
    true
}

/// A static busybox where commands can be run; skips aloud if there is none.
pub(crate) fn busybox() -> Option<PathBuf> {
    if !can_run() {
        return None;
    }
    let path = PathBuf::from("/bin/busybox");
    match std::fs::read(&path) {
        Ok(bytes) if is_static(&bytes) => Some(path),
        Ok(_) => {
            skip("/bin/busybox is not a static program (Debian: busybox-static)");
            None
        }
        Err(error) => {
            skip(&format!("/bin/busybox: {error} (Debian: busybox-static)"));
            None
        }
    }
}

/// Whether a 64-bit ELF file names no interpreter (elf(5), `PT_INTERP`).
fn is_static(elf: &[u8]) -> bool {
    const PT_INTERP: u32 = 3;
    let half = |at: usize| {
        elf.get(at..at + 2)
            .map(|b| u16::from_le_bytes([b[0], b[1]]))
    };
    let word = |at: usize| {
        elf.get(at..at + 4)
            .map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
    };
    let Some(headers) = word(32).filter(|_| elf.starts_with(b"\x7fELF\x02\x01")) else {
        return false;
    };
    let (Some(size), Some(count)) = (half(54), half(56)) else {
        return false;
    };
    (0..usize::from(count))
        .all(|index| word(headers as usize + index * usize::from(size)) != Some(PT_INTERP))
}

/// Whether the test is root.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
