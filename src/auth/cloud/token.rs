//! Access tokens as the clouds that speak OAuth give them, kept until shortly before they expire.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::Deserialize;

use super::CloudError;
use crate::http::Secret;

/// A token is renewed so long before it expires.
const MARGIN: Duration = Duration::from_mins(5);

/// How long a token is valid of which nothing is said.
const UNSAID_LIFETIME: Duration = Duration::from_mins(5);

/// An access token.
#[derive(Clone, Debug)]
pub struct Token {
    /// The token.
    pub access_token: Secret,
    /// How long it is valid.
    pub lifetime: Duration,
    /// Where it came from, in words.
    pub source: String,
}

/// What a token endpoint says (RFC 6749, section 5.1).
#[derive(Deserialize)]
pub(super) struct Answer {
    access_token: String,
    /// A number of seconds, which Azure's machines write as a text.
    #[serde(default)]
    expires_in: Option<serde_json::Value>,
}

impl Answer {
    /// The token; `source` says in words where it came from.
    pub(super) fn token(self, source: String) -> Token {
        let secs = match self.expires_in {
            Some(serde_json::Value::Number(number)) => number.as_u64(),
            Some(serde_json::Value::String(text)) => text.parse().ok(),
            _ => None,
        };
        Token {
            access_token: Secret::new(self.access_token),
            lifetime: secs.map_or(UNSAID_LIFETIME, Duration::from_secs),
            source,
        }
    }
}

/// Tokens by what they are for; clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Tokens(Arc<tokio::sync::Mutex<HashMap<String, (Token, SystemTime)>>>);

impl Tokens {
    /// Gives what is kept, or what is found now: all who need it wait for the one exchange.
    pub(super) async fn get(
        &self,
        purpose: &str,
        now: SystemTime,
        find: impl Future<Output = Result<Token, CloudError>>,
    ) -> Result<Token, CloudError> {
        let mut kept = self.0.lock().await;
        if let Some((token, expires)) = kept.get(purpose)
            && now + MARGIN < *expires
        {
            let mut token = token.clone();
            token.lifetime = expires.duration_since(now).unwrap_or_default();
            return Ok(token);
        }
        let token = find.await?;
        kept.insert(purpose.to_owned(), (token.clone(), now + token.lifetime));
        Ok(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_are_numbers_or_texts() {
        let lifetime = |fields: &str| {
            let text = format!(r#"{{"access_token":"t"{fields}}}"#);
            let answer: Answer = serde_json::from_str(&text).unwrap();
            answer.token(String::new()).lifetime.as_secs()
        };
        assert_eq!(lifetime(r#","expires_in":3599"#), 3599);
        assert_eq!(lifetime(r#","expires_in":"86400""#), 86400);
        assert_eq!(lifetime(r#","expires_in":"soon""#), 300);
        assert_eq!(lifetime(""), 300);
    }

    #[tokio::test]
    async fn a_token_is_kept_until_shortly_before_it_expires() {
        let (tokens, start) = (Tokens::default(), SystemTime::UNIX_EPOCH);
        let found = |text: &str| {
            let token = Token {
                access_token: Secret::new(text),
                lifetime: Duration::from_hours(1),
                source: String::new(),
            };
            async { Ok(token) }
        };
        for (purpose, minute, finds, expect, left) in [
            ("a", 0, "1", "1", 60),
            ("a", 54, "2", "1", 6),
            ("b", 54, "3", "3", 60),
            ("a", 55, "4", "4", 60),
        ] {
            let now = start + Duration::from_mins(minute);
            let token = tokens.get(purpose, now, found(finds)).await.unwrap();
            let got = (token.access_token.expose(), token.lifetime);
            assert_eq!(got, (expect, Duration::from_mins(left)), "{minute}");
        }
        let refused = async { Err(CloudError::config("X", "is wrong")) };
        let now = start + Duration::from_hours(2);
        assert!(tokens.get("a", now, refused).await.is_err());
    }
}
