//! What is worth another try, and when.

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};

/// The longest wait that a server may ask for.
const RETRY_AFTER_CAP: Duration = Duration::from_mins(2);

/// How often and for how long a transient failure is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Tries in all, the first included; progress of a transfer gives new tries.
    pub attempts: u32,
    /// Upper bound of the first wait; it doubles with each try.
    pub first_wait: Duration,
    /// Upper bound of every wait that we choose ourselves.
    pub longest_wait: Duration,
    /// Upper bound of the sum of all waits.
    pub budget: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 6,
            first_wait: Duration::from_millis(500),
            longest_wait: Duration::from_secs(30),
            budget: Duration::from_mins(10),
        }
    }
}

impl RetryPolicy {
    /// One try and no more.
    pub fn never() -> Self {
        Self {
            attempts: 1,
            ..Self::default()
        }
    }
}

/// The state of the tries of one operation.
#[derive(Clone, Debug)]
pub struct Backoff {
    policy: RetryPolicy,
    failures: u32,
    waited: Duration,
    random: u64,
}

impl Backoff {
    /// Starts with no failure; `seed` makes the jitter differ between operations.
    pub fn new(policy: RetryPolicy, seed: u64) -> Self {
        Self {
            policy,
            failures: 0,
            waited: Duration::ZERO,
            random: seed,
        }
    }

    /// Counts a failure and gives the time to wait before the next try, or `None` when it is enough.
    ///
    /// The wait is random between zero and a bound that doubles ("full jitter"), so that many clients that failed
    /// together do not come back together. A time that the server asked for is kept to, up to two minutes.
    pub fn next_wait(&mut self, asked: Option<Duration>) -> Option<Duration> {
        self.failures += 1;
        if self.failures >= self.policy.attempts {
            return None;
        }
        let doubled = self
            .policy
            .first_wait
            .saturating_mul(1 << (self.failures - 1).min(16));
        let bound = doubled.min(self.policy.longest_wait);
        let jittered = bound.mul_f64(self.next_fraction());
        let wait = asked.map_or(jittered, |asked| {
            asked.min(RETRY_AFTER_CAP) + jittered.min(self.policy.first_wait)
        });
        self.waited += wait;
        (self.waited <= self.policy.budget).then_some(wait)
    }

    /// Forgets the failures so far: bytes have moved since.
    pub fn progressed(&mut self) {
        self.failures = 0;
    }

    /// The failures counted since the last progress.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Gives a number in [0, 1): splitmix64, whose quality is ample for jitter.
    fn next_fraction(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let top = u32::try_from((mixed ^ (mixed >> 31)) >> 32).expect("32 bits remain");
        f64::from(top) / (f64::from(u32::MAX) + 1.0)
    }
}

/// Says whether a status tells of trouble that may pass.
pub fn is_transient(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        408 | 429 | 499 | 500 | 502 | 503 | 504 | 520..=524
    )
}

/// Reads `Retry-After`: seconds, or a date, which is counted from the answer's own `Date` so that no clock matters.
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(value.parse().map_or(RETRY_AFTER_CAP, Duration::from_secs));
    }
    let until = http_date(value)?;
    let now = http_date(headers.get(DATE)?.to_str().ok()?)?;
    Some(Duration::from_secs(u64::try_from(until - now).unwrap_or(0)))
}

fn http_date(text: &str) -> Option<i64> {
    Some(
        jiff::fmt::rfc2822::parse(text.trim())
            .ok()?
            .timestamp()
            .as_second(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_within_their_bounds_and_end() {
        let policy = RetryPolicy {
            attempts: 12,
            ..RetryPolicy::default()
        };
        for seed in 0..200 {
            let mut backoff = Backoff::new(policy, seed);
            for failure in 0..11_u32 {
                let wait = backoff.next_wait(None).expect("another try");
                let bound =
                    Duration::from_millis(500 << failure.min(6)).min(Duration::from_secs(30));
                assert!(wait <= bound, "wait {wait:?} after failure {failure}");
            }
            assert_eq!(backoff.next_wait(None), None);
        }
    }

    #[test]
    fn jitter_differs_between_seeds() {
        let first = |seed| Backoff::new(RetryPolicy::default(), seed).next_wait(None);
        assert_ne!(first(1), first(2));
    }

    #[test]
    fn a_wait_that_was_asked_for_is_kept_and_capped() {
        let mut backoff = Backoff::new(RetryPolicy::default(), 7);
        let wait = backoff
            .next_wait(Some(Duration::from_secs(2)))
            .expect("another try");
        assert!((2000..=2500).contains(&wait.as_millis()), "{wait:?}");
        let wait = backoff
            .next_wait(Some(Duration::from_secs(1_000_000_000)))
            .expect("another try");
        assert!((120_000..=120_500).contains(&wait.as_millis()), "{wait:?}");
    }

    #[test]
    fn the_budget_ends_it() {
        let policy = RetryPolicy {
            attempts: 1000,
            budget: Duration::from_secs(5),
            ..RetryPolicy::default()
        };
        let mut backoff = Backoff::new(policy, 3);
        let tries = std::iter::from_fn(|| backoff.next_wait(Some(Duration::from_secs(1)))).count();
        assert!((3..=4).contains(&tries), "{tries}");
    }

    #[test]
    fn retry_after_is_read_in_both_forms() {
        let check = |value: &str, date: Option<&str>, expect: Option<u64>| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, value.parse().expect("a header"));
            if let Some(date) = date {
                headers.insert(DATE, date.parse().expect("a header"));
            }
            assert_eq!(
                retry_after(&headers).map(|wait| wait.as_secs()),
                expect,
                "{value}"
            );
        };
        check("2", None, Some(2));
        check("99999999999999999999999", None, Some(120));
        check("soon", None, None);
        check("-1", None, None);
        check(
            "Sun, 06 Nov 1994 08:49:37 GMT",
            Some("Sun, 06 Nov 1994 08:49:30 GMT"),
            Some(7),
        );
        check(
            "Sun, 06 Nov 1994 08:49:20 GMT",
            Some("Sun, 06 Nov 1994 08:49:30 GMT"),
            Some(0),
        );
        check("Sun, 06 Nov 1994 08:49:37 GMT", None, None);
    }
}
