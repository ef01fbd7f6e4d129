//! ADD of URLs, against a server on loopback.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use crate::image::{digest, gzip, tar_of};
use crate::program::Scene;

/// A server that answers each request with what `answer` makes of its path and its number, and keeps the heads.
struct Server {
    address: String,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn new(answer: impl Fn(&str, usize) -> Vec<u8> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&heads);
        // It ends with the test's process.
        std::thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                let Ok(mut stream) = stream else { continue };
                let mut head = String::new();
                let mut lines = BufReader::new(stream.try_clone().expect("a descriptor"));
                while lines.read_line(&mut head).is_ok_and(|read| read > 2) {}
                let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
                seen.lock().expect("the heads").push(head);
                // A client that went away is no concern of the server.
                drop(stream.write_all(&answer(&path, number)));
            }
        });
        Self { address, heads }
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().expect("the heads").clone()
    }
}

fn ok(headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n{headers}connection: close\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

fn status(line: &str) -> Vec<u8> {
    format!("HTTP/1.1 {line}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").into_bytes()
}

#[test]
fn a_file_gets_its_name_mode_and_time_from_the_answer() {
    let Some(scene) = Scene::new() else { return };
    let server = Server::new(|path, _| match path {
        "/dir/some%20file?x=/y" => ok(
            "last-modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n",
            b"content",
        ),
        "/moved" => status("302 Found\r\nlocation: /dir/some%20file?x=/y"),
        _ => ok("", b"plain"),
    });
    let host = &server.address;
    let image = scene.image(&format!(
        "FROM scratch\nADD http://{host}/dir/some%20file?x=/y /to/\nADD http://{host} /to/\nADD --chown=5:6 --chmod=644 http://{host}/moved /other\nADD http://{host}/a http://{host}/b /two/\n"
    ));
    let file = image.file("to/some file");
    assert_eq!(
        (file.text(), file.mode, file.mtime),
        ("content", 0o600, 784_111_777)
    );
    assert_eq!((file.uid, file.gid), (0, 0));
    let unnamed = image.file("to/__unnamed__");
    assert_eq!((unnamed.text(), unnamed.mtime), ("plain", 0));
    let other = image.file("other");
    assert_eq!((other.text(), other.mode), ("content", 0o644));
    assert_eq!((other.uid, other.gid), (5, 6));
    assert_eq!(
        image.paths()[3..],
        ["to/some file", "two/", "two/a", "two/b"].map(str::to_owned)
    );
    assert_eq!(
        image.history()[0],
        format!("ADD http://{host}/dir/some%20file?x=/y /to/ # buildkit")
    );
}

#[test]
fn archives_from_a_url_are_unpacked_only_if_asked_for() {
    let Some(scene) = Scene::new() else { return };
    let archive = gzip(&tar_of(&[("in/file", 'f', "content\n", 0o640)]));
    let served = archive.clone();
    let server = Server::new(move |_, _| ok("", &served));
    let host = &server.address;
    let image = scene.image(&format!(
        "FROM scratch\nADD http://{host}/a.tgz /kept/\nADD --unpack=false http://{host}/a.tgz /kept/b\nADD --unpack http://{host}/a.tgz /to/\n"
    ));
    assert_eq!(image.file("kept/a.tgz").content, archive);
    assert_eq!(image.file("kept/b").content, archive);
    assert_eq!(image.file("to/in/file").text(), "content\n");
}

#[test]
fn a_checksum_is_verified() {
    let Some(scene) = Scene::new() else { return };
    let server = Server::new(|_, _| ok("", b"content"));
    let host = &server.address;
    let right = digest(b"content");
    let wrong = digest(b"other");
    let image = scene.image(&format!(
        "FROM scratch\nARG sum={right}\nADD --checksum=$sum http://{host}/a /\n"
    ));
    assert_eq!(image.file("a").text(), "content");
    let failed = scene.mistake(&format!(
        "FROM scratch\nADD --checksum={wrong} http://{host}/a /\n"
    ));
    failed.says(&wrong).says(&right).says("2 | ADD --checksum");
    for (flags, says) in [
        (
            format!("--checksum={right} a"),
            "--checksum goes with one source",
        ),
        (
            format!("--checksum={right} http://{host}/a http://{host}/b"),
            "--checksum goes with one source",
        ),
        (format!("--checksum=md5:0 http://{host}/a"), "md5"),
    ] {
        let failed = scene.mistake(&format!("FROM scratch\nADD {flags} /\n"));
        failed.says(says).says("2 | ADD");
    }
}

#[test]
fn what_breaks_off_is_tried_again_and_what_is_missing_is_not() {
    let Some(scene) = Scene::new() else { return };
    let server = Server::new(|path, number| match (path, number) {
        ("/gone", _) => status("404 Not Found"),
        (_, 0) => status("503 Service Unavailable"),
        (_, 1) => b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\nconnection: close\r\n\r\ncon".to_vec(),
        _ => ok("", b"content"),
    });
    let host = &server.address;
    let image = scene.image(&format!("FROM scratch\nADD http://{host}/a /\n"));
    assert_eq!(image.file("a").text(), "content");
    assert_eq!(server.heads().len(), 3);
    let failed = scene.mistake(&format!("FROM scratch\nADD http://{host}/gone /\n"));
    failed.says("404").says("/gone").says("2 | ADD");
    assert_eq!(server.heads().len(), 4);
    let failed = scene.mistake("FROM scratch\nADD http://127.0.0.1:9/a /\n");
    failed.says("Connection refused").says("2 | ADD");
    failed.says("= help: check the name and the port");
    let failed = scene.mistake(&format!("FROM scratch\nADD https://{host}/a /\n"));
    failed.says("= help: it does not speak TLS");
}

#[test]
fn a_password_is_shown_nowhere() {
    let Some(scene) = Scene::new() else { return };
    let server = Server::new(|path, _| match path {
        "/a" => ok("", b"content"),
        _ => status("404 Not Found"),
    });
    let host = &server.address;
    let image = scene.image(&format!(
        "FROM scratch\nADD http://me:verysecret@{host}/a /\n"
    ));
    assert!(
        !image.history()[0].contains("verysecret"),
        "{:?}",
        image.history()
    );
    // me:verysecret
    assert!(server.heads()[0].contains("Basic bWU6dmVyeXNlY3JldA=="));
}

#[test]
fn copy_takes_no_url() {
    let Some(scene) = Scene::new() else { return };
    let failed = scene.mistake("FROM scratch\nCOPY https://example.com/x /\n");
    failed.says("only ADD takes URLs").says("use ADD");
}

#[test]
fn a_dockerfile_is_downloaded() {
    let Some(scene) = Scene::new() else { return };
    scene
        .file("a", "1")
        .file(".dockerignore", "b\n")
        .file("b", "2");
    let server = Server::new(|path, number| match (path, number) {
        ("/x/Dockerfile?token=planted-token", 0) => {
            status("503 Service Unavailable\r\nretry-after: 0")
        }
        ("/x/Dockerfile?token=planted-token", _) => ok("", b"FROM scratch\nCOPY . /\n"),
        ("/wrong", _) => ok("", b"FROM scratch\nCOPPY a /\n"),
        _ => status("404 Not Found"),
    });
    let host = &server.address;
    let with = |path: &str| scene.build().arg(format!("-f=http://{host}{path}"));
    let image = with("/x/Dockerfile?token=planted-token").image();
    assert_eq!(image.paths(), [".dockerignore", "a"]);
    with("/none")
        .mistake()
        .says("cannot download the Dockerfile")
        .says("404")
        .says("hint: check the URL");
    with("/wrong")
        .mistake()
        .says(&format!("http://{host}/wrong:2:1"));
    let wrong = scene
        .build()
        .arg(format!("-f=http://user:planted-secret@{host}/wrong"));
    wrong.mistake().keeps("planted-secret");
}

#[test]
fn a_secret_is_shown_to_the_host_that_it_is_for() {
    let Some(scene) = Scene::new() else { return };
    let other = Server::new(|_, _| ok("", b"elsewhere"));
    let target = format!("302 Found\r\nlocation: http://{}/there", other.address);
    let server = Server::new(move |path, _| match path {
        "/moved" => status(&target),
        _ => ok("", b"content"),
    });
    let host = &server.address;
    let seen = |server: &Server| {
        let heads = server.heads();
        let last = heads.last().expect("a request").to_ascii_lowercase();
        let line = last
            .lines()
            .find_map(|line| line.strip_prefix("authorization: "));
        line.map(str::to_owned)
    };
    scene
        .file("token", "planted-token\n")
        .file("header", "Basic cGxhbnRlZA==");
    let token = scene.path("token").display().to_string();
    let header = scene.path("header").display().to_string();
    let build = |path: &str, secrets: &[&str]| {
        scene.dockerfile(&format!("FROM scratch\nADD http://{host}{path} /f\n"));
        let secrets = secrets.iter().flat_map(|text| ["--secret", text]);
        scene.build().args(secrets).image()
    };
    let token = format!("id=HTTP_AUTH_TOKEN_127.0.0.1,src={token}");
    let header = format!("id=HTTP_AUTH_HEADER_127.0.0.1,src={header}");
    let image = build("/f", &[&token]);
    assert_eq!(seen(&server).as_deref(), Some("bearer planted-token"));
    assert!(!image.document.to_string().contains("planted"));
    build("/f", &[&header]);
    assert_eq!(seen(&server).as_deref(), Some("basic cgxhbnrlza=="));
    // As in BuildKit, the token is stronger.
    build("/f", &[&header, &token]);
    assert_eq!(seen(&server).as_deref(), Some("bearer planted-token"));
    // One for another host stays here, and no server sends it on.
    build("/f", &[&token.replace("127.0.0.1,", "localhost,")]);
    assert_eq!(seen(&server), None);
    let image = build("/moved", &[&token]);
    assert_eq!(image.file("f").text(), "elsewhere");
    assert_eq!(seen(&server).as_deref(), Some("bearer planted-token"));
    assert_eq!(seen(&other), None);
    // What is no header is told without its value.
    scene.file("token", "planted\r\nx: y");
    scene.dockerfile(&format!("FROM scratch\nADD http://{host}/f /f\n"));
    let finished = scene.build().args(["--secret", &token]).mistake();
    finished
        .says("HTTP_AUTH_TOKEN_127.0.0.1 cannot stand in a header")
        .keeps("planted");
}
