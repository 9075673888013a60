//! One document as a stream of server-sent events, for those without WebSockets: the distinct connections
//! mode of the GraphQL over SSE protocol.

use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::header;
use actix_web::web::Data;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use hookseal_core::access::Caller;
use hookseal_graphql::{Request, Response};

use super::live::{Place, Watchman};
use super::prepared;
use crate::api::Api;
use crate::api::auth::Credential;
use crate::api::envelope::ApiError;

/// How long nothing is sent before a comment tells that the stream lives.
const SILENCE: Duration = Duration::from_secs(12);

struct Open {
    answers: BoxStream<'static, Response>,
    watchman: Watchman,
    complete: bool,
    _place: Place,
}

/// Opens the stream; it ends when the document does, or when its caller may no longer watch.
pub(super) fn open(
    api: Data<Api>,
    document: Request,
    credential: Credential,
    caller: Caller,
) -> Result<HttpResponse, ApiError> {
    let place = api.lives.enter(Some(&caller))?;
    let answers = api.graphql.execute_stream(prepared(&api, document, caller.clone())).boxed();
    let mut watchman = Watchman::new(api);
    watchman.guard(credential, caller);
    let open = Open { answers, watchman, complete: false, _place: place };
    let events = stream::unfold(open, |mut open| async move {
        if open.complete {
            return None;
        }
        let event = tokio::select! {
            biased;
            _ = open.watchman.ending() => return None,
            answer = open.answers.next() => match answer {
                Some(answer) => {
                    let json = serde_json::to_string(&answer).expect("a response always serializes");
                    Bytes::from(format!("event: next\ndata: {json}\n\n"))
                }
                None => {
                    open.complete = true;
                    Bytes::from_static(b"event: complete\ndata:\n\n")
                }
            },
            () = tokio::time::sleep(SILENCE) => Bytes::from_static(b":\n\n"),
        };
        Some((Ok::<_, actix_web::Error>(event), open))
    });
    Ok(HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, "text/event-stream"))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header(("X-Accel-Buffering", "no"))
        .streaming(events))
}
