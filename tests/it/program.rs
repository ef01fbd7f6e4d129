//! The real program in surroundings of its own: a context, a home, a state directory, and nothing inherited.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{Read, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::image::Image;
use crate::machine;

/// Nothing takes that long; a program that does hangs, and the test says so instead of hanging too.
const HANG: Duration = Duration::from_mins(3);

/// The program under test.
pub(crate) fn binary() -> PathBuf {
    std::env::var_os("LONGSHORE_TEST_BINARY").map_or_else(
        || PathBuf::from(env!("CARGO_BIN_EXE_longshore")),
        PathBuf::from,
    )
}

/// A context and a place for outputs; all of it goes when it is dropped.
#[derive(Debug)]
pub(crate) struct Scene {
    directory: tempfile::TempDir,
}

impl Scene {
    /// Makes an empty context. Builds are not probed for: for command lines that end before one.
    pub(crate) fn bare() -> Self {
        let directory = tempfile::Builder::new()
            .prefix("longshore-it-")
            .tempdir()
            .expect("a directory");
        for name in ["context", "home", "state", "out"] {
            fs::create_dir(directory.path().join(name)).expect("a directory");
        }
        Self { directory }
    }

    /// Makes an empty context where this machine can build at all.
    pub(crate) fn new() -> Option<Self> {
        machine::can_build().then(Self::bare)
    }

    /// Makes a context with a static `busybox` in it where this machine can run commands.
    pub(crate) fn with_busybox() -> Option<Self> {
        let program = machine::busybox()?;
        let scene = Self::bare();
        scene.file("busybox", fs::read(program).expect("busybox"));
        scene.mode("busybox", 0o755);
        Some(scene)
    }

    /// The directory of everything.
    pub(crate) fn root(&self) -> &Path {
        self.directory.path()
    }

    /// A path in the context.
    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.root().join("context").join(name)
    }

    /// A path for an output.
    pub(crate) fn out(&self, name: &str) -> PathBuf {
        self.root().join("out").join(name)
    }

    /// Where layers and work directories are.
    pub(crate) fn state(&self) -> PathBuf {
        self.root().join("state")
    }

    /// Writes a file of the context, with the directories above it.
    pub(crate) fn file(&self, name: impl AsRef<Path>, content: impl AsRef<[u8]>) -> &Self {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
        fs::write(&path, content).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        self
    }

    /// Writes the Dockerfile.
    pub(crate) fn dockerfile(&self, text: &str) -> &Self {
        self.file("Dockerfile", text)
    }

    /// Makes a directory of the context.
    pub(crate) fn dir(&self, name: &str) -> &Self {
        fs::create_dir_all(self.path(name)).expect("a directory");
        self
    }

    /// Makes a symbolic link in the context.
    pub(crate) fn link(&self, target: &str, name: &str) -> &Self {
        std::os::unix::fs::symlink(target, self.path(name)).expect("a link");
        self
    }

    /// Sets the mode of something in the context.
    pub(crate) fn mode(&self, name: &str, mode: u32) -> &Self {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).expect("a mode");
        self
    }

    /// Any command line of the program, with nothing of the test's environment but the search path.
    pub(crate) fn longshore(&self, args: &[&str]) -> Call {
        let mut command = Command::new(binary());
        command
            .args(args)
            .current_dir(self.path(""))
            .env_clear()
            .env("HOME", self.root().join("home"))
            .env("LONGSHORE_STATE_DIR", self.state());
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        Call {
            command,
            stdin: None,
            layout: self.out("image"),
        }
    }

    /// `longshore build` with the context; where the image goes is not said yet.
    pub(crate) fn build(&self) -> Call {
        let context = self.path("");
        self.longshore(&["build", "--context"]).arg(context)
    }

    /// Builds a Dockerfile and gives the image.
    pub(crate) fn image(&self, dockerfile: &str) -> Image {
        self.dockerfile(dockerfile).build().image()
    }

    /// Builds a Dockerfile that must not build.
    pub(crate) fn mistake(&self, dockerfile: &str) -> Finished {
        self.dockerfile(dockerfile).build().mistake()
    }
}

/// The program, about to be called.
#[derive(Debug)]
pub(crate) struct Call {
    command: Command,
    stdin: Option<Vec<u8>>,
    layout: PathBuf,
}

