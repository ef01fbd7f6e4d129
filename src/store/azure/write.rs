//! What changes a container, and what is in it.

use std::fmt::Write as _;

use base64::Engine as _;
use futures_util::{StreamExt as _, TryStreamExt as _};
use url::Url;

use super::super::Error;
use super::super::folder::{Listed, Put, Stored};
use super::super::parts::{Parts, Sizes};
use super::super::rest::{self, Failure};
use super::{Bucket, with};
use crate::http::{Body, Method, Request};

/// What the entities of XML stand for.
const ENTITIES: [(&str, &str); 5] = [
    ("&lt;", "<"),
    ("&gt;", ">"),
    ("&quot;", "\""),
    ("&apos;", "'"),
    // Last: what it gives is not to be replaced again.
    ("&amp;", "&"),
];

impl Bucket {
    /// Puts a blob: whole, or not at all.
    pub(in super::super) async fn put(
        &self,
        key: &str,
        put: Put,
        name: &str,
    ) -> Result<Stored, Error> {
        let url = self.blob(key);
        let mut request = if put.body.length() <= Sizes::SINGLE {
            let bytes = put.bytes(name).await?;
            let request = Request::new(Method::PUT, url).body(Body::in_pieces(bytes));
            with(request, "x-ms-blob-type", "BlockBlob")
        } else {
            self.put_blocks(url, &put, name).await?
        };
        request = with(request, "content-type", "application/octet-stream");
        if put.if_absent {
            request = with(request, "if-none-match", "*");
        }
        let token = self.token(name).await?;
        let request = self.signed(request, token.as_ref());
        match rest::send(&self.http, &request).await {
            Ok(_) => {
                if put.body.length() <= Sizes::SINGLE {
                    put.moved(put.body.length());
                }
                Ok(Stored::New)
            }
            // Which of the two depends on whether it was there before or came meanwhile.
            Err(Failure::Refused(refusal))
                if put.if_absent && matches!(refusal.status.as_u16(), 409 | 412) =>
            {
                Ok(Stored::Exists)
            }
            Err(failure) => Err(self.failed(failure, name)),
        }
    }

    /// Sends the blocks, and gives the request that makes them the blob.
    async fn put_blocks(&self, url: Url, put: &Put, name: &str) -> Result<Request, Error> {
        let sizes = Sizes::of(put.body.length());
        let url = &url;
        let blocks = Parts::new(&put.body, sizes, name).map(|part| async move {
            let (index, bytes) = part?;
            let length = bytes.len() as u64;
            // All ids of a blob have one length.
            let id = base64::engine::general_purpose::STANDARD.encode(format!("{index:06}"));
            let mut url = url.clone();
            url.query_pairs_mut()
                .append_pair("comp", "block")
                .append_pair("blockid", &id);
            let request = Request::new(Method::PUT, url).body(Body::in_pieces(bytes));
            self.send(request, name).await?;
            put.moved(length);
            Ok::<_, Error>(id)
        });
        let ids: Vec<String> = blocks.buffered(sizes.at_a_time).try_collect().await?;
        let mut list = String::from("<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>");
        for id in ids {
            let _ = write!(list, "<Latest>{id}</Latest>");
        }
        list.push_str("</BlockList>");
        let mut url = url.clone();
        url.query_pairs_mut().append_pair("comp", "blocklist");
        let request = Request::new(Method::PUT, url).body(Body::in_pieces(list.into()));
        Ok(with(
            request,
            "x-ms-blob-content-type",
            "application/octet-stream",
        ))
    }

    /// Lists what begins with `prefix`, at most `limit`.
    pub(in super::super) async fn list(
        &self,
        prefix: &str,
        limit: usize,
        name: &str,
    ) -> Result<Vec<Listed>, Error> {
        let mut listed = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let mut url = self.url.clone();
            url.query_pairs_mut()
                .append_pair("restype", "container")
                .append_pair("comp", "list")
                .append_pair("prefix", prefix);
            if let Some(after) = &after {
                url.query_pairs_mut().append_pair("marker", after);
            }
            let answer = self.send(Request::new(Method::GET, url), name).await?;
            let page = rest::read(answer).await;
            let page = page.map_err(|failure| self.failed(failure, name))?;
            let page = String::from_utf8_lossy(&page);
            for blob in elements(&page, "Blob") {
                if listed.len() == limit {
                    return Ok(listed);
                }
                listed.push(entry(blob));
            }
            after = element(&page, "NextMarker").map(unescape);
            if after.as_ref().is_none_or(String::is_empty) {
                return Ok(listed);
            }
        }
    }

    /// Deletes a blob. That it is not there is fine.
    pub(in super::super) async fn delete(&self, key: &str, name: &str) -> Result<(), Error> {
        let request = Request::new(Method::DELETE, self.blob(key));
        match self.send(request, name).await {
            Ok(_) | Err(Error::NoObject { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn entry(blob: &str) -> Listed {
    let text = |name| element(blob, name).map(unescape);
    let modified = text("Last-Modified")
        .and_then(|date| Some(jiff::fmt::rfc2822::parse(&date).ok()?.timestamp().into()));
    // A name that XML cannot hold is percent-encoded and marked.
    let name = match blob.split_once("<Name Encoded=\"true\">") {
        Some((_, rest)) => {
            let encoded = rest.split_once("</Name>").map_or(rest, |(name, _)| name);
            super::super::location::percent_decode(&unescape(encoded))
        }
        None => text("Name").unwrap_or_default(),
    };
    Listed {
        name,
        size: text("Content-Length")
            .and_then(|size| size.parse().ok())
            .unwrap_or_default(),
        modified,
    }
}

/// The contents of the elements of a name, which are never one in another here.
fn elements<'a>(xml: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    let (start, end) = (format!("<{name}>"), format!("</{name}>"));
    let mut rest = xml;
    std::iter::from_fn(move || {
        let (_, from) = rest.split_once(&start)?;
        let (inner, after) = from.split_once(&end)?;
        rest = after;
        Some(inner)
    })
}

fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    elements(xml, name).next()
}

fn unescape(text: &str) -> String {
    ENTITIES
        .iter()
        .fold(text.to_owned(), |text, (entity, character)| {
            text.replace(entity, character)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_a_list_is_read() {
        let page = "<?xml version=\"1.0\"?><EnumerationResults><Prefix>a</Prefix><Blobs>\
            <Blob><Name>a/b &amp;lt; &lt;c&gt;</Name><Properties><Last-Modified>Wed, 21 Oct 2015 07:28:01 GMT</Last-Modified>\
            <Content-Length>12</Content-Length></Properties></Blob>\
            <Blob><Name Encoded=\"true\">a%EF%BF%BE+</Name><Properties/></Blob>\
            </Blobs><NextMarker>x&amp;y</NextMarker></EnumerationResults>";
        let found: Vec<_> = elements(page, "Blob").map(entry).collect();
        assert_eq!(found[0].name, "a/b &lt; <c>");
        assert_eq!(found[0].size, 12);
        let seconds = std::time::Duration::from_secs(1_445_412_481);
        assert_eq!(found[0].modified, Some(std::time::UNIX_EPOCH + seconds));
        assert_eq!(found[1].name, "a\u{fffe}+");
        assert_eq!(found.len(), 2);
        assert_eq!(element(page, "NextMarker").map(unescape).unwrap(), "x&y");
    }
}
