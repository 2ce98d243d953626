//! Operations on objects.

mod get_object;
mod head_object;
mod put_object;

pub use get_object::{GetObject, GetRange};
pub use head_object::{HeadObject, HeadReply};
pub use put_object::{Content, PutObject, PutReply};
