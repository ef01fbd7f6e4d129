//! The two ways to a git server: smart HTTP, one request and answer after the other, and SSH, one stream.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bytes::Bytes;
use url::Url;

use crate::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use crate::http::{Authorization, Body, Method, Origin, Request, Response};

use super::access::Login;
use super::error::GitError;
use super::packet::Chunks;
use super::remote::GitRemote;
use super::ssh::{Place, SshWire};
use super::{GitServices, GitSource};

/// The header by which the protocol's version is asked for.
const GIT_PROTOCOL: HeaderName = HeaderName::from_static("git-protocol");

/// A connection to a repository.
pub(super) enum Wire<'a> {
    /// Smart HTTP (gitprotocol-http).
    Http(Box<HttpWire<'a>>),
    /// `git-upload-pack` on the other side of SSH.
    Ssh(Box<SshWire<'a>>),
}

impl<'a> Wire<'a> {
    /// Connects; `led_by` is the repository that named this one, if the user did not.
    pub(super) fn open(
        source: &'a GitSource,
        led_by: Option<&Url>,
        services: &'a GitServices<'a>,
        received: Arc<AtomicU64>,
    ) -> Result<Self, GitError> {
        let name = source.remote.to_string();
        match &source.remote {
            GitRemote::Http(url) => Ok(Self::Http(Box::new(HttpWire {
                name,
                asked: url.clone(),
                base: url.clone(),
                login: source.login.as_ref(),
                authorization: None,
                led_by: led_by.cloned(),
                skip_verify: source.skips_tls_verify,
                services,
                received,
            }))),
            GitRemote::Ssh {
                user,
                host,
                port,
                path,
            } => {
                let place = Place {
                    user,
                    host,
                    port: *port,
                    path,
                    url: &name,
                };
                let wire = SshWire::connect(place, led_by, services, received)?;
                Ok(Self::Ssh(Box::new(wire)))
            }
        }
    }

    /// Whether the other side forgets everything between two requests.
    pub(super) fn is_stateless(&self) -> bool {
        matches!(self, Self::Http(_))
    }

    /// Asks what the server has.
    pub(super) fn advertisement(&mut self) -> Result<Box<dyn Chunks + '_>, GitError> {
        match self {
            Self::Http(wire) => Ok(Box::new(wire.advertisement()?)),
            Self::Ssh(wire) => Ok(Box::new(&mut **wire)),
        }
    }

    /// Sends a request.
    pub(super) fn ask(&mut self, request: Vec<u8>) -> Result<Box<dyn Chunks + '_>, GitError> {
        match self {
            Self::Http(wire) => Ok(Box::new(wire.ask(request)?)),
            Self::Ssh(wire) => {
                wire.send(request)?;
                Ok(Box::new(&mut **wire))
            }
        }
    }
}

/// Smart HTTP over the `http` room.
pub(super) struct HttpWire<'a> {
    name: String,
    /// The URL that the user, or a repository, named.
    asked: Url,
    /// The URL that answered.
    base: Url,
    login: Option<&'a Login>,
    authorization: Option<Authorization>,
    led_by: Option<Url>,
    skip_verify: bool,
    services: &'a GitServices<'a>,
    received: Arc<AtomicU64>,
}

