//! How far the fetching of a context has come.

use std::fmt;
use std::io::{self, BufRead, Read};

/// So many bytes arrive between two words of it: what carries them is in pieces of a few KiB.
const STEP: u64 = 1 << 20;

/// Is told the bytes so far, and the bytes in all where they are known.
#[derive(Clone, Copy)]
pub struct Progress<'a>(&'a (dyn Fn(u64, Option<u64>) + Sync));

impl<'a> Progress<'a> {
    /// Tells a function. It must return quickly: the transfer waits.
    pub fn new(tell: &'a (dyn Fn(u64, Option<u64>) + Sync)) -> Self {
        Self(tell)
    }

    /// Tells nobody.
    pub fn untold() -> Self {
        Self(&|_, _| {})
    }

    /// Tells of the bytes that arrived after `before`, where they are worth it.
    pub(super) fn advance(&self, before: u64, done: u64, total: Option<u64>) {
        if before / STEP != done / STEP {
            (self.0)(done, total);
        }
    }
}

impl fmt::Debug for Progress<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Progress")
    }
}

/// Counts what is read.
pub(super) struct Counted<'a, R> {
    inner: R,
    done: u64,
    total: Option<u64>,
    progress: Progress<'a>,
}

impl<'a, R> Counted<'a, R> {
    pub(super) fn new(inner: R, total: Option<u64>, progress: Progress<'a>) -> Self {
        Self {
            inner,
            done: 0,
            total,
            progress,
        }
    }
}

impl<R: BufRead> BufRead for Counted<'_, R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        self.inner.consume(count);
        let before = self.done;
        self.done += count as u64;
        self.progress.advance(before, self.done, self.total);
    }
}

impl<R: BufRead> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let count = buffer.len().min(available.len());
        buffer[..count].copy_from_slice(&available[..count]);
        self.consume(count);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn every_step_is_told() {
        let told = Mutex::new(Vec::new());
        let tell = |done, total| told.lock().expect("no panic").push((done, total));
        let bytes = vec![0; 3_000_000];
        let mut counted = Counted::new(&bytes[..], Some(3_000_000), Progress::new(&tell));
        let copied = io::copy(&mut counted, &mut io::sink()).expect("memory");
        assert_eq!(copied, 3_000_000);
        let told = told.into_inner().expect("no panic");
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(
            told.iter()
                .all(|(done, total)| *done > STEP - 1 && total.is_some())
        );
    }
}
