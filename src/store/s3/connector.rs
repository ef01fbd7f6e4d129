//! What the SDK is given: our keys, and our clients.

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, future};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;
use url::Url;

use super::super::read::PART_SIZE;
use crate::auth::cloud::aws::Aws;
use crate::http::{self, Authorization, Body, Http, Method, Origin, Request, Secret};

/// The largest answer: a part, or a document of the store.
const ANSWER_LIMIT: u64 = PART_SIZE + (1 << 20);

/// Our keys, as the SDK asks for them.
#[derive(Debug)]
pub(super) struct Provider {
    pub(super) aws: Aws,
    pub(super) region: String,
}

impl ProvideCredentials for Provider {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async move {
            let keys = self.aws.keys(&self.region).await;
            let keys = keys.map_err(CredentialsError::provider_error)?;
            let mut credentials = Credentials::builder()
                .access_key_id(keys.access_key_id)
                .secret_access_key(keys.secret_access_key.expose())
                .provider_name("longshore");
            credentials
                .set_session_token(keys.session_token.map(|token| token.expose().to_owned()));
            credentials.set_expiry(keys.expires);
            Ok(credentials.build())
        })
    }
}

/// Our clients, as the SDK asks for them. It tries again by itself.
#[derive(Clone, Debug)]
pub(super) struct Connector(pub(super) Http);

impl HttpClient for Connector {
    fn http_connector(
        &self,
        _settings: &HttpConnectorSettings,
        _components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let http = self.0.clone();
        HttpConnectorFuture::new(async move {
            let request = translate(request).await?;
            let response = http.send(request).await.map_err(failed)?;
            let status = response.status().as_u16();
            let headers = response.headers().clone();
            let body = response.bytes(ANSWER_LIMIT).await.map_err(failed)?;
            let status = status
                .try_into()
                .map_err(|error| ConnectorError::other(Box::new(error), None))?;
            let mut answer = HttpResponse::new(status, SdkBody::from(body));
            for (name, value) in &headers {
                if let Ok(value) = value.to_str() {
                    answer
                        .headers_mut()
                        .append(name.as_str().to_owned(), value.to_owned());
                }
            }
            Ok(answer)
        })
    }
}

fn failed(error: http::Error) -> ConnectorError {
    if error.is_transient() {
        ConnectorError::io(Box::new(error))
    } else {
        ConnectorError::user(Box::new(error))
    }
}

async fn translate(mut request: HttpRequest) -> Result<Request, ConnectorError> {
    let user = |error: Box<dyn std::error::Error + Send + Sync>| ConnectorError::user(error);
    let url = Url::parse(request.uri()).map_err(|error| user(error.into()))?;
    let method =
        Method::from_bytes(request.method().as_bytes()).map_err(|error| user(error.into()))?;
    let body = std::mem::replace(request.body_mut(), SdkBody::taken());
    // It is in memory already, and is not copied here.
    let body = ByteStream::new(body).collect().await;
    let body = body.map_err(|error| user(error.into()))?.into_bytes();
    let mut translated = Request::new(method, url).body(Body::in_pieces(body));
    // A redirect would break the signature.
    translated.follows_redirects = false;
    for (name, value) in request.headers() {
        if name.eq_ignore_ascii_case("authorization") {
            translated.authorization = Origin::of(&translated.url)
                .map(|origin| Authorization::new(origin, Secret::new(value)));
            continue;
        }
        // The client says these itself.
        if ["host", "content-length", "user-agent"].contains(&name) {
            continue;
        }
        let name = http::header::HeaderName::from_bytes(name.as_bytes())
            .map_err(|error| user(error.into()))?;
        let mut value =
            http::header::HeaderValue::from_str(value).map_err(|error| user(error.into()))?;
        value.set_sensitive(true);
        translated.headers.append(name, value);
    }
    Ok(translated)
}
