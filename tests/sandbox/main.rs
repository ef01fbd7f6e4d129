//! Enters each isolation for real and looks at what a RUN can see and do there.
//!
//! Each case is a process of its own, since entering changes the process for good: this program starts itself anew with the
//! case's name, and is also its own child half, as the real program is. Cases that need root or subordinate ids are skipped loudly
//! without them. Arguments are names (or parts of names) of cases.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "this is a test, with a harness of its own"
)]

mod inplace;
mod namespace;

use longshore::sandbox::{
    self, Executor, Network, RunOutput, RunSpec, RunStatus, StepKind, Workspace,
};
use std::path::Path;
use std::process::{Command, ExitCode};

/// The name of the first argument that starts a case.
const CASE: &str = "--one-case";
/// A number that no account has.
pub(crate) const ORDINARY_USER: u32 = 1000;

type Case = (&'static str, Who, fn());

/// As whom a case runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    /// Real root with everything.
    Root,
    /// Root as in a container: Docker's default capabilities.
    ContainerRoot,
    /// An ordinary user without subordinate ids.
    User,
    /// An ordinary user with subordinate ids.
    GrantedUser,
    /// Root in a container that may be ruined; only when `LONGSHORE_TEST_INPLACE=yes` says that this is one.
    Disposable,
}

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    if let Some(code) = sandbox::init::dispatch(&arguments[0]) {
        return ExitCode::from(code);
    }
    let arguments: Vec<String> = arguments
        .into_iter()
        .skip(1)
        .filter_map(|argument| argument.into_string().ok())
        .collect();
    let cases: Vec<Case> = [namespace::CASES, inplace::CASES].concat();
    if let [first, name] = arguments.as_slice()
        && first == CASE
    {
        let case = cases
            .iter()
            .find(|case| case.0 == name)
            .expect("a known case");
        case.2();
        return ExitCode::SUCCESS;
    }
    let filters: Vec<&String> = arguments
        .iter()
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let strict = std::env::var_os("LONGSHORE_TEST_STRICT").is_some_and(|value| value == "1");
    let (mut passed, mut failed) = (0, 0);
    for (name, who, _) in cases {
        if !filters.is_empty() && !filters.iter().any(|filter| name.contains(*filter)) {
            continue;
        }
        if let Some(reason) = missing(who) {
            println!("SKIPPED {name}: {reason}");
            // Those of a container are started apart from the others.
            failed += u32::from(strict && who != Who::Disposable);
            continue;
        }
        let status = command_as(who)
            .args([CASE, name])
            .status()
            .expect("this program can be started");
        println!("{} {name}", if status.success() { "ok" } else { "FAILED" });
        passed += u32::from(status.success());
        failed += u32::from(!status.success());
    }
    println!("{passed} passed, {failed} failed");
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn missing(who: Who) -> Option<&'static str> {
    let root = rustix::process::geteuid().is_root();
    match who {
        Who::Disposable if std::env::var_os("LONGSHORE_TEST_INPLACE").is_none() => {
            Some("only in a disposable container, with LONGSHORE_TEST_INPLACE=yes")
        }
        Who::Disposable => None,
        _ if !root => Some("needs root"),
        Who::ContainerRoot | Who::User | Who::GrantedUser
            if !Path::new("/usr/bin/setpriv").exists() =>
        {
            Some("needs setpriv")
        }
        Who::GrantedUser if !Path::new("/usr/bin/newuidmap").exists() => Some("needs newuidmap"),
        _ => None,
    }
}

fn command_as(who: Who) -> Command {
    let own = std::env::current_exe().expect("/proc/self/exe");
    match who {
        Who::ContainerRoot => {
            let mut command = Command::new("/usr/bin/setpriv");
            let docker = "-all,+chown,+dac_override,+fsetid,+fowner,+mknod,+net_raw,+setgid,+setuid,+setfcap,+setpcap,\
                          +net_bind_service,+sys_chroot,+kill,+audit_write";
            command
                .args(["--inh-caps", "-all", "--bounding-set", docker])
                .arg(own);
            command
        }
        Who::User | Who::GrantedUser => {
            // The build directory may be closed to others: run a copy.
            let copy = std::env::temp_dir().join("longshore-sandbox-test");
            std::fs::copy(own, &copy).expect("a copy of this program");
            let grant = if who == Who::GrantedUser {
                format!("{ORDINARY_USER}:200000:65536")
            } else {
                String::new()
            };
            // The grants are bound over the machine's own, for this case alone.
            let script = "t=$(mktemp); echo \"$1\" > $t; chmod 644 $t; for f in subuid subgid; do mount --bind $t /etc/$f; done; rm $t
                          shift; exec setpriv --reuid 1000 --regid 1000 --clear-groups --inh-caps -all --bounding-set +all \"$@\"";
            let mut command = Command::new("/usr/bin/unshare");
            command
                .args(["-m", "sh", "-ec", script, "sh", &grant])
                .arg(copy)
                .current_dir("/");
            command
        }
        Who::Root | Who::Disposable => Command::new(own),
    }
}

