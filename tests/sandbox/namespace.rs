//! In namespaces: as root, as a container's root, as an ordinary user.

use crate::{Case, Who, run, shell, step, with_busybox};
use longshore::sandbox::{
    Cancel, ChangeSource, Choice, EnterOptions, Executor, LayerSlot, Network, Ownership, RunOutput,
    RunStatus, SandboxError, StepKind, enter, probe_all,
};
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::time::{Duration, Instant};

/// Longer than what has to be over by then takes on a busy machine, shorter than what would go on if it were not ended.
const LONG: Duration = Duration::from_mins(1);

pub(crate) const CASES: &[Case] = &[
    ("root::surroundings", Who::Root, surroundings),
    ("root::layers", Who::Root, layers),
    ("root::processes", Who::Root, processes),
    ("root::many_layers", Who::Root, many_layers),
    ("root::concurrent", Who::Root, concurrent),
    ("identity::surroundings", Who::ContainerRoot, surroundings),
    ("identity::layers", Who::ContainerRoot, layers),
    ("identity::processes", Who::ContainerRoot, processes),
    ("user::surroundings", Who::GrantedUser, surroundings),
    ("user::layers", Who::GrantedUser, layers),
    ("user::processes", Who::GrantedUser, processes),
    ("user::single", Who::User, single),
    ("root::doctor", Who::Root, doctor),
];

fn state() -> tempfile::TempDir {
    tempfile::tempdir_in(std::env::temp_dir()).unwrap()
}

fn enter_namespace(state: &Path) -> Box<dyn Executor> {
    let started = Instant::now();
    let executor = enter(&EnterOptions {
        choice: Choice::Namespace,
        state_dir: state.to_owned(),
        force: false,
        keep: Vec::new(),
    })
    .unwrap();
    println!("   {} [{:?}]", executor.describe(), started.elapsed());
    executor
}

