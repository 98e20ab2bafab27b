//! The OpenAPI document.

use axum::body::Bytes;
use utoipa::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};

use super::problem::ProblemDocument;
use super::{api, docs};

/// What the document says beside its routes.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Lockstead",
        description = "A lock service: named locks and semaphores, shared by programs on many machines.\n\n\
            JSON in and out, whatever the content type says. Durations are texts with a unit (`500ms`, `30s`), times are \
            RFC 3339, fencing tokens are numbers below 2^53. A slash in a name is percent-encoded: `jobs%2Fnightly`.\n\n\
            Errors are problem documents (RFC 9457) with a `reason` that a program can match. What is wrong with a known \
            field or parameter, be it its type or its value, has that field's own reason; an unknown or doubled one, and \
            anything that is not JSON, is `INVALID_BODY`. `null` is read as absent, and so is an empty query parameter. A path that is not here is 404 \
            `ROUTE_NOT_FOUND`, a method that its path does not have is 405 `METHOD_NOT_ALLOWED`. After a 4xx nothing was \
            changed. Every GET has its HEAD.\n\n\
            A server with access control wants a header `Authorization: Bearer TOKEN` or a client certificate, for all but \
            `/healthz` and `/readyz`: else 401 `UNAUTHENTICATED`. What no rule allows to the caller is 403 \
            `PERMISSION_DENIED`. One without access control ignores both, and answers everybody.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    tags(
        (name = "locks", description = "Held exclusively by one, or shared by many readers."),
        (name = "semaphores", description = "A limit of permits, of which each hold takes some."),
        (name = "server", description = "The server itself."),
    ),
    components(schemas(ProblemDocument)),
    security(("bearer" = []), ("client_certificate" = [])),
)]
struct Frame;

/// The document without its routes.
pub(super) fn frame() -> utoipa::openapi::OpenApi {
    let mut frame = Frame::openapi();
    // The derive fills in the authors of the package.
    frame.info.contact = None;
    // If the server has access control; one that has none asks nobody.
    let schemes = [
        ("bearer", SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build())),
        ("client_certificate", SecurityScheme::MutualTls { description: None, deprecated: None, extensions: None }),
    ];
    let components = frame.components.get_or_insert_default();
    components.add_security_schemes_from_iter(schemes);
    frame.info.version = String::from(env!("CARGO_PKG_VERSION"));
    frame
}

/// The whole document, as `/openapi.json` serves it.
pub fn openapi() -> utoipa::openapi::OpenApi {
    api().into_openapi()
}

/// The document, ready to be served.
pub(super) struct Pages {
    pub(super) openapi: Bytes,
    pub(super) docs: Bytes,
}

impl Pages {
    pub(super) fn new(document: &utoipa::openapi::OpenApi) -> Self {
        // A document is texts and numbers, which can always be written; a test reads both.
        let value = serde_json::to_value(document).unwrap_or_default();
        let text = serde_json::to_string_pretty(document).unwrap_or_default();
        Self { openapi: text.into(), docs: docs::render(&value).into() }
    }
}
