//! In place. These cases move a container's `/` about, so they run only where that is wanted: see `tests/sandbox/docker.sh`.

use crate::{Case, Who, install_busybox, run, shell, step};
use longshore::sandbox::{
    Choice, EnterOptions, Executor, Isolation, LayerSlot, Network, Protection, RunStatus,
    SandboxError, StepKind, Workspace, enter, restore,
};
use std::fs;
use std::path::{Path, PathBuf};

pub(crate) const CASES: &[Case] = &[
    ("refused::machine", Who::Root, machine),
    ("inplace::build", Who::Disposable, build),
    ("inplace::after_failure", Who::Disposable, after_failure),
    ("inplace::build_again", Who::Disposable, build),
    ("inplace::killed", Who::Disposable, killed),
    ("inplace::restored", Who::Disposable, restored),
    ("inplace::secrets", Who::Disposable, secrets),
];

fn options(force: bool) -> EnterOptions {
    EnterOptions {
        choice: Choice::Inplace,
        state_dir: std::env::temp_dir().join("longshore-state"),
        force,
        keep: vec![PathBuf::from("/kept/here")],
    }
}

/// A machine's own `/` is refused, whatever is said.
fn machine() {
    for force in [false, true] {
        match enter(&options(force)) {
            Err(SandboxError::NoIsolation { reasons }) => println!("   {}", reasons.join("; ")),
            other => panic!("{other:?}"),
        }
    }
    assert!(!Path::new("/.longshore").exists());
}

fn listing() -> String {
    let mut lines = Vec::new();
    let mut pending = vec![PathBuf::from("/")];
    while let Some(path) = pending.pop() {
        for entry in fs::read_dir(&path).unwrap() {
            let entry = entry.unwrap();
            let (path, kind) = (entry.path(), entry.metadata().unwrap());
            if ["/proc", "/sys", "/dev", "/tmp", "/test"]
                .iter()
                .any(|skipped| path == Path::new(skipped))
            {
                continue;
            }
            lines.push(format!(
                "{} {:?} {}",
                path.display(),
                kind.permissions(),
                kind.len() * u64::from(kind.is_file())
            ));
            if kind.is_dir() {
                pending.push(path);
            }
        }
    }
    lines.sort();
    lines.join("\n")
}

fn stage(executor: &dyn Executor) -> Box<dyn Workspace> {
    let mut workspace = executor.workspace("stage").unwrap();
    assert_eq!(
        workspace.open_layer("sha256:base").unwrap(),
        LayerSlot::Missing
    );
    install_busybox(workspace.root());
    fs::write(workspace.root().join("etc/hosts"), "the image's own").unwrap();
    workspace.seal_layer().unwrap();
    workspace
}