fn names(root: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn surroundings() {
    let state = state();
    let executor = enter_namespace(state.path());
    let mut workspace = with_busybox(&*executor, "sha256:base");

    let dev = step(
        &mut *workspace,
        "ls /dev; echo x > /dev/null; head -c 3 /dev/zero | wc -c; head -c 3 /dev/urandom | wc -c; echo > /dev/shm/x; ls /dev/pts",
    );
    for name in [
        "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin",
        "stdout", "tty", "urandom", "zero",
    ] {
        assert!(dev.lines().any(|line| line == name), "{name} in {dev}");
    }
    assert_eq!(
        step(&mut *workspace, "hostname; cat /etc/hosts /etc/resolv.conf"),
        "buildkitsandbox\n127.0.0.1 localhost here\nnameserver 192.0.2.1\n"
    );
    assert_eq!(
        step(&mut *workspace, "env | sort; umask; pwd"),
        "HOME=/root\nPATH=/bin\nPWD=/\nSHLVL=1\n0022\n/\n"
    );
    // Standard streams, the directory being listed, and nothing else.
    assert_eq!(
        step(
            &mut *workspace,
            "ls /proc/self/fd | wc -l; readlink /proc/self/fd/0"
        ),
        "4\n/dev/null\n"
    );
    assert_eq!(
        step(
            &mut *workspace,
            "grep -E '^(Cap(Inh|Prm|Eff|Bnd|Amb)|NoNewPrivs)' /proc/self/status | tr -d '\\t'"
        ),
        "CapInh:0000000000000000\nCapPrm:00000000a80424fb\nCapEff:00000000a80424fb\nCapBnd:00000000a80424fb\nCapAmb:0000000000000000\nNoNewPrivs:0\n"
    );
    // Nothing of the kernel's is to be written.
    for path in [
        "/proc/sys/kernel/core_pattern",
        "/proc/sysrq-trigger",
        "/sys/kernel/profiling",
    ] {
        let line =
            format!("test -e {path} || exit 0; if (: >> {path}) 2>/dev/null; then exit 1; fi");
        step(&mut *workspace, &line);
    }
    assert_eq!(
        step(
            &mut *workspace,
            "cat /proc/kcore /proc/keys 2>/dev/null | wc -c"
        ),
        "0\n"
    );

    // Another user: ids, no capabilities, groups.
    workspace.begin_step(StepKind::Run).unwrap();
    let mut spec = shell(
        "id -u; id -g; id -G; grep -E '^Cap(Prm|Eff)' /proc/self/status | tr -d '\\t'; touch /tmp/mine; if touch /etc/x 2>/dev/null; then exit 9; fi",
    );
    (spec.uid, spec.gid, spec.groups, spec.workdir) = (7, 8, vec![8, 9], "/made/for/it".into());
    let (status, out, err) = run(&mut *workspace, &spec);
    assert_eq!(
        (status, out.as_str()),
        (
            RunStatus::Exited(0),
            "7\n8\n8 9\nCapPrm:0000000000000000\nCapEff:0000000000000000\n"
        ),
        "{err}"
    );
    let made = fs::metadata(workspace.root().join("tmp/mine")).unwrap();
    assert_eq!((made.uid(), made.gid()), (7, 8));
    workspace.seal_step().unwrap();

    // The root has no devices, whoever makes them.
    step(
        &mut *workspace,
        "mknod /null c 1 3 2>/dev/null || exit 0; if (echo x > /null) 2>/dev/null; then exit 1; fi; rm /null",
    );
    // A network of its own.
    workspace.begin_step(StepKind::Run).unwrap();
    let mut spec = shell("ip -o addr | wc -l; ip -o addr | grep -c 127.0.0.1");
    spec.network = Network::None;
    let (status, out, err) = run(&mut *workspace, &spec);
    assert_eq!(status, RunStatus::Exited(0), "{out}{err}");
    assert_eq!(out.lines().last(), Some("1"), "{out}");
    workspace.seal_step().unwrap();

    drop(workspace);
    executor.finish().unwrap();
    assert_eq!(names(&state.path().join("builds")), [""; 0]);
}

fn layers() {
    let state = state();
    let executor = enter_namespace(state.path());
    assert_eq!(executor.ownership(), Ownership::Real);
    let mut workspace = with_busybox(&*executor, "sha256:base");

    // A second layer through links, with deletions.
    assert_eq!(
        workspace.open_layer("sha256:second").unwrap(),
        LayerSlot::Missing
    );
    fs::remove_file(workspace.root().join("bin/false")).unwrap();
    fs::hard_link(
        workspace.root().join("bin/busybox"),
        workspace.root().join("bin/linked"),
    )
    .unwrap();
    workspace.seal_layer().unwrap();
    // A third one, abandoned.
    assert_eq!(
        workspace.open_layer("sha256:third").unwrap(),
        LayerSlot::Missing
    );
    fs::write(workspace.root().join("half"), "").unwrap();
    workspace.abandon_layer().unwrap();
    assert!(
        !workspace.root().join("half").exists() && !workspace.root().join("bin/false").exists()
    );

    // A step that changes nothing leaves nothing, whatever was mounted for it.
    workspace.begin_step(StepKind::Run).unwrap();
    run(&mut *workspace, &shell("true"));
    let ChangeSource::Upper(view) = workspace.changes().unwrap() else {
        panic!("no upper directory")
    };
    workspace.seal_step().unwrap();
    // Directories in which mount points were made may have been copied up; they are as they were below.
    for name in names(view.upper()) {
        assert!(["etc"].contains(&name.as_str()), "{name}");
        assert_eq!(names(&view.upper().join(&name)), [""; 0]);
        let (upper, lower) = (
            fs::metadata(view.upper().join(&name)).unwrap(),
            fs::metadata(view.lower().join(&name)).unwrap(),
        );
        assert_eq!(
            (upper.mtime(), upper.mtime_nsec(), upper.mode()),
            (lower.mtime(), lower.mtime_nsec(), lower.mode())
        );
    }
    drop(view);

    workspace.begin_step(StepKind::Run).unwrap();
    run(
        &mut *workspace,
        &shell(
            "echo new > /new; rm /bin/true; rm -r /tmp; mkdir /tmp; mkdir /proc2; chown 12:34 /new",
        ),
    );
    let ChangeSource::Upper(view) = workspace.changes().unwrap() else {
        panic!("no upper directory")
    };
    workspace.seal_step().unwrap();
    // Readable while the next step goes on.
    workspace.begin_step(StepKind::Run).unwrap();
    run(&mut *workspace, &shell("echo newer > /new"));
    assert_eq!(names(view.upper()), ["bin", "etc", "new", "proc2", "tmp"]);
    assert!(
        fs::symlink_metadata(view.upper().join("bin/true"))
            .unwrap()
            .file_type()
            .is_char_device()
    );
    assert_eq!(
        fs::read_to_string(view.upper().join("new")).unwrap(),
        "new\n"
    );
    let owner = fs::metadata(view.upper().join("new")).unwrap();
    assert_eq!((owner.uid(), owner.gid()), (12, 34));
    assert!(view.lower().join("bin/true").symlink_metadata().is_ok());
    drop(view);
    workspace.seal_step().unwrap();

    let finished = workspace.finish().unwrap();
    assert_eq!(
        fs::read_to_string(finished.root().join("new")).unwrap(),
        "newer\n"
    );
    // Two stages on one that stays as it is.
    let mut one = executor.branch("one", &finished, true).unwrap();
    let mut two = executor.branch("two", &finished, false).unwrap();
    step(&mut *one, "echo one > /new");
    assert_eq!(step(&mut *two, "cat /new"), "newer\n");
    assert_eq!(step(&mut *one, "cat /new"), "one\n");
    drop((one, two));
    assert_eq!(
        fs::read_to_string(finished.root().join("new")).unwrap(),
        "newer\n"
    );

    // The layers are there for the next stage.
    let mut again = executor.workspace("again").unwrap();
    assert_eq!(again.open_layer("sha256:base").unwrap(), LayerSlot::Present);
    assert_eq!(
        again.open_layer("sha256:second").unwrap(),
        LayerSlot::Present
    );
    assert_eq!(
        again.open_layer("sha256:third").unwrap(),
        LayerSlot::Missing
    );
    again.abandon_layer().unwrap();
    step(&mut *again, "test -e /bin/linked && ! test -e /bin/false");
    drop((again, finished));
    // From nothing: a command has no shell, and that is said.
    let mut scratch = executor.workspace("scratch").unwrap();
    scratch.begin_step(StepKind::Run).unwrap();
    let mut output = RunOutput {
        stdout: &mut std::io::sink(),
        stderr: &mut std::io::sink(),
        cancel: None,
    };
    let error = scratch.run(&shell("true"), &mut output).unwrap_err();
    assert!(
        matches!(&error, SandboxError::Exec { program, .. } if program == "/bin/sh"),
        "{error}"
    );
    assert_eq!(names(scratch.root()), [""; 0]);
    drop(scratch);
    drop(executor);
    assert_eq!(names(&state.path().join("builds")), [""; 0]);
}

fn processes() {
    let state = state();
    let executor = enter_namespace(state.path());
    let mut workspace = with_busybox(&*executor, "sha256:base");
    workspace.begin_step(StepKind::Run).unwrap();

    assert_eq!(
        run(&mut *workspace, &shell("exit 42")).0,
        RunStatus::Exited(42)
    );
    let (status, _, _) = run(&mut *workspace, &shell("kill -9 $$; sleep 5"));
    // Process 1 of a PID namespace is not killed by its own.
    assert!(
        matches!(
            status,
            RunStatus::Signaled { signal: 9, .. } | RunStatus::Exited(0)
        ),
        "{status:?}"
    );
    // A missing program of an existing directory.
    let mut spec = shell("");
    spec.argv = vec!["nosuch".into()];
    let mut output = RunOutput {
        stdout: &mut std::io::sink(),
        stderr: &mut std::io::sink(),
        cancel: None,
    };
    assert_eq!(
        workspace.run(&spec, &mut output).unwrap_err().to_string(),
        "nosuch: No such file or directory (os error 2)"
    );

    // Daemons do not outlive the step: the file does not grow any more.
    let started = Instant::now();
    let (status, out, _) = run(
        &mut *workspace,
        &shell(
            "(setsid sh -c 'while :; do echo x >> /ticks; sleep 0.01; done' &) ; nohup sleep 1000 & sleep 0.1; echo done",
        ),
    );
    assert_eq!((status, out.as_str()), (RunStatus::Exited(0), "done\n"));
    assert!(started.elapsed() < LONG);
    let size = fs::metadata(workspace.root().join("ticks")).unwrap().len();
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(
        fs::metadata(workspace.root().join("ticks")).unwrap().len(),
        size
    );

    // A megabyte on both streams arrives whole.
    let (_, out, err) = run(&mut *workspace, &shell("seq 1 100000; seq 1 100000 >&2"));
    assert_eq!(
        (out.lines().count(), err.lines().count()),
        (100_000, 100_000)
    );

    // Called off: gently first.
    let cancel = Cancel::new().unwrap();
    let mut out = Vec::new();
    let started = Instant::now();
    let status = std::thread::scope(|scope| {
        let switch = cancel.clone();
        scope.spawn(move || {
            std::thread::sleep(Duration::from_millis(300));
            switch.cancel();
        });
        let spec = shell("trap 'echo gently; exit 0' TERM; while :; do sleep 0.1; done");
        let mut output = RunOutput {
            stdout: &mut out,
            stderr: &mut std::io::sink(),
            cancel: Some(&cancel),
        };
        workspace.run(&spec, &mut output).unwrap()
    });
    assert_eq!(
        (status, String::from_utf8_lossy(&out).as_ref()),
        (RunStatus::Cancelled, "gently\n")
    );
    assert!(started.elapsed() < LONG);
    // Then by force.
    let cancel = Cancel::new().unwrap();
    let started = Instant::now();
    let status = std::thread::scope(|scope| {
        let switch = cancel.clone();
        scope.spawn(move || {
            std::thread::sleep(Duration::from_millis(300));
            switch.cancel();
        });
        let spec = shell(
            "trap '' TERM; setsid sh -c 'trap \"\" TERM; sleep 100' & while :; do sleep 1; done",
        );
        let mut output = RunOutput {
            stdout: &mut std::io::sink(),
            stderr: &mut std::io::sink(),
            cancel: Some(&cancel),
        };
        workspace.run(&spec, &mut output).unwrap()
    });
    assert_eq!(status, RunStatus::Cancelled);
    assert!(
        (Duration::from_secs(3)..LONG).contains(&started.elapsed()),
        "{:?}",
        started.elapsed()
    );

    // A sink that fails ends the command.
    let mut output = RunOutput {
        stdout: &mut Broken,
        stderr: &mut std::io::sink(),
        cancel: None,
    };
    let started = Instant::now();
    let error = workspace
        .run(&shell("echo x; sleep 100"), &mut output)
        .unwrap_err();
    assert!(matches!(error, SandboxError::Output { .. }), "{error}");
    assert!(started.elapsed() < LONG);

    // What we hold is out of reach: our memory, environment and descriptors, wherever they can be seen. (The numbers of the
    // descriptors can be listed with `CAP_DAC_OVERRIDE`; what they are cannot be learnt, nor can they be opened.)
    let pid = std::process::id();
    let line = format!(
        "cd /proc/{pid} 2>/dev/null || exit 0; for file in environ mem maps fd/*; do \
         if cat $file >/dev/null 2>&1 || readlink $file >/dev/null 2>&1; then echo $file; fi; done"
    );
    let (_, out, _) = run(&mut *workspace, &shell(&line));
    assert_eq!(out, "");
    drop(workspace);
    executor.finish().unwrap();
}

/// A reader of output that has gone away.
struct Broken;

impl std::io::Write for Broken {
    fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
        Err(std::io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn many_layers() {
    const COUNT: usize = 300;
    let state = state();
    let executor = enter_namespace(state.path());
    let mut workspace = with_busybox(&*executor, "sha256:base");
    let mut slowest = Duration::ZERO;
    for number in 0..COUNT {
        let started = Instant::now();
        workspace.begin_step(StepKind::Files).unwrap();
        fs::write(workspace.root().join(format!("f{number}")), "").unwrap();
        workspace.seal_step().unwrap();
        slowest = slowest.max(started.elapsed());
    }
    println!("   slowest of {COUNT} steps: {slowest:?}");
    assert_eq!(
        step(&mut *workspace, "ls / | grep -c '^f'"),
        format!("{COUNT}\n")
    );
    drop(workspace);
    executor.finish().unwrap();
}

fn concurrent() {
    let state = state();
    let own = std::env::current_exe().unwrap();
    let mut children: Vec<_> = (0..6)
        .map(|_| {
            std::process::Command::new(&own)
                .args([crate::CASE, "root::layers"])
                .env("TMPDIR", state.path())
                .spawn()
                .unwrap()
        })
        .collect();
    // The state directories differ there; here they are one.
    let executor = enter_namespace(state.path());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for round in 0..5 {
                    let mut workspace = with_busybox(&*executor, &format!("sha256:shared{round}"));
                    assert_eq!(step(&mut *workspace, "echo $((6*7))"), "42\n");
                }
            });
        }
    });
    for child in &mut children {
        assert!(child.wait().unwrap().success());
    }
    executor.finish().unwrap();
}

