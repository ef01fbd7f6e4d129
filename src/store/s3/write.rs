//! What changes a bucket, and what is in it.

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};

use super::super::Error;
use super::super::folder::{Listed, Put, Stored};
use super::super::parts::{Parts, Sizes};
use super::Bucket;

/// So often a condition is tried again that another writer got in the way of.
const CONFLICTS: u32 = 5;

/// Why an object was not put.
enum Refused {
    /// The condition does not hold.
    Exists,
    /// Another writer is at it.
    Conflict(Error),
    /// The store knows no conditions.
    NoConditions,
    Failed(Error),
}

impl Bucket {
    /// Puts an object: whole, or not at all.
    pub(in super::super) async fn put(
        &self,
        key: &str,
        mut put: Put,
        name: &str,
    ) -> Result<Stored, Error> {
        let mut conflicts = 0;
        loop {
            let done = if put.body.length() <= Sizes::SINGLE {
                self.put_whole(key, &put, name).await
            } else {
                self.put_parts(key, &put, name).await
            };
            match done {
                Ok(()) => return Ok(Stored::New),
                Err(Refused::Exists) => return Ok(Stored::Exists),
                Err(Refused::Failed(error)) => return Err(error),
                Err(Refused::Conflict(error)) if conflicts == CONFLICTS => return Err(error),
                Err(Refused::Conflict(_)) => {
                    conflicts += 1;
                    tokio::time::sleep(std::time::Duration::from_millis(100 << conflicts)).await;
                }
                Err(Refused::NoConditions) => match self.object(key, name).await {
                    Ok(_) => return Ok(Stored::Exists),
                    Err(Error::NoObject { .. }) => put.if_absent = false,
                    Err(error) => return Err(error),
                },
            }
        }
    }

    async fn put_whole(&self, key: &str, put: &Put, name: &str) -> Result<(), Refused> {
        let bytes = put.bytes(name).await.map_err(Refused::Failed)?;
        let answer = self
            .client
            .put_object()
            .bucket(&self.name)
            .set_request_payer(self.payer.clone())
            .key(key)
            .set_if_none_match(put.if_absent.then(|| "*".to_owned()))
            .body(stream(bytes))
            .send()
            .await;
        match answer {
            Ok(_) => {
                put.moved(put.body.length());
                Ok(())
            }
            Err(error) => Err(self.refused(error, put, name).await),
        }
    }

    async fn put_parts(&self, key: &str, put: &Put, name: &str) -> Result<(), Refused> {
        let started = self
            .client
            .create_multipart_upload()
            .bucket(&self.name)
            .set_request_payer(self.payer.clone())
            .key(key)
            .send()
            .await;
        let id = match started {
            Ok(started) => started.upload_id.unwrap_or_default(),
            Err(error) => return Err(Refused::Failed(self.failure(&error, name).await)),
        };
        let done = self.send_parts(key, &id, put, name).await;
        if done.is_err() {
            // The error of the upload counts. What remains is cleaned up by the bucket's own rules.
            let _ = self
                .client
                .abort_multipart_upload()
                .bucket(&self.name)
                .set_request_payer(self.payer.clone())
                .key(key)
                .upload_id(&id)
                .send()
                .await;
        }
        done
    }

    async fn send_parts(&self, key: &str, id: &str, put: &Put, name: &str) -> Result<(), Refused> {
        let sizes = Sizes::of(put.body.length());
        let parts = Parts::new(&put.body, sizes, name).map(|part| async move {
            let (index, bytes) = part?;
            let length = bytes.len() as u64;
            // Numbers begin with 1.
            let number = i32::try_from(index + 1).unwrap_or(i32::MAX);
            let sent = self
                .client
                .upload_part()
                .bucket(&self.name)
                .set_request_payer(self.payer.clone())
                .key(key)
                .upload_id(id)
                .part_number(number)
                .body(stream(bytes))
                .send()
                .await;
            match sent {
                Ok(sent) => {
                    put.moved(length);
                    Ok(CompletedPart::builder()
                        .part_number(number)
                        .set_e_tag(sent.e_tag)
                        .build())
                }
                Err(error) => Err(self.failure(&error, name).await),
            }
        });
        let parts: Vec<_> = parts
            .buffered(sizes.at_a_time)
            .try_collect()
            .await
            .map_err(Refused::Failed)?;
        let parts = CompletedMultipartUpload::builder()
            .set_parts(Some(parts))
            .build();
        let answer = self
            .client
            .complete_multipart_upload()
            .bucket(&self.name)
            .set_request_payer(self.payer.clone())
            .key(key)
            .upload_id(id)
            .set_if_none_match(put.if_absent.then(|| "*".to_owned()))
            .multipart_upload(parts)
            .send()
            .await;
        match answer {
            Ok(_) => Ok(()),
            Err(error) => Err(self.refused(error, put, name).await),
        }
    }

    async fn refused<E>(&self, error: SdkError<E, HttpResponse>, put: &Put, name: &str) -> Refused
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        let status = error
            .raw_response()
            .map(|response| response.status().as_u16());
        match status {
            Some(412) if put.if_absent => Refused::Exists,
            Some(501) if put.if_absent => Refused::NoConditions,
            Some(409) if put.if_absent => Refused::Conflict(self.failure(&error, name).await),
            _ => Refused::Failed(self.failure(&error, name).await),
        }
    }

    /// Lists what begins with `prefix`, at most `limit`.
    pub(in super::super) async fn list(
        &self,
        prefix: &str,
        limit: usize,
        name: &str,
    ) -> Result<Vec<Listed>, Error> {
        let mut listed = Vec::new();
        let mut after = None;
        loop {
            let page = self
                .client
                .list_objects_v2()
                .bucket(&self.name)
                .set_request_payer(self.payer.clone())
                .prefix(prefix)
                .set_continuation_token(after.take())
                .send()
                .await;
            let page = match page {
                Ok(page) => page,
                Err(error) => return Err(self.failure(&error, name).await),
            };
            after = page.next_continuation_token;
            for object in page.contents.unwrap_or_default() {
                if listed.len() == limit {
                    return Ok(listed);
                }
                let modified = object.last_modified.and_then(|time| time.try_into().ok());
                listed.push(Listed {
                    name: object.key.unwrap_or_default(),
                    size: object
                        .size
                        .and_then(|size| u64::try_from(size).ok())
                        .unwrap_or_default(),
                    modified,
                });
            }
            if after.is_none() {
                return Ok(listed);
            }
        }
    }

    /// Deletes an object. That it is not there is fine.
    pub(in super::super) async fn delete(&self, key: &str, name: &str) -> Result<(), Error> {
        let answer = self
            .client
            .delete_object()
            .bucket(&self.name)
            .set_request_payer(self.payer.clone())
            .key(key)
            .send()
            .await;
        match answer {
            Ok(_) => Ok(()),
            Err(error) => match self.failure(&error, name).await {
                Error::NoObject { .. } => Ok(()),
                error => Err(error),
            },
        }
    }
}

fn stream(bytes: Bytes) -> ByteStream {
    ByteStream::new(SdkBody::from(bytes))
}
