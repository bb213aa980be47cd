//! What both planes do with HTTP before they look at a request.

mod cors;
mod guard;
mod linger;

pub use cors::{Cors, is_preflight};
pub use guard::{Guard, Rejection};
pub use linger::{Returned, with_rest_of_body};
