//! Digests as they are written: `sha256:` and 64 hexadecimal digits. They are those of the mesh's blobs.

pub use aigis_proxy::blob::Digest;
