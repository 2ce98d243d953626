//! Operations on multipart uploads.

mod abort_multipart_upload;
mod complete_multipart_upload;
mod create_multipart_upload;
mod upload_part;
mod upload_part_copy;

pub use abort_multipart_upload::AbortMultipartUpload;
pub use complete_multipart_upload::{CompleteMultipartUpload, CompletedPart, CompletedUpload};
pub use create_multipart_upload::CreateMultipartUpload;
pub use upload_part::{UploadPart, UploadPartBytes, UploadedPart};
pub use upload_part_copy::UploadPartCopy;
