//! A name server (RFC 1035) for the names that a test thinks up.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What is said of a name.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// These addresses; none is an answer, too.
    Addresses(Vec<IpAddr>),
    /// The server itself fails.
    Failure,
}

/// A name server; it ends when it is dropped.
pub(crate) struct Names {
    address: SocketAddr,
    is_over: Arc<AtomicBool>,
}

impl Names {
    /// Starts one. `rule` gets the number of the question, beginning with 0, and the name.
    pub(crate) fn start(rule: impl Fn(usize, &str) -> Answer + Send + 'static) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        socket
            .set_read_timeout(Some(Duration::from_millis(50)))
            .expect("a socket");
        let names = Self {
            address: socket.local_addr().expect("an address"),
            is_over: Arc::default(),
        };
        let is_over = Arc::clone(&names.is_over);
        std::thread::spawn(move || {
            let mut buffer = [0; 1500];
            let mut number = 0;
            while !is_over.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut buffer) else {
                    continue;
                };
                let Some((name, kind, end)) = question(&buffer[..length]) else {
                    continue;
                };
                let said = rule(number, &name);
                number += 1;
                let _ = socket.send_to(&answer(&buffer[..end], kind, &said), from);
            }
        });
        names
    }

    /// Starts one by which every name is the address.
    pub(crate) fn all(address: &str) -> Self {
        let address: IpAddr = address.parse().expect("an address");
        Self::start(move |_, _| Answer::Addresses(vec![address]))
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

/// Reads the name and type that are asked for, and where the question ends.
fn question(message: &[u8]) -> Option<(String, u16, usize)> {
    let mut at = 12;
    let mut labels = Vec::new();
    loop {
        let length = usize::from(*message.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(message.get(at..at + length)?).into_owned());
        at += length;
    }
    let kind = u16::from_be_bytes([*message.get(at)?, *message.get(at + 1)?]);
    Some((labels.join("."), kind, at + 4))
}

fn answer(asked: &[u8], kind: u16, said: &Answer) -> Vec<u8> {
    let (code, addresses) = match said {
        Answer::Addresses(addresses) => (0, addresses.as_slice()),
        Answer::Failure => (2, &[][..]),
    };
    let records: Vec<Vec<u8>> = addresses
        .iter()
        .filter_map(|address| match (address, kind) {
            (IpAddr::V4(address), 1) => Some(address.octets().to_vec()),
            (IpAddr::V6(address), 28) => Some(address.octets().to_vec()),
            _ => None,
        })
        .collect();
    let mut message = asked[..2].to_vec();
    message.extend([0x81, 0x80 | code, 0, 1]);
    message.extend(u16::try_from(records.len()).expect("few").to_be_bytes());
    message.extend([0; 4]);
    message.extend(&asked[12..]);
    for data in records {
        message.extend([0xc0, 12]);
        message.extend(kind.to_be_bytes());
        message.extend([0, 1, 0, 0, 0, 1]);
        message.extend(u16::try_from(data.len()).expect("short").to_be_bytes());
        message.extend(data);
    }
    message
}