impl<'a> HttpWire<'a> {
    /// Asks with each credential that is for this place, and then with none: a token that ran out must not hide what
    /// everybody may read.
    fn advertisement(&mut self) -> Result<HttpAnswer<'a>, GitError> {
        let mut candidates = self.candidates(&self.asked.clone());
        let mut denied = None;
        let mut is_led_elsewhere = false;
        loop {
            let is_last = candidates.is_empty();
            self.authorization = (!is_last).then(|| candidates.remove(0));
            let response = self.info_refs()?;
            let status = response.status().as_u16();
            match status {
                200 => return self.accept(response),
                401 | 403 | 404 | 410 => {}
                _ => {
                    return Err(self.not_git(format!("status {status}")));
                }
            }
            // A redirect may have led to a host that we have a credential for.
            let target = base_of(response.url());
            if let Some(target) = target
                && Origin::of(&target) != Origin::of(&self.asked)
                && !is_led_elsewhere
            {
                is_led_elsewhere = true;
                self.led_by.get_or_insert_with(|| self.asked.clone());
                self.base = target.clone();
                candidates = self.candidates(&target);
                denied = Some(status);
                continue;
            }
            // What was asked without a credential after one was refused says less.
            let status = *denied.get_or_insert(status);
            if is_last {
                let tried = self.services.access.tried(&self.base, self.login);
                let url = self.name.clone();
                return Err(if matches!(status, 401 | 403) {
                    GitError::Denied { url, status, tried }
                } else {
                    GitError::NoRepository { url, tried }
                });
            }
        }
    }

    fn candidates(&self, url: &Url) -> Vec<Authorization> {
        let own = self
            .login
            .filter(|_| Origin::of(url) == Origin::of(&self.asked));
        let found = self.services.access.for_url(url, own);
        found.into_iter().map(|(_, value)| value).collect()
    }

    fn info_refs(&self) -> Result<Response, GitError> {
        let mut url = below(&self.base, "/info/refs");
        url.set_query(Some("service=git-upload-pack"));
        let request = self
            .request(Method::GET, url)
            .header(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        self.send(&request)
    }

    /// Takes the answer if it is that of a smart server.
    fn accept(&mut self, response: Response) -> Result<HttpAnswer<'a>, GitError> {
        let kind = response.header(&CONTENT_TYPE).unwrap_or_default();
        if kind.split(';').next() != Some("application/x-git-upload-pack-advertisement") {
            let kind = crate::http::printable(kind, 80);
            return Err(self.not_git(format!(
                "the answer is of type \"{kind}\", as of a web page; is it the address of a repository?"
            )));
        }
        if let Some(base) = base_of(response.url()) {
            if Origin::of(&base) != Origin::of(&self.asked) {
                self.led_by.get_or_insert_with(|| self.asked.clone());
            }
            self.base = base;
        }
        Ok(self.answer(response))
    }

    fn ask(&mut self, request: Vec<u8>) -> Result<HttpAnswer<'a>, GitError> {
        let url = below(&self.base, "/git-upload-pack");
        let request = self
            .request(Method::POST, url)
            .header(
                CONTENT_TYPE,
                HeaderValue::from_static("application/x-git-upload-pack-request"),
            )
            .header(
                ACCEPT,
                HeaderValue::from_static("application/x-git-upload-pack-result"),
            )
            .body(Body::Bytes(request.into()));
        let response = self.send(&request)?;
        let status = response.status().as_u16();
        match status {
            200 => Ok(self.answer(response)),
            401 | 403 => Err(GitError::Denied {
                url: self.name.clone(),
                status,
                tried: self.services.access.tried(&self.base, self.login),
            }),
            _ => Err(self.not_git(format!("status {status} to a request for objects"))),
        }
    }

    fn request(&self, method: Method, url: Url) -> Request {
        let mut request = Request::new(method, url)
            .header(GIT_PROTOCOL, HeaderValue::from_static("version=2"))
            .authorization(self.authorization.clone());
        request.led_by.clone_from(&self.led_by);
        request.skip_verify = self.skip_verify;
        request
    }

    fn send(&self, request: &Request) -> Result<Response, GitError> {
        let sending = self.services.http.send_retrying(request);
        wait(self.services, sending)?.map_err(|source| GitError::Http {
            url: self.name.clone(),
            source,
        })
    }

    fn answer(&self, response: Response) -> HttpAnswer<'a> {
        HttpAnswer {
            response,
            services: self.services,
            received: Arc::clone(&self.received),
            name: self.name.clone(),
        }
    }

    fn not_git(&self, reason: String) -> GitError {
        GitError::NotGit {
            url: self.name.clone(),
            reason,
        }
    }
}

/// The body of an answer.
struct HttpAnswer<'a> {
    response: Response,
    services: &'a GitServices<'a>,
    received: Arc<AtomicU64>,
    name: String,
}

impl Chunks for HttpAnswer<'_> {
    fn next(&mut self) -> Result<Option<Bytes>, GitError> {
        let chunk = wait(self.services, self.response.chunk())?.map_err(|source| {
            GitError::Interrupted {
                url: self.name.clone(),
                source,
            }
        })?;
        let length = chunk.as_ref().map_or(0, Bytes::len);
        self.services.count(&self.received, length);
        Ok(chunk)
    }
}

/// Waits for the network unless the build is called off.
pub(super) fn wait<T>(
    services: &GitServices<'_>,
    future: impl Future<Output = T>,
) -> Result<T, GitError> {
    services.runtime.block_on(async {
        tokio::select! {
            biased;
            () = services.cancel.cancelled() => Err(GitError::Cancelled),
            done = future => Ok(done),
        }
    })
}

/// A URL below that of a repository.
fn below(base: &Url, rest: &str) -> Url {
    let mut url = base.clone();
    let path = format!("{}{rest}", base.path().trim_end_matches('/'));
    url.set_path(&path);
    url
}

/// The repository whose references stand at this URL.
fn base_of(url: &Url) -> Option<Url> {
    let path = url.path().strip_suffix("/info/refs")?;
    let mut base = url.clone();
    base.set_path(path);
    base.set_query(None);
    let is_cleared = base.set_username("").is_ok() && base.set_password(None).is_ok();
    is_cleared.then_some(base)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_derived() {
        let url = Url::parse("https://h.io/a/b.git/").expect("a URL");
        let refs = below(&url, "/info/refs");
        assert_eq!(refs.as_str(), "https://h.io/a/b.git/info/refs");
        let base = base_of(&Url::parse("https://u@h.io/x/info/refs?service=y").expect("a URL"));
        assert_eq!(base.expect("a base").as_str(), "https://h.io/x");
    }
}