fn build() {
    let before = listing();
    let executor = enter(&options(false)).unwrap();
    assert_eq!(executor.isolation(), Isolation::Inplace);
    println!("   {}; {:?}", executor.describe(), executor.warnings());
    let mut workspace = stage(&*executor);
    assert_ne!(
        workspace.root(),
        Path::new("/"),
        "nothing moves before a command needs it"
    );

    assert_eq!(step(&mut *workspace, "cat /etc/passwd | wc -l; ls /bin/busybox; test -e /longshore/image-marker; ls -d /kept/here; ls / | tr '\\n' ' '").lines().take(2).collect::<Vec<_>>(), ["2", "/bin/busybox"]);
    assert_eq!(workspace.root(), Path::new("/"));
    assert_eq!(
        step(
            &mut *workspace,
            "grep -E '^(Cap(Inh|Eff|Bnd|Amb)|NoNewPrivs)' /proc/self/status | tr -d '\\t'"
        ),
        "CapInh:0000000000000000\nCapEff:00000000a80424fb\nCapBnd:00000000a80424fb\nCapAmb:0000000000000000\nNoNewPrivs:0\n"
    );
    assert_eq!(
        step(
            &mut *workspace,
            "env | sort; umask; ls /proc/self/fd | wc -l"
        ),
        "HOME=/root\nPATH=/bin\nPWD=/\nSHLVL=1\n0022\n4\n"
    );
    let protected = workspace.protected().unwrap();
    let how = |path: &str| {
        protected
            .iter()
            .find(|protected| protected.path == Path::new(path))
            .map(|protected| protected.protection)
    };
    assert_eq!(how("/proc"), Some(Protection::Mount));
    assert_eq!(how("/etc/resolv.conf"), Some(Protection::Mount));
    assert_eq!(how("/etc"), None, "the stage has an /etc of its own");
    assert_eq!(how("/longshore"), Some(Protection::Ours));
    assert_eq!(how("/kept"), Some(Protection::Pinned));

    // Daemons are gone afterwards.
    workspace.begin_step(StepKind::Run).unwrap();
    let (status, out, err) = run(
        &mut *workspace,
        &shell(
            "(setsid sh -c 'while :; do echo x >> /ticks; sleep 0.01; done' &); nohup sleep 1000 & sleep 0.1; echo made > /made; exit 3",
        ),
    );
    assert_eq!(status, RunStatus::Exited(3), "{out}{err}");
    let size = fs::metadata("/ticks").unwrap().len();
    std::thread::sleep(std::time::Duration::from_millis(100));
    assert_eq!(fs::metadata("/ticks").unwrap().len(), size);
    assert!(matches!(
        executor.check_special(Network::None, false),
        Err(SandboxError::RunRefused { .. })
    ));
    workspace.seal_step().unwrap();

    // Its tree is whole again beside the root; a second stage goes on from it, a third takes it over.
    let finished = workspace.finish().unwrap();
    assert_eq!(
        fs::read_to_string(finished.root().join("made")).unwrap(),
        "made\n"
    );
    assert_eq!(
        fs::read_to_string(finished.root().join("etc/hosts")).unwrap(),
        "the image's own"
    );
    let mut second = executor.branch("second", &finished, true).unwrap();
    step(&mut *second, "cat /made; echo second > /made");
    let second = second.finish().unwrap();
    assert_eq!(
        fs::read_to_string(finished.root().join("made")).unwrap(),
        "made\n"
    );
    let mut third = executor.branch("third", &second, false).unwrap();
    assert_eq!(step(&mut *third, "cat /made"), "second\n");
    drop(third);
    executor.finish().unwrap();
    assert_eq!(listing(), before);
}

fn after_failure() {
    let before = listing();
    let executor = enter(&options(false)).unwrap();
    let mut workspace = stage(&*executor);
    workspace.begin_step(StepKind::Run).unwrap();
    assert_eq!(
        run(
            &mut *workspace,
            &shell("rm -rf /etc /bin /usr /var 2>/dev/null; exit 7")
        )
        .0,
        RunStatus::Exited(7)
    );
    drop(workspace);
    // As an error on its way out of the program does.
    drop(executor);
    assert_eq!(listing(), before);
}

/// Leaves a killed build behind; `restored` is the next start.
fn killed() {
    fs::write("/tmp/listing", listing()).unwrap();
    let executor = enter(&options(false)).unwrap();
    let mut workspace = stage(&*executor);
    step(&mut *workspace, "echo made > /made");
    // No destructor runs, as after kill -9.
    std::mem::forget((workspace, executor));
    assert!(Path::new("/made").exists());
}

fn restored() {
    assert!(restore().unwrap(), "there is something to restore");
    assert!(!restore().unwrap());
    assert!(!Path::new("/made").exists() && !Path::new("/.longshore").exists());
    // `/tmp` is part of what was put back.
    let (before, after) = (fs::read_to_string("/tmp/listing").unwrap(), listing());
    for (before, after) in before.lines().zip(after.lines()) {
        assert_eq!(after, before);
    }
    assert_eq!(after.lines().count(), before.lines().count());
}

/// Process 1 has a secret in its environment (see `docker.sh`), and we have one in memory.
fn secrets() {
    let executor = enter(&options(false)).unwrap();
    let mut workspace = stage(&*executor);
    let script = "for d in /proc/[0-9]*; do for f in environ mem maps; do case $d in /proc/$$) ;; *) \
                  if cat $d/$f > /tmp/out 2>/dev/null && test -s /tmp/out; then echo readable $d/$f; cat $d/environ | tr '\\0' ' '; fi ;; esac; done; done";
    let out = step(&mut *workspace, script);
    // Processes that are no more than a RUN are the RUN's own: the shell's children.
    assert!(!out.contains("/proc/1/"), "{out}");
    assert!(
        !out.contains(&format!("/proc/{}/", std::process::id())),
        "{out}"
    );
    assert!(!out.contains("planted"), "{out}");
    drop(workspace);
    executor.finish().unwrap();
}
