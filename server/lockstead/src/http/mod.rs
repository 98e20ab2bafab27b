//! HTTP.

use crate::service::Service;

/// Routes.
pub fn routes(_service: Service) -> axum::Router {
    axum::Router::new()
}
