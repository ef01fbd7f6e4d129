//! What stands before a server: wires that hang, crawl or break, and proxies. One connection, one behaviour.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What is done with a connection.
#[derive(Clone, Debug)]
pub(crate) enum Wire {
    /// Passes everything on.
    Pass,
    /// Accepts, and never says a word.
    Silent,
    /// Passes so many bytes of the answers on and then nothing more, though the connection stays.
    StopAfter(usize),
    /// Passes answers on byte by byte, with this time between two of them, for so many bytes; the rest as it comes.
    Crawl(Duration, usize),
    /// Says these bytes whatever it is asked, and ends.
    Say(Vec<u8>),
    /// Is a proxy: `CONNECT` makes a tunnel, anything else is passed on; whoever it is for, it goes to the one server.
    Proxy {
        /// The value of `Proxy-Authorization` without which there is only 407.
        password: Option<String>,
        /// Ends after so many bytes of the tunnel's answers.
        cut_after: Option<usize>,
    },
}

/// A listener in front of one server; it ends when it is dropped.
pub(crate) struct Front {
    address: SocketAddr,
    is_over: Arc<AtomicBool>,
    /// The heads of requests to the proxy, each a text.
    heads: Arc<Mutex<Vec<String>>>,
    count: Arc<Mutex<usize>>,
}

impl Front {
    /// Listens on a free port; `plan` says what is done with the nth connection, beginning with 0.
    pub(crate) fn start(
        server: SocketAddr,
        plan: impl Fn(usize) -> Wire + Send + Sync + 'static,
    ) -> Self {
        Self::at("127.0.0.1:0".parse().expect("an address"), server, plan)
    }

    /// Listens on an address.
    pub(crate) fn at(
        address: SocketAddr,
        server: SocketAddr,
        plan: impl Fn(usize) -> Wire + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).expect("a free port");
        let front = Self {
            address: listener.local_addr().expect("an address"),
            is_over: Arc::default(),
            heads: Arc::default(),
            count: Arc::default(),
        };
        let (is_over, heads, count) = (
            Arc::clone(&front.is_over),
            Arc::clone(&front.heads),
            Arc::clone(&front.count),
        );
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if is_over.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let wire = {
                    let mut count = count.lock().unwrap_or_else(PoisonError::into_inner);
                    *count += 1;
                    plan(*count - 1)
                };
                let (is_over, heads) = (Arc::clone(&is_over), Arc::clone(&heads));
                std::thread::spawn(move || {
                    // Whichever side ends a connection: a test looks at what became of it.
                    let _ = serve(stream, server, wire, &is_over, &heads);
                });
            }
        });
        front
    }

    /// `127.0.0.1:port`.
    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    /// How many connections came.
    pub(crate) fn connections(&self) -> usize {
        *self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The heads of the requests to the proxy: of each tunnel, and of each connection without one.
    pub(crate) fn heads(&self) -> Vec<String> {
        let heads = self.heads.lock().unwrap_or_else(PoisonError::into_inner);
        heads.clone()
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        // Wakes it up.
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(
    mut client: TcpStream,
    server: SocketAddr,
    wire: Wire,
    is_over: &AtomicBool,
    heads: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    match wire {
        Wire::Pass => pass(&client, &TcpStream::connect(server)?, None),
        Wire::Silent => {
            wait(is_over);
            Ok(())
        }
        Wire::StopAfter(count) => {
            let server = TcpStream::connect(server)?;
            let (up_from, up_to) = (client.try_clone()?, server.try_clone()?);
            std::thread::spawn(move || copy(up_from, up_to, None));
            let mut first = vec![0; count];
            (&server).read_exact(&mut first)?;
            client.write_all(&first)?;
            wait(is_over);
            Ok(())
        }
        Wire::Crawl(pause, count) => {
            let server = TcpStream::connect(server)?;
            client.set_nodelay(true)?;
            let (up_from, up_to) = (client.try_clone()?, server.try_clone()?);
            std::thread::spawn(move || copy(up_from, up_to, None));
            let mut byte = [0];
            for _ in 0..count {
                (&server).read_exact(&mut byte)?;
                client.write_all(&byte)?;
                std::thread::sleep(pause);
            }
            copy(server, client, None)
        }
        Wire::Say(bytes) => {
            let mut any = [0; 4096];
            let _ = client.read(&mut any)?;
            client.write_all(&bytes)?;
            client.shutdown(Shutdown::Write)
        }
        Wire::Proxy {
            password,
            cut_after,
        } => {
            let head = read_head(&mut client)?;
            let text = String::from_utf8_lossy(&head).into_owned();
            let is_let_in = password.is_none_or(|password| {
                text.lines().any(|line| {
                    line.split_once(": ").is_some_and(|(name, value)| {
                        name.eq_ignore_ascii_case("proxy-authorization") && value == password
                    })
                })
            });
            let is_tunnel = text.starts_with("CONNECT ");
            heads
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(text);
            if !is_let_in {
                return client.write_all(
                    b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=x\r\nContent-Length: 0\r\n\r\n",
                );
            }
            let server = TcpStream::connect(server)?;
            if is_tunnel {
                client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
            } else {
                (&server).write_all(&head)?;
            }
            pass(&client, &server, cut_after)
        }
    }
}

/// Reads up to the empty line, and not a byte more: what follows may be of the tunnel.
fn read_head(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    Ok(head)
}

/// Passes bytes on in both directions until either side ends.
fn pass(client: &TcpStream, server: &TcpStream, cut_after: Option<usize>) -> std::io::Result<()> {
    let (up_from, up_to) = (client.try_clone()?, server.try_clone()?);
    let up = std::thread::spawn(move || copy(up_from, up_to, None));
    let result = copy(server.try_clone()?, client.try_clone()?, cut_after);
    if cut_after.is_some() {
        let _ = client.shutdown(Shutdown::Both);
        let _ = server.shutdown(Shutdown::Both);
    }
    let _ = up.join();
    result
}

fn copy(mut from: TcpStream, mut to: TcpStream, limit: Option<usize>) -> std::io::Result<()> {
    match limit {
        None => std::io::copy(&mut from, &mut to).map(|_| ())?,
        Some(limit) => {
            let mut bytes = vec![0; limit];
            from.read_exact(&mut bytes)?;
            to.write_all(&bytes)?;
        }
    }
    to.shutdown(Shutdown::Write)
}

fn wait(is_over: &AtomicBool) {
    while !is_over.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(20));
    }
}
