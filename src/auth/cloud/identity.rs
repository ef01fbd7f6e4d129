//! Gets the identity token of the CI system, for an audience.

use serde::Deserialize;

use super::{CloudError, CloudHttp};
use crate::auth::identity::{IdentityToken, IdentityTokens};
use crate::http::{Authorization, Method, Origin, Request, Secret};

#[derive(Deserialize)]
struct Answer {
    value: String,
}

impl IdentityTokens {
    /// Gets the token for an audience and the name of where it came from; `None` if there is no way.
    ///
    /// # Errors
    /// When the first way fails.
    pub(crate) async fn get(
        &self,
        http: &CloudHttp,
        audience: &str,
    ) -> Result<Option<(Secret, String)>, CloudError> {
        let Some(way) = self.0.first() else {
            return Ok(None);
        };
        let (token, name) = match way {
            IdentityToken::Value { name, token } => (token.clone(), name.clone()),
            IdentityToken::File { path } => (http.read_file(path)?, path.display().to_string()),
            IdentityToken::Request { name, url, bearer } => {
                let what = format!("identity token of {name}");
                let mut url = url.clone();
                CloudHttp::check(&url, &what)?;
                url.query_pairs_mut().append_pair("audience", audience);
                let authorization =
                    Origin::of(&url).map(|origin| Authorization::bearer(origin, bearer));
                let request = Request::new(Method::GET, url).authorization(authorization);
                let answer: Answer = http.json(&request, &what).await?;
                (Secret::new(answer.value), name.clone())
            }
        };
        Ok(Some((token, name)))
    }
}
