//! A server that answers by a function of the test and records what arrived; as a proxy it can also pass a request on.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Arrived {
    /// The method.
    pub(crate) method: String,
    /// What stands in the request line: a path, or for a proxy a whole URL.
    pub(crate) target: String,
    /// Names in lower case, and values.
    pub(crate) headers: Vec<(String, String)>,
    /// The body.
    pub(crate) body: Vec<u8>,
}

impl Arrived {
    /// The value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The value of a field of the form that is the body.
    pub(crate) fn field(&self, name: &str) -> Option<String> {
        url::form_urlencoded::parse(&self.body)
            .find_map(|(known, value)| (known == name).then(|| value.into_owned()))
    }
}

/// What to do with a request.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// Answers.
    Answer(u16, String),
    /// Answers with headers and bytes. A HEAD gets the headers only.
    Full(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// Answers with headers and bytes, and after a while with more.
    Paused(Vec<(&'static str, String)>, Vec<u8>, Duration, Vec<u8>),
    /// Says that there are so many bytes, and breaks off after these.
    Cut(usize, Vec<u8>),
    /// Passes it on to a server, with another `Authorization` if it has one.
    Pass(String, Option<String>),
}

/// Requests that a server has not answered yet.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Pending {
    /// Holds a request back until so many are there at once, but not for long.
    pub(crate) fn wait_for(&self, count: usize) {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        let began = Instant::now();
        while self.most() < count && began.elapsed() < Duration::from_secs(5) {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.now.fetch_sub(1, Ordering::SeqCst);
    }

    /// How many there were at once.
    pub(crate) fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }
}

type Rule = dyn Fn(&Arrived) -> Reply + Send + Sync;

/// A running server; it ends when it is dropped.
pub(crate) struct Mock {
    address: SocketAddr,
    arrived: Arc<Mutex<Vec<Arrived>>>,
    is_over: Arc<AtomicBool>,
}

impl Mock {
    /// Starts a server on a free port of 127.0.0.1.
    pub(crate) fn start(rule: impl Fn(&Arrived) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let mock = Self {
            address: listener.local_addr().expect("an address"),
            arrived: Arc::default(),
            is_over: Arc::default(),
        };
        let (arrived, is_over) = (Arc::clone(&mock.arrived), Arc::clone(&mock.is_over));
        let rule: Arc<Rule> = Arc::new(rule);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if is_over.load(Ordering::Relaxed) {
                    break;
                }
                let (arrived, rule) = (Arc::clone(&arrived), Arc::clone(&rule));
                // A client that goes away is no failure of the server.
                std::thread::spawn(move || serve(stream, &arrived, &*rule).ok());
            }
        });
        mock
    }

    /// `http://127.0.0.1:port`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All requests so far.
    pub(crate) fn arrived(&self) -> Vec<Arrived> {
        let arrived = self.arrived.lock().unwrap_or_else(PoisonError::into_inner);
        arrived.clone()
    }

    /// Forgets the requests so far, and gives them.
    pub(crate) fn take(&self) -> Vec<Arrived> {
        let mut arrived = self.arrived.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut arrived)
    }
}

impl Drop for Mock {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        // Wakes the thread that waits for connections.
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(mut stream: TcpStream, arrived: &Mutex<Vec<Arrived>>, rule: &Rule) -> std::io::Result<()> {
    let Some(request) = read(&mut stream)? else {
        return Ok(());
    };
    let reply = rule(&request);
    arrived
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(request.clone());
    match reply {
        Reply::Answer(status, body) => {
            let length = body.len();
            let head = format!(
                "HTTP/1.1 {status} Mock\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
            );
            stream.write_all(head.as_bytes())?;
            stream.write_all(body.as_bytes())
        }
        Reply::Full(status, headers, body) => {
            let mut head = format!("HTTP/1.1 {status} Mock\r\nConnection: close\r\n");
            for (name, value) in &headers {
                let _ = write!(head, "{name}: {value}\r\n");
            }
            if !headers.iter().any(|(name, _)| *name == "content-length") {
                let _ = write!(head, "content-length: {}\r\n", body.len());
            }
            head.push_str("\r\n");
            stream.write_all(head.as_bytes())?;
            if request.method == "HEAD" {
                return Ok(());
            }
            stream.write_all(&body)
        }
        Reply::Paused(headers, first, pause, rest) => {
            let length = first.len() + rest.len();
            let mut head = format!("HTTP/1.1 200 Mock\r\nContent-Length: {length}\r\n");
            for (name, value) in &headers {
                let _ = write!(head, "{name}: {value}\r\n");
            }
            head.push_str("\r\n");
            stream.write_all(head.as_bytes())?;
            stream.write_all(&first)?;
            std::thread::sleep(pause);
            stream.write_all(&rest)
        }
        Reply::Cut(length, body) => {
            let head = format!("HTTP/1.1 206 Mock\r\nContent-Length: {length}\r\n\r\n");
            stream.write_all(head.as_bytes())?;
            stream.write_all(&body)
        }
        Reply::Pass(server, authorization) => {
            let mut onward = TcpStream::connect(server)?;
            // A proxy is asked for a whole URL, a server for a path.
            let path = match request.target.split_once("://") {
                Some((_, rest)) => rest.find('/').map_or("/", |at| &rest[at..]),
                None => &request.target,
            };
            let mut head = format!(
                "{} {path} HTTP/1.1\r\nConnection: close\r\n",
                request.method
            );
            for (name, value) in &request.headers {
                let value = match (name.as_str(), &authorization) {
                    ("connection" | "content-length" | "transfer-encoding", _) => continue,
                    ("authorization", Some(other)) => other,
                    (_, _) => value,
                };
                let _ = write!(head, "{name}: {value}\r\n");
            }
            let _ = write!(head, "content-length: {}\r\n\r\n", request.body.len());
            onward.write_all(head.as_bytes())?;
            onward.write_all(&request.body)?;
            std::io::copy(&mut onward, &mut stream)?;
            Ok(())
        }
    }
}

fn read(stream: &mut TcpStream) -> std::io::Result<Option<Arrived>> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 16 * 1024];
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Ok(None);
        }
        bytes.extend_from_slice(&buffer[..count]);
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (method, target) = (
        words.next().unwrap_or_default().to_owned(),
        words.next().unwrap_or_default().to_owned(),
    );
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers
        .iter()
        .find(|(name, _)| name == "content-length")
        .and_then(|(_, value)| value.parse().ok())
        .unwrap_or(0);
    let mut body = bytes.split_off(end + 4);
    while body.len() < length {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Ok(None);
        }
        body.extend_from_slice(&buffer[..count]);
    }
    Ok(Some(Arrived {
        method,
        target,
        headers,
        body,
    }))
}
