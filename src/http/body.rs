//! A request's body, read no further than its limit.

use std::pin::pin;

use axum::body::Body;
use http_body_util::{BodyExt as _, Limited};

use super::request::RequestError;

/// The whole body, or an error as soon as it is longer than `limit` bytes, however it is framed
/// (T-01).
pub(super) async fn read(body: Body, limit: usize) -> Result<Vec<u8>, RequestError> {
    let hint = axum::body::HttpBody::size_hint(&body);
    let announced = hint.lower();
    if usize::try_from(announced).map_or(true, |bytes| bytes > limit) {
        return Err(RequestError::BodySize { limit });
    }
    let exact = hint.exact().and_then(|bytes| usize::try_from(bytes).ok());
    let most = exact.unwrap_or(limit);
    // One copy, and none of hyper's own buffers kept: a request that is refused costs little.
    let mut whole = Vec::new();
    let mut body = pin!(Limited::new(body, limit));
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => {
                // Trailers are no part of it.
                if let Some(bytes) = frame.data_ref() {
                    make_room(&mut whole, bytes.len(), most);
                    whole.extend_from_slice(bytes);
                }
            }
            Err(error) if error.is::<http_body_util::LengthLimitError>() => {
                return Err(RequestError::BodySize { limit });
            }
            Err(_) => return Err(RequestError::BodyBroken),
        }
    }
    Ok(whole)
}

/// Room for `more` bytes. An announced length costs nothing to announce, so it is believed only when
/// a good part of it has come.
fn make_room(whole: &mut Vec<u8>, more: usize, most: usize) {
    let needed = whole.len().saturating_add(more);
    if needed > whole.capacity() {
        let wanted = if needed > ON_CREDIT {
            most
        } else {
            ON_CREDIT.min(most)
        };
        whole.reserve_exact(wanted.max(needed).saturating_sub(whole.len()));
    }
}

/// Bytes.
const ON_CREDIT: usize = 16 << 10;

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
