//! Uploads: mounted, in one piece, in several.

use bytes::Bytes;
use hyper::Method;
use hyper::header::{self, HeaderValue};

use super::answer::{Answer, plain, unknown};
use super::respond::Given;
use super::{State, digest_like};

impl State {
    pub(super) fn upload(&mut self, given: &Given<'_>) -> Answer {
        if self
            .largest_upload
            .is_some_and(|largest| given.body.len() > largest)
        {
            return plain(413, "<html>too large</html>");
        }
        if *given.method == Method::POST {
            return self.start_upload(given);
        }
        let Ok(id) = given.name.parse::<u64>() else {
            return unknown("BLOB_UPLOAD_UNKNOWN");
        };
        let Some((_, content)) = self.uploads.get_mut(&id) else {
            return unknown("BLOB_UPLOAD_UNKNOWN");
        };
        match *given.method {
            Method::PATCH => {
                let range = given
                    .headers
                    .get(header::CONTENT_RANGE)
                    .and_then(|value| value.to_str().ok());
                let start = range.and_then(|range| range.split('-').next()?.parse::<usize>().ok());
                if start.is_some_and(|start| start != content.len()) {
                    return plain(416, "");
                }
                content.extend_from_slice(given.body);
                progress(202, given.repository, id, content.len())
            }
            Method::GET => progress(204, given.repository, id, content.len()),
            Method::DELETE => {
                self.uploads.remove(&id);
                plain(204, "")
            }
            Method::PUT => {
                content.extend_from_slice(given.body);
                let content = Bytes::from(std::mem::take(content));
                let asked = given.query.get("digest").map_or("", String::as_str);
                let digest = digest_like(asked, &content);
                if given.query.get("_state").map(String::as_str) != Some("a+b/c=")
                    || asked != digest.as_str()
                {
                    return plain(
                        400,
                        r#"{"errors":[{"code":"DIGEST_INVALID","message":"provided digest did not match"}]}"#,
                    );
                }
                self.uploads.remove(&id);
                self.blobs
                    .insert((given.repository.to_owned(), digest.to_string()), content);
                plain(201, "")
            }
            _ => plain(405, ""),
        }
    }

    fn start_upload(&mut self, given: &Given<'_>) -> Answer {
        if let (Some(digest), Some(from), false) = (
            given.query.get("mount"),
            given.query.get("from"),
            self.refuses_mounts,
        ) && let Some(bytes) = self.blobs.get(&(from.clone(), digest.clone())).cloned()
        {
            self.blobs
                .insert((given.repository.to_owned(), digest.clone()), bytes);
            return plain(201, "");
        }
        self.counter += 1;
        let id = self.counter;
        self.uploads
            .insert(id, (given.repository.to_owned(), Vec::new()));
        progress(202, given.repository, id, 0)
    }
}

fn progress(status: u16, repository: &str, id: u64, received: usize) -> Answer {
    let mut answer = plain(status, "");
    let location = format!("/v2/{repository}/blobs/uploads/{id}?_state=a%2Bb%2Fc%3D");
    answer.headers_mut().insert(
        header::LOCATION,
        HeaderValue::from_str(&location).expect("a header"),
    );
    let range = format!("0-{}", received.saturating_sub(1));
    answer.headers_mut().insert(
        header::RANGE,
        HeaderValue::from_str(&range).expect("a header"),
    );
    answer
}
