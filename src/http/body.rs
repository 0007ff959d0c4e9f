//! A request's body, read no further than its limit.

use axum::body::Body;
use http_body_util::{BodyExt as _, Limited};

use super::request::RequestError;

/// The whole body, or an error as soon as it is longer than `limit` bytes, however it is framed
/// (T-01).
pub(super) async fn read(body: Body, limit: usize) -> Result<Vec<u8>, RequestError> {
    let announced = axum::body::HttpBody::size_hint(&body).lower();
    if usize::try_from(announced).map_or(true, |bytes| bytes > limit) {
        return Err(RequestError::BodySize { limit });
    }
    match Limited::new(body, limit).collect().await {
        Ok(whole) => Ok(whole.to_bytes().to_vec()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            Err(RequestError::BodySize { limit })
        }
        Err(_) => Err(RequestError::BodyBroken),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// T-01
    #[tokio::test]
    async fn a_body_over_its_limit_is_refused_while_it_is_read() {
        assert_eq!(read(Body::from("1234"), 4).await.unwrap(), b"1234");
        assert_eq!(
            read(Body::from("12345"), 4).await,
            Err(RequestError::BodySize { limit: 4 })
        );
    }
}