fn single() {
    let state = state();
    let executor = enter_namespace(state.path());
    assert_eq!(executor.ownership(), Ownership::SingleId);
    assert!(matches!(
        executor.check_run(),
        Err(SandboxError::RunRefused { .. })
    ));
    let mut workspace = executor.workspace("test").unwrap();
    workspace.begin_step(StepKind::Files).unwrap();
    fs::write(workspace.root().join("file"), "").unwrap();
    assert!(matches!(
        workspace.changes().unwrap(),
        ChangeSource::Scan { .. }
    ));
    workspace.seal_step().unwrap();
    let finished = workspace.finish().unwrap();
    let copy = executor.branch("copy", &finished, true).unwrap();
    assert!(copy.root().join("file").exists() && finished.root().join("file").exists());
    drop((copy, finished));
    executor.finish().unwrap();
}

fn doctor() {
    let state = state();
    let reports = probe_all(&EnterOptions {
        choice: Choice::Auto,
        state_dir: state.path().to_owned(),
        force: false,
        keep: Vec::new(),
    })
    .unwrap();
    for report in &reports {
        println!("   {report:?}");
    }
    assert_eq!(
        reports
            .iter()
            .map(|report| report.works)
            .collect::<Vec<_>>(),
        [true, true, false]
    );
}
