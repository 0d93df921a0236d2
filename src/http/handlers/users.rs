//! `/v1/users`: those of the caller's tenant, by the names that their credentials give them.

use crate::domain::caller::Caller;
use crate::http::Edge;
use crate::http::failure::Failure;
use crate::http::respond::{self, Answer};
use crate::protocols::conversations::Deleted;

impl Edge {
    /// Also of one who has nothing here, or was deleted before: asked again, it is done as well.
    pub(in crate::http) async fn delete_user(&self, caller: &Caller, id: &str) -> Result<Answer, Failure> {
        self.inner.replies.delete_user(caller, id).await?;
        Ok(respond::json(&Deleted::user(id)))
    }
}
