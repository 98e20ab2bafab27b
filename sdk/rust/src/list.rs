//! Listing what is in use.

use std::fmt;
use std::sync::Arc;

use futures::{Stream, StreamExt, TryStreamExt, stream};
use lockstead_api::v1;
use lockstead_core::{Kind, Scope};

use crate::error::{Error, Result};
use crate::resource::Resource;
use crate::session::{Handle, UnaryPatience};

/// A request for the locks or semaphores in use, made by [`Client::list_locks`](crate::Client::list_locks) or
/// [`Client::list_semaphores`](crate::Client::list_semaphores). In order of their names, bytewise.
#[derive(Clone)]
#[must_use = "a request does nothing until it is sent, for example with `all`"]
pub struct List {
    handle: Arc<Handle>,
    request: v1::ListRequest,
}

/// Some of the locks or semaphores in use.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Page {
    /// Those held or waited for.
    pub resources: Vec<Resource>,
    /// To get the next page with [`List::page_token`]; `None` on the last.
    pub next_page_token: Option<String>,
}

impl List {
    pub(crate) fn new(handle: Arc<Handle>, kind: Kind, prefix: String) -> Self {
        let request = v1::ListRequest { kind: v1::Kind::from(kind).into(), prefix, ..v1::ListRequest::default() };
        Self { handle, request }
    }

    /// Those of the server's machine, instead of those of the cluster.
    pub fn node_scope(self) -> Self {
        self.scope(Scope::Node)
    }

    /// Those of this scope; of the cluster unless set.
    pub fn scope(mut self, scope: Scope) -> Self {
        self.request.scope = v1::Scope::from(scope).into();
        self
    }

    /// How many to ask for at a time, 1 to 1,000; 100 unless set.
    pub fn page_size(mut self, size: u32) -> Self {
        self.request.page_size = size;
        self
    }

    /// Begins after the page that gave this token.
    pub fn page_token(mut self, token: impl Into<String>) -> Self {
        self.request.page_token = token.into();
        self
    }

    /// One page.
    pub async fn page(&self) -> Result<Page> {
        let answer = self.handle.call(UnaryPatience::Short, |mut attempt| {
            let request = self.request.clone();
            async move { attempt.service.list(request).await }
        });
        let v1::ListResponse { resources, next_page_token } = answer.await?;
        Ok(Page {
            resources: resources.into_iter().map(Resource::from_wire).collect(),
            next_page_token: Some(next_page_token).filter(|token| !token.is_empty()),
        })
    }

    /// All of them, page by page as they are read. Ends after an error.
    pub fn stream(self) -> impl Stream<Item = Result<Resource>> + Send {
        let pages = stream::try_unfold(Some(self), |next| async move {
            let Some(list) = next else { return Ok::<_, Error>(None) };
            let Page { resources, next_page_token } = list.page().await?;
            let next = next_page_token.map(|token| list.page_token(token));
            Ok(Some((stream::iter(resources).map(Ok), next)))
        });
        pages.try_flatten()
    }

    /// All of them.
    pub async fn all(self) -> Result<Vec<Resource>> {
        self.stream().try_collect().await
    }
}

impl fmt::Debug for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("List").field("prefix", &self.request.prefix).finish_non_exhaustive()
    }
}
