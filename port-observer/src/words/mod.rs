//! Words and figures for people, the same wherever they are shown: tables, reports, checks, the
//! diagnosis and the full screen.

pub mod causes;
pub mod conflicts;
pub mod errno;
pub mod escape;
pub mod figures;
pub mod missing;
pub mod namespaces;
pub mod pools;
pub mod refusals;
pub mod sentences;
pub mod times;
pub mod width;