/// A command as a shell line with nothing special about it.
pub(crate) fn shell(line: &str) -> RunSpec {
    RunSpec {
        argv: vec!["/bin/sh".into(), "-c".into(), line.into()],
        env: vec![
            ("PATH".into(), "/bin".into()),
            ("HOME".into(), "/root".into()),
        ],
        workdir: "/".into(),
        uid: 0,
        gid: 0,
        groups: Vec::new(),
        hostname: "buildkitsandbox".into(),
        hosts: Some("127.0.0.1 localhost here\n".into()),
        resolv_conf: Some("nameserver 192.0.2.1\n".into()),
        network: Network::Host,
        insecure: false,
        mounts: Vec::new(),
    }
}

/// Runs in an open step and returns the status, standard output and standard error.
pub(crate) fn run(workspace: &mut dyn Workspace, spec: &RunSpec) -> (RunStatus, String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut output = RunOutput {
        stdout: &mut out,
        stderr: &mut err,
        cancel: None,
    };
    let status = workspace
        .run(spec, &mut output)
        .expect("the command is run");
    (
        status,
        String::from_utf8_lossy(&out).into_owned(),
        String::from_utf8_lossy(&err).into_owned(),
    )
}

/// Runs a shell line as a step of its own; it must succeed. Returns its output.
pub(crate) fn step(workspace: &mut dyn Workspace, line: &str) -> String {
    workspace.begin_step(StepKind::Run).expect("a step begins");
    let (status, out, err) = run(workspace, &shell(line));
    assert_eq!(status, RunStatus::Exited(0), "{line}\n{out}{err}");
    workspace.seal_step().expect("a step is sealed");
    out
}

/// Puts a static busybox with its applets into the workspace, as if from a base layer.
pub(crate) fn with_busybox(executor: &dyn Executor, chain_id: &str) -> Box<dyn Workspace> {
    let mut workspace = executor.workspace("test").expect("a workspace");
    if workspace.open_layer(chain_id).expect("a layer") == sandbox::LayerSlot::Missing {
        install_busybox(workspace.root());
        workspace.seal_layer().expect("the layer is sealed");
    }
    workspace
}

pub(crate) fn install_busybox(root: &Path) {
    let bin = root.join("bin");
    std::fs::create_dir_all(&bin).unwrap();
    let source = ["/bin/busybox", "/busybox/busybox"]
        .into_iter()
        .find(|path| Path::new(path).exists())
        .expect("a static busybox");
    std::fs::copy(source, bin.join("busybox")).unwrap();
    for applet in "sh cat ls id env echo mkdir rm touch sleep setsid nohup ps kill mount hostname readlink stat tr grep sed wc test \
                   true false chmod chown ln cp mv find head seq mknod dd ip su tty umask ulimit pwd sort"
        .split_ascii_whitespace()
    {
        let _ = std::os::unix::fs::symlink("busybox", bin.join(applet));
    }
    for (directory, mode) in [("etc", 0o755), ("root", 0o700), ("tmp", 0o1777)] {
        std::fs::create_dir_all(root.join(directory)).unwrap();
        std::fs::set_permissions(
            root.join(directory),
            std::os::unix::fs::PermissionsExt::from_mode(mode),
        )
        .unwrap();
    }
    std::fs::write(
        root.join("etc/passwd"),
        "root:x:0:0::/root:/bin/sh\nann:x:7:7::/:/bin/sh\n",
    )
    .unwrap();
    std::fs::write(root.join("etc/group"), "root:x:0:\nann:x:7:\n").unwrap();
}
