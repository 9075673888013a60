//! The reference page: the OpenAPI document for people, by Swagger UI. Everything it is made of comes
//! from this host.

use actix_web::HttpResponse;
use actix_web::http::header;
use actix_web::web::Path;

use super::envelope::{ApiError, Fault};

const PAGE: &str = r##"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Hookseal API reference</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/reference/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="/reference/swagger-ui-bundle.js"></script>
<script src="/reference/start.js"></script>
</body>
</html>
"##;
/// No validator: its default is a third party's.
const START: &str = r##"SwaggerUIBundle({ url: "/openapi", dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null });
"##;
const BUNDLE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/swagger-ui-bundle.js"));
const STYLE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/swagger-ui.css"));
const LICENSE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/LICENSE"));
const NOTICE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/NOTICE"));

pub(super) async fn page() -> HttpResponse {
    served("text/html; charset=utf-8", PAGE.as_bytes())
}

pub(super) async fn asset(name: Path<String>) -> Result<HttpResponse, ApiError> {
    const SCRIPT: &str = "text/javascript; charset=utf-8";
    const TEXT: &str = "text/plain; charset=utf-8";
    Ok(match name.as_str() {
        "start.js" => served(SCRIPT, START.as_bytes()),
        "swagger-ui-bundle.js" => served(SCRIPT, BUNDLE),
        "swagger-ui.css" => served("text/css; charset=utf-8", STYLE),
        "LICENSE" => served(TEXT, LICENSE),
        "NOTICE" => served(TEXT, NOTICE),
        _ => return Err(Fault::UnknownPath.into()),
    })
}

fn served(content_type: &'static str, body: &'static [u8]) -> HttpResponse {
    HttpResponse::Ok().insert_header((header::CONTENT_TYPE, content_type)).body(body)
}
