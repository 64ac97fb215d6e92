//! What larder does to and knows about content: codings, static-file classes, entity tags, ranges. No I/O.

pub mod accept;
pub mod coded_body;
pub mod compressible;
pub mod digest;
pub mod encode;
pub mod etag;
pub mod media_type;
pub mod ranges;
pub mod static_files;
pub mod versioned;