impl Call {
    /// Adds an argument.
    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    /// Adds arguments.
    pub(crate) fn args<T: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = T>) -> Self {
        self.command.args(args);
        self
    }

    /// Sets a variable.
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Sets standard input.
    pub(crate) fn stdin(mut self, bytes: Vec<u8>) -> Self {
        self.stdin = Some(bytes);
        self
    }

    /// Sets the working directory.
    pub(crate) fn current_dir(mut self, path: impl AsRef<Path>) -> Self {
        self.command.current_dir(path);
        self
    }

    /// Lets the test change the command itself.
    pub(crate) fn command(&mut self) -> &mut Command {
        &mut self.command
    }

    /// Puts the command line behind a shell's `before`.
    pub(crate) fn after(mut self, before: &str) -> Self {
        let mut command = Command::new("sh");
        command
            .args(["-c", &format!("{before}; exec \"$@\""), "sh"])
            .arg(self.command.get_program())
            .args(self.command.get_args())
            .env_clear();
        for (name, value) in self.command.get_envs() {
            command.env(name, value.unwrap_or_default());
        }
        if let Some(directory) = self.command.get_current_dir() {
            command.current_dir(directory);
        }
        self.command = command;
        self
    }

    /// Starts it.
    pub(crate) fn start(mut self) -> Running {
        let stdin = if self.stdin.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        };
        self.command
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let line = format!("{:?}", self.command);
        let mut child = self
            .command
            .spawn()
            .unwrap_or_else(|error| panic!("{line}: {error}"));
        if let (Some(bytes), Some(mut pipe)) = (self.stdin, child.stdin.take()) {
            // A program that does not read all of it closes the pipe: that is its right.
            std::thread::spawn(move || drop(pipe.write_all(&bytes)));
        }
        let stdout = reader(child.stdout.take().expect("a pipe"));
        let stderr = reader(child.stderr.take().expect("a pipe"));
        Running {
            child,
            stdout,
            stderr,
            line,
        }
    }

    /// Runs it to its end.
    pub(crate) fn run(self) -> Finished {
        self.start().wait()
    }

    /// Runs it; it must succeed.
    pub(crate) fn success(self) -> Finished {
        let finished = self.run();
        assert!(finished.status.success(), "{finished}");
        finished
    }

    /// Runs it; it must fail by itself, with one error.
    pub(crate) fn mistake(self) -> Finished {
        let finished = self.run();
        let code = finished
            .status
            .code()
            .unwrap_or_else(|| panic!("it was killed: {finished}"));
        assert_ne!(code, 0, "{finished}");
        assert_ne!(code, 101, "it panicked: {finished}");
        let errors = finished
            .stderr
            .lines()
            .filter(|line| line.starts_with("error"))
            .count();
        assert_eq!(errors, 1, "not one error: {finished}");
        finished
    }

    /// Builds into an OCI layout and reads that.
    pub(crate) fn image(self) -> Image {
        let layout = self.layout.clone();
        self.arg("--oci-layout-path").arg(&layout).success();
        Image::of_layout(&layout)
    }
}

fn reader(mut pipe: impl Read + Send + 'static) -> Stream {
    let text = Arc::new(Mutex::new(Vec::new()));
    let shared = Arc::clone(&text);
    let thread = std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        loop {
            let count = pipe.read(&mut buffer).expect("the program's output");
            if count == 0 {
                break;
            }
            let mut text = shared.lock().expect("no panic");
            text.extend_from_slice(&buffer[..count]);
        }
    });
    Stream { text, thread }
}

/// One of the program's outputs, as far as it has come.
#[derive(Debug)]
struct Stream {
    text: Arc<Mutex<Vec<u8>>>,
    thread: JoinHandle<()>,
}

impl Stream {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.text.lock().expect("no panic")).into_owned()
    }

    fn finish(self) -> String {
        let Self { text, thread } = self;
        thread.join().expect("a reader");
        String::from_utf8_lossy(&text.lock().expect("no panic")).into_owned()
    }
}

/// The program while it runs.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    stdout: Stream,
    stderr: Stream,
    line: String,
}

impl Running {
    /// Waits until standard error says this.
    pub(crate) fn wait_for(&mut self, text: &str) {
        let started = Instant::now();
        while !self.stderr.text().contains(text) {
            let status = self.child.try_wait().expect("a child");
            assert!(
                status.is_none() && started.elapsed() < HANG,
                "it never said {text:?}: {}",
                self.stderr.text()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = i32::try_from(self.pid()).expect("a pid");
        let pid = rustix::process::Pid::from_raw(pid).expect("a pid");
        rustix::process::kill_process(pid, signal).expect("the program runs");
    }

    /// Waits until it has ended.
    pub(crate) fn wait(mut self) -> Finished {
        let started = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                break status;
            }
            if started.elapsed() > HANG {
                self.child.kill().expect("a child");
                self.child.wait().expect("a child");
                panic!("it hangs: {}", self.line);
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        Finished {
            status,
            stdout: self.stdout.finish(),
            stderr: self.stderr.finish(),
            line: self.line,
        }
    }
}

/// What came of a call.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    line: String,
}

impl std::fmt::Display for Finished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}\n{}\n--- stdout\n{}--- stderr\n{}---",
            self.line, self.status, self.stdout, self.stderr
        )
    }
}

impl Finished {
    /// The exit code; a shell's 128 and the signal's number if a signal ended it.
    pub(crate) fn code(&self) -> i32 {
        self.status
            .code()
            .unwrap_or_else(|| 128 + self.status.signal().expect("a signal"))
    }

    /// Standard error must say this.
    pub(crate) fn says(&self, text: &str) -> &Self {
        assert!(self.stderr.contains(text), "nothing of {text:?} in {self}");
        self
    }

    /// Nothing that was written may say this.
    pub(crate) fn keeps(&self, secret: &str) -> &Self {
        assert!(
            !self.stderr.contains(secret) && !self.stdout.contains(secret),
            "{secret:?} in {self}"
        );
        self
    }
}

/// The names in a directory, sorted; none if it is not there.
pub(crate) fn names(path: &Path) -> Vec<OsString> {
    let mut names: Vec<OsString> = match fs::read_dir(path) {
        Ok(entries) => entries
            .map(|entry| entry.expect("an entry").file_name())
            .collect(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => panic!("{}: {error}", path.display()),
    };
    names.sort();
    names
}
