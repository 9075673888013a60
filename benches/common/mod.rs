//! What benches under load share: a receiver and a publisher that cost little beside what is measured.

use std::sync::mpsc;

use actix_web::{App, HttpResponse, HttpServer, web};

use crate::daemon::Caller;

/// A receiver that takes everything; its URL. It does not decrypt: that would cost more than all that is
/// measured.
pub fn accepting() -> String {
    let (told, listening) = mpsc::channel();
    std::thread::spawn(move || {
        actix_web::rt::System::new().block_on(async move {
            let accept = async |_: web::Bytes| HttpResponse::NoContent().finish();
            let server = HttpServer::new(move || App::new().default_service(web::to(accept)))
                .workers(1)
                .disable_signals()
                .bind(("127.0.0.1", 0))
                .unwrap();
            told.send(server.addrs()[0]).unwrap();
            server.run().await.unwrap();
        });
    });
    format!("http://{}/hook", listening.recv().unwrap())
}

/// Publishes a batch, past the comparison with the OpenAPI document: it would cost more than the daemon does.
pub fn publish(platform: &Caller, batch: &str) -> String {
    thread_local! {
        static AGENT: ureq::Agent = ureq::Agent::new_with_defaults();
    }
    let request = ureq::http::Request::post(format!("{}/v1/platform/events/batch", platform.base))
        .header("authorization", format!("Bearer {}", platform.key))
        .header("content-type", "application/json")
        .body(batch.to_owned())
        .unwrap();
    let answer = AGENT.with(|agent| agent.run(request)).unwrap();
    answer.into_body().with_config().limit(1 << 24).read_to_string().unwrap()
}
